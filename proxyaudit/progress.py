"""How far a command is: what it tells whoever shows it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class ProgressEvent:
    """What is done of a command's work."""

    stage: str
    done: float  # predicted seconds of the finished tasks, or steps where all of them are of one size
    total: float
    detail: str


Progress = Callable[[ProgressEvent], None]
