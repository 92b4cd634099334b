"""What is probed and how: the rows, the questions, and where the answers go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from proxyaudit.data.attributes import Attribute
from proxyaudit.probes.conditioning import Strata
from proxyaudit.probes.flexible import READERS
from proxyaudit.recipe import Margins

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class ProbedRows(Protocol):
    """The rows that are probed, and what is known of them."""

    @property
    def attributes(self) -> Sequence[Attribute]:
        """Attributes on these rows."""

    @property
    def clusters(self) -> Ints:
        """Cluster of each row."""


@dataclass(frozen=True)
class ProbedArrays:
    """Attributes and clusters ``(n,)`` as they are: the simplest :class:`ProbedRows`."""

    attributes: tuple[Attribute, ...]
    clusters: Ints


@dataclass(frozen=True)
class Probing:
    """How to probe.

    Attributes:
        root: Root seed.
        margins: Leaks that matter.
        permutations: Size of the null.
        nonlinear: Whether to ask for non-linear leaks.
        readers: Non-linear readers beside the quadratic score.
        strata: What the conditional channel conditions on, by attribute; empty where there is no such channel.
        budget: Predicted seconds that the readers of one cell may take, at a nominal speed.
        effort: Whether to measure how easily the attribute is got out.
        unless_linear: Whether to leave the non-linear channel out where the linear one is plainly present in this model.
        work: Operations of one quadratic test; more rows than that allows are left out, whole clusters at a time.
    """

    root: int
    margins: Margins
    permutations: int
    nonlinear: bool = True
    readers: tuple[str, ...] = READERS
    strata: Mapping[str, Strata] = field(default_factory=dict)
    budget: float = 60.0
    effort: bool = False
    unless_linear: bool = False
    work: float = 4e11


@dataclass(frozen=True)
class Measurement:
    """Numbers (JSON-able) and row influences of one (regime, seed)."""

    numbers: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)


def cell_key(attribute: str, site: str, what: str) -> str:
    """Key of an array within a measurement."""
    return f"{attribute}\x1f{site}\x1f{what}"


def classes_of(attribute: Attribute) -> int:
    """Number of classes; 0 for a continuous attribute."""
    return 0 if attribute.kind == "continuous" else len(attribute.levels)


def known_rows(attribute: Attribute) -> Bools:
    """Rows on which the attribute is known."""
    if attribute.kind == "continuous":
        return np.isfinite(np.asarray(attribute.codes, dtype=np.float64))
    return np.asarray(attribute.codes) >= 0


def clusters_if_any(clusters_n: Ints) -> Ints | None:
    """The cluster ids, or ``None`` where every row stands alone."""
    return None if len(np.unique(clusters_n)) == len(clusters_n) else clusters_n


def ordered_codes(codes_n: Ints, classes: int) -> Ints:
    """Codes renumbered from the rarest class to the commonest: what a class is called must not matter."""
    counts = np.bincount(codes_n, minlength=classes)
    places = np.bincount(codes_n, weights=np.arange(len(codes_n)), minlength=classes)
    new = np.empty(classes, dtype=np.int64)
    new[np.lexsort((places, counts))] = np.arange(classes)
    return np.asarray(new[codes_n])
