"""What a worker is given and gives back: plain values, so that they travel to any process."""

from __future__ import annotations

from dataclasses import dataclass

INPUTS, SYNTHESIZE, ENCODE, TRAIN, MEASURE = "inputs", "synthesize", "encode", "train", "measure"


@dataclass(frozen=True)
class Task:
    """One unit of work.

    Attributes:
        kind: What is done, and the folder of the cache that its result lies in.
        regime: Regime that it belongs to; of encoding, the name of what is encoded.
        seed: Repetition.
        digest: Digest of all that its result depends on.
        needs: Kind and digest of the tasks whose results it reads.
        measures: Of a measuring task, who measures the model (``module:function``), in order.
    """

    kind: str
    regime: str
    seed: int
    digest: str
    needs: tuple[tuple[str, str], ...] = ()
    measures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What became of a task."""

    task: Task
    error: str | None
    trace: str | None = None
