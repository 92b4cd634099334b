"""Concept erasers, each a frozen callable fitted on its own rows, and what an eraser plugin gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Floats


class Erasure(Protocol):
    """A fitted affine map of activations that takes the concept out."""

    @property
    def rank(self) -> int:
        """Dimensions erased."""

    def affine(self) -> tuple[Floats, Floats]:
        """The map as ``value @ weight.T + bias``: weight ``(d, d)`` and bias ``(d,)``."""

    def __call__(self, acts_nd: NDArray[np.floating]) -> Floats:
        """Erase."""


@dataclass(frozen=True)
class Fit:
    """What an eraser made of the rows that it was fitted on.

    An entry point of the group ``proxyaudit.erasers`` names a function of ``(acts_nd, concept_nk, task_nm, *, fewest_moved)`` that
    returns it: activations, columns to erase, columns of the label, and on how many rows a unit must move to take part.
    """

    eraser: Erasure
    cosine: float | None = None  # the largest between task and concept in whitened space
    given_up: int = 0  # directions of the task
    kept: int = 0
