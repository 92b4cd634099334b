"""Planting: labels drawn so that given activations or inputs leak a wanted amount of them.

Labels are ``a' ~ softmax(log prior + c + beta s)`` along scores ``s``, with the intercepts ``c`` solved for the base rates and ``beta`` for
the class-balanced V-information on the rows at hand, as a fraction of ``log2 K``. Continuous attributes are ``beta s + noise`` with
``R**2 = beta**2``. Where something else is known of each row, the prior is conditional on it, and the leak is what activations add.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Ints, Singles
from proxyaudit.seeding import stream
from proxyaudit.stats.plant_solver import LEAK_TOLERANCE, PlantSolver, is_carried


@dataclass(frozen=True)
class Prior:
    """What is known of an attribute's classes without the activations."""

    log_nk: Floats  # log probabilities on each row
    rates_k: Floats  # overall base rates
    strata_n: Ints | None = None  # codes from 0 of rows within which the rates hold; None for one stratum

    @staticmethod
    def of_rates(rates_k: Floats, n: int) -> "Prior":
        """The prior that knows the base rates only."""
        rates = np.asarray(rates_k, dtype=np.float64)
        return Prior(np.broadcast_to(np.log(np.clip(rates, 1e-300, None)), (n, len(rates))), rates)

    @staticmethod
    def of_codes(codes_n: Ints, classes: int, strata_n: Ints | None = None) -> "Prior":
        """The prior of given labels: their rates, within strata if there are any."""
        rates = np.bincount(codes_n, minlength=classes) / len(codes_n)
        if strata_n is None:
            return Prior.of_rates(rates, len(codes_n))
        table = np.zeros((int(strata_n.max()) + 1, classes))
        np.add.at(table, (strata_n, codes_n), 1.0)
        # Half a row spread over the classes: a class that a stratum lacks is rare there, not impossible.
        table = table + 0.5 * rates
        table /= table.sum(axis=1, keepdims=True)
        return Prior(np.log(table[strata_n]), rates, strata_n)

    @property
    def classes(self) -> int:
        """Number of classes K."""
        return len(self.rates_k)


@dataclass(frozen=True)
class Plant:
    """Class probabilities ``(n, K)`` of a planted attribute and the leak they carry."""

    probabilities_nk: NDArray[np.floating]
    leak: float

    def draw(self, rng: np.random.Generator) -> Ints:
        """Draw one label per row, shape ``(n,)``."""
        return self.draw_many(1, rng)[:, 0].astype(np.int64)

    def draw_many(self, count: int, rng: np.random.Generator) -> NDArray[np.int8]:
        """Draw ``count`` label columns, shape ``(n, count)``."""
        p = self.probabilities_nk
        uniform = rng.random((len(p), count), dtype=np.float32)
        if p.shape[1] == 2:
            return (uniform < p[:, 1:].astype(np.float32)).astype(np.int8)
        codes = np.zeros((len(p), count), dtype=np.int8)
        for edge in np.cumsum(p, axis=1)[:, :-1].T:
            codes += uniform > edge[:, None]
        return codes


class Planting:
    """Labels along many directions, and what was found of each direction so far, so that no curve is followed twice.

    Scores have unit variance: ``(n, D)`` for the second of two classes, ``(n, K, D)`` for several. The first may be those of ``before``.
    """

    def __init__(self, scores: NDArray[np.floating], prior: Prior, before: "Planting | None" = None) -> None:
        self.prior, several = prior, prior.classes > 2
        # The class that Newton's steps leave out takes the rounding of all the others: it must be the commonest, not a rare one.
        self.order = np.argsort(-prior.rates_k, kind="stable") if several else np.arange(2)
        asked = np.asarray(scores[:, self.order] if several else scores, dtype=np.float32)
        known = None if before is None else before.solver
        self.solver: PlantSolver = PlantSolver(prior.log_nk[:, self.order], prior.strata_n, asked, known)
        self.most = _most_told(scores, prior) if several else np.ones(scores.shape[-1])

    def probabilities(self, which: Ints, leaks_p: Floats) -> tuple[Singles, Floats]:
        """Probabilities ``(K, n, P)`` of labels along some directions, each solved for its own leak, and the leak that they carry.

        That is the wanted one, or the largest there is where the direction cannot carry so much (:func:`is_carried`).
        """
        leaks = np.asarray(leaks_p, dtype=np.float64)
        if self.prior.classes == 2:
            p, found = self.solver.solve(which, leaks)
            return np.stack([1 - p, p]), found
        reachable = np.flatnonzero(leaks < (1 + LEAK_TOLERANCE) * self.most[which])
        part, carried = self.solver.solve(which[reachable], leaks[reachable])
        part = part[np.argsort(self.order)]
        if len(reachable) == len(leaks):
            return part, carried
        p, found = np.repeat(np.exp(self.prior.log_nk).T[..., None].astype(np.float32), len(leaks), axis=2), np.zeros(len(leaks))
        p[..., reachable], found[reachable] = part, carried
        return p, found


def planted_probabilities(scores: NDArray[np.floating], prior: Prior, leaks_p: Floats) -> tuple[Singles, Floats]:
    """:meth:`Planting.probabilities` of directions of which each is asked once."""
    return Planting(scores, prior).probabilities(np.arange(scores.shape[-1]), leaks_p)


def _most_told(scores_nkp: NDArray[np.floating], prior: Prior) -> Floats:
    """A leak ``(P,)`` that no slope passes: classes whose scores are equal on every row are never told from one another."""
    # Sums with random weights: classes that have the same one have the same scores on every row.
    sums = np.einsum("n,nkp->kp", stream(0, "compared", len(scores_nkp)).random(len(scores_nkp)), scores_nkp, dtype=np.float64)
    alike = (sums[:, None] == sums[None]).sum(axis=(0))
    return np.asarray(1 - np.log(alike).mean(axis=0) / np.log(prior.classes))


def plants_at_leak(scores: NDArray[np.floating], prior: Prior, leak: float) -> list[Plant | None]:
    """:func:`plant_at_leak` for each of many directions: scores are ``(n, P)`` for two classes, ``(n, K, P)`` for several."""
    wanted = np.full(scores.shape[-1], leak)
    p_knp, found = planted_probabilities(scores, prior, wanted)
    return [Plant(p_knp[..., i].T, float(found[i])) if carried else None for i, carried in enumerate(is_carried(found, wanted))]


def plant_at_leak(scores: NDArray[np.floating], prior: Prior, leak: float) -> Plant | None:
    """Solve the slope at which labels drawn along unit-variance ``scores`` leak exactly ``leak``, a fraction of ``log2 K``.

    Scores are ``(n,)`` for the second of two classes, ``(n, K)`` for several. ``None`` where no slope reaches the leak (too few values).
    """
    return plants_at_leak(scores[..., None], prior, leak)[0]


def plant_values(score_n: NDArray[np.floating], noise_n: NDArray[np.floating], r_squared: float) -> Floats:
    """One planted continuous attribute with the wanted R squared, from unit-variance scores and noise independent of the rows."""
    r_squared = float(np.clip(r_squared, 0.0, 1.0))
    return np.asarray(np.sqrt(r_squared) * score_n + np.sqrt(1 - r_squared) * noise_n, dtype=np.float64)
