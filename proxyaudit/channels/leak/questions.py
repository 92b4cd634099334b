"""What is probed and how: the rows, the questions, and where the answers go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from proxyaudit.arrays import Ints
from proxyaudit.data.attributes import Attribute
from proxyaudit.probes.conditioning import Strata
from proxyaudit.probes.flexible import READERS
from proxyaudit.recipe.recipe import Margins


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
        budget: Predicted seconds that the readers of one attribute at one site may take, at a nominal speed.
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
