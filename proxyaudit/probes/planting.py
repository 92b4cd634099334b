"""Planted labels of one attribute at one site: what their score statistic is like, analytically and by simulation.

Where rows stand alone labels are drawn from known probabilities (numbers: their own values in another order are the noise). Where rows
belong together the noise is the attribute's values with random signs, one for each cluster, to which the planted excess is added.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from proxyaudit.arrays import Floats, Ints, Singles
from proxyaudit.probes.score import ScoreStatistic, flipped, indicator_columns, permuted, standardise
from proxyaudit.stats.directions import standardised
from proxyaudit.stats.plant_solver import is_carried
from proxyaudit.stats.score_law import ScoreLaw
from proxyaudit.stats.spike_in import Plant, Planting, Prior, plant_values

Streams = Callable[[str], np.random.Generator]

_AT_ONCE = 512
_TURNS = 3  # of the signs of labels, for how large the axes of a form are by chance
_NOISE_IMAGES = 64  # of the null, for how much each row's noise counts
_MOST_SIZE = 0.99
_MOST_OWN = 0.5  # of a linear direction, that comes of leaving out each row's own label and is not linear
_MOSTLY = 0.9  # of a planted excess that lies beyond everything linear; with less, the rest of the leak is another one
_RAISED, _STRONGEST = 4, 0.98  # times that an even plant is made stronger until what of it is not linear carries the leak; the most


@dataclass(frozen=True)
class Target:
    """Labels of one attribute on whitened rows: codes from 0, or numbers without a prior and with ``classes`` 0."""

    labels_n: NDArray[np.generic]
    classes: int
    prior: Prior | None
    clusters_n: Ints | None = None

    @property
    def weights(self) -> Floats:
        """Weight of each class in the statistic, one over its odds: a leak counts by how far a class is off, not by how common it is."""
        if self.prior is None or self.classes == 2:
            return np.ones(1)
        weights = 1 / self.prior.rates_k - 1
        return np.asarray(weights / weights.mean())

    @property
    def columns(self) -> list[int]:
        """The classes whose indicators make up the statistic: the second of two, or all."""
        return [1] if self.classes == 2 else list(range(self.classes))

    @staticmethod
    def of_codes(codes_n: Ints, classes: int, clusters_n: Ints | None = None, strata_n: Ints | None = None) -> "Target":
        """A categorical attribute with the rates that it has, within strata if there are any."""
        return Target(codes_n, classes, Prior.of_codes(codes_n, classes, strata_n), clusters_n)

    @staticmethod
    def of_values(values_n: Floats, clusters_n: Ints | None = None) -> "Target":
        """A continuous attribute."""
        return Target(np.asarray(values_n, dtype=np.float64), 0, None, clusters_n)


@dataclass(frozen=True)
class Match:
    """How the labels at hand match planted ones, one number for each plant.

    If labels are like the planted ones, ``told`` has the mean ``expected`` and the standard deviation ``error``; and what they tell
    ``beyond`` that, whatever its strength, has the law of the score of labels without a plant, scaled by ``left``.
    """

    told: Floats
    expected: Floats
    error: Floats
    beyond: Floats
    left: Floats


@dataclass(frozen=True)
class Plants:
    """Planted attributes, one for each of P directions and leaks."""

    wanted_p: Floats
    leaks_p: Floats  # what they carry: less than is wanted where the direction cannot carry so much
    beyond: list[Singles]  # the excess as the statistic uses it: for the quadratic one freed of everything linear
    excess: list[Singles]  # expected standardised labels (n, P), one for each column of the statistic
    probabilities_knp: Singles | None = None  # None for numbers
    scores_np: Singles | None = None  # of numbers

    def put(self, other: "Plants", at: Ints) -> None:
        """Take other plants over in place of some of these, which are of labels."""
        assert self.probabilities_knp is not None
        self.leaks_p[at], self.probabilities_knp[..., at] = other.leaks_p, other.probabilities_knp
        for own, others in zip((*self.beyond, *self.excess), (*other.beyond, *other.excess), strict=True):
            own[:, at] = others

    @property
    def carried(self) -> NDArray[np.bool_]:
        """Which of them carry their leak."""
        return is_carried(self.leaks_p, self.wanted_p)


def own_direction(statistic: ScoreStatistic, prepared: list[Singles], target: Target, rng: np.random.Generator) -> Singles | None:
    """Scores of rows, ``(n,)`` or ``(n, K)`` for several classes, from prepared label columns; ``None`` where nothing is told from noise.

    The linear direction is the score's own, which even noise blurs evenly; a row's own label has no part in it. That of the quadratic
    score is made of the axes of its form that are longer than chance makes them, shortened by what chance adds (a spiked matrix:
    Benaych-Georges & Nadakuditi 2011): blurred, it would be of much lighter tails than what it stands for. Several classes are
    weighed by how far each is off.
    """
    if statistic.channel == "nonlinear" and len(statistic.rows.blocks) == 1:
        columns = [_leading(statistic, e, target.clusters_n, rng) for e in prepared]
    else:
        columns = [statistic.directions(e)[:, 0] for e in prepared]
    raw = np.stack(columns, axis=1)
    rest = statistic.rows.residual(raw)
    if statistic.channel == "nonlinear":
        raw = rest
    else:
        # Where labels are freed of everything linear (an eraser fitted on these rows), own labels are all that is left: no direction.
        raw[:, (rest**2).sum(axis=0) > _MOST_OWN * (raw**2).sum(axis=0)] = 0.0
    own = standardised(statistic.rows, raw)
    if not own.any():
        return None
    if target.prior is None or target.classes == 2:
        return np.asarray(own[:, 0])
    noise = np.sqrt(2 * statistic.rows.rank)
    scores = np.array([float(statistic.of_prepared(e).scores_m[0]) for e in prepared])
    # In log-odds a class is off by its standardised score over the root of its odds.
    size = np.sqrt(np.maximum(scores - noise, 0.0) * (1 / target.prior.rates_k - 1)) * own.any(axis=0)
    return np.asarray(own * (size / np.sqrt((size**2).mean())).astype(np.float32)) if size.any() else None


def _leading(statistic: ScoreStatistic, e_n1: Singles, clusters_n: Ints | None, rng: np.random.Generator) -> Singles:
    """Quadratic form ``(n,)`` of the axes along which labels stretch rows by more than chance."""
    z = statistic.factors.z_nr

    def form(columns: NDArray[np.float32]) -> Singles:
        return np.asarray(z.T @ (z * columns[:, None]) / np.float32(len(z)))

    turned = flipped(clusters_n, len(z), _TURNS, rng) * e_n1
    chance = max(float(np.abs(np.linalg.eigvalsh(form(turn))).max()) for turn in turned.T)
    lengths, axes = np.linalg.eigh(form(e_n1[:, 0]))
    longer = np.sign(lengths) * np.sqrt(np.maximum(lengths**2 - np.float32(chance) ** 2, 0.0))
    used = longer != 0
    return np.asarray(((z @ axes[:, used]) ** 2) @ longer[used], dtype=np.float32)


class Planter:
    """Plants of one attribute at one site."""

    def __init__(self, statistic: ScoreStatistic, target: Target, null_count: int, streams: Streams) -> None:
        self.statistic, self.target, self.streams = statistic, target, streams
        self.rows, self.channel = statistic.rows, statistic.channel
        # Whole labels, linear part included: what a linear fit leaves of them has lost more in clusters of high leverage,
        # and with turned signs it would lose it twice.
        self.noise = [standardise(self.rows, columns) for columns in indicator_columns(target.labels_n[:, None], target.classes)]
        # What a linear fit takes of a label's variance is made up for by its standardisation; turned signs are standardised themselves.
        taken = sum(block.rank for block in self.rows.blocks) / self.rows.n
        self.gain = 1 / (1 - taken) if self.channel == "nonlinear" and target.clusters_n is None else 1.0
        self.null = self._null(null_count, streams("permutations"))
        self.law = ScoreLaw.of_sample(self.null)

    def _null(self, count: int, rng: np.random.Generator) -> Floats:
        """Statistics of permuted labels; of turned signs where rows belong together."""
        self.counts_n = np.ones(self.rows.n)
        if self.target.clusters_n is not None:
            return self._turned(None, count, rng)
        parts = []
        for start in range(0, count, _AT_ONCE):
            labels = permuted(self.rows, _small(self.target.labels_n), min(_AT_ONCE, count - start), rng)
            parts.append(self.statistic.of_labels(labels, self.target.classes, self.target.weights))
            if start == 0 and self.target.classes:
                first = next(indicator_columns(labels[:, :_NOISE_IMAGES], self.target.classes))
                self.counts_n = self._images(self.statistic.prepare(first)).astype(np.float64).__pow__(2).mean(axis=1)
        return np.concatenate(parts)

    def _images(self, e_nm: Singles) -> Singles:
        """How much the score moves with each row's label, by half, given the labels of the others."""
        image = self.statistic.directions(e_nm)
        return self.rows.residual(image) if self.channel == "nonlinear" else image

    def planting(self, scores: Singles, before: Planting | Singles | None = None) -> Planting | Singles:
        """What directions are planted along, the first of which may be known from ``before``: of numbers, their scores themselves."""
        known = before if isinstance(before, Planting) else None
        return scores if self.target.prior is None else Planting(scores, self.target.prior, known)

    def plant(self, along: Planting | Singles, which: Ints, leaks_p: Floats, even_p: NDArray[np.bool_] | None = None) -> Plants:
        """Plants along some directions of many, each with its own leak.

        Even ones stand for all others: nothing else can carry what is left of their leak where part of it is linear.
        """
        if not isinstance(along, Planting):
            scores = along[:, which]
            values = [scores * np.sqrt(leaks_p).astype(np.float32)]
            return Plants(leaks_p, leaks_p, self._beyond(values), values, scores_np=scores)
        plants, asked = self._drawn(along, which, leaks_p, leaks_p), leaks_p.copy()
        for _ in range(0 if even_p is None or self.channel != "nonlinear" else _RAISED):
            short = np.flatnonzero(np.asarray(even_p) & ~plants.carried & (plants.leaks_p > 0))
            asked[short] *= leaks_p[short] / plants.leaks_p[short]
            short = short[asked[short] < _STRONGEST]
            if not len(short):
                break
            plants.put(self._drawn(along, which[short], asked[short], leaks_p[short], mostly=1.0), short)
        return plants

    def _drawn(self, along: Planting, which: Ints, asked_p: Floats, wanted_p: Floats, *, mostly: float = _MOSTLY) -> Plants:
        """Plants of labels that tell as much as is asked, of which what is wanted may be a part."""
        p, found = along.probabilities(which, asked_p)
        known = np.exp(along.prior.log_nk).astype(np.float32)
        excess = [(p[k] - known[:, k : k + 1]) / np.float32(self.spread(k)) for k in self.target.columns]
        beyond = self._beyond(excess)
        if self.channel == "nonlinear":
            # A product of rare units is linear on most rows, where labels of strong plants follow it: that is no part of the leak.
            kept, whole = (sum(np.einsum("np,np->p", one, one, dtype=np.float64) for one in of) for of in (beyond, excess))
            share = np.asarray(kept / np.maximum(whole, 1e-300))
            found = np.where(share < mostly, found * share, found)
        return Plants(wanted_p, found, beyond, excess, p)

    def _beyond(self, columns: list[Singles]) -> list[Singles]:
        return [self.rows.residual(one) for one in columns] if self.channel == "nonlinear" else columns

    def spread(self, k: int) -> float:
        """Standard deviation of the indicator of a class, within strata."""
        assert self.target.prior is not None
        known = np.exp(self.target.prior.log_nk[:, k])
        return max(float(np.sqrt((known * (1 - known)).mean())), 1e-9)

    def law_of(self, plants: Plants, observed: list[Singles], score: float) -> tuple[ScoreLaw, Match]:
        """The law of the statistic of each plant, and how prepared labels with their score match it."""
        null_mean, null_variance = float(self.law.mean), float(self.law.sd) ** 2
        null_third = float(self.law.skew) * null_variance**1.5
        own = plants.beyond
        images = [self._images(one) for one in own]
        signals = [self.gain * np.einsum("np,np->p", one, image, dtype=np.float64) for one, image in zip(own, images, strict=True)]
        if self.target.clusters_n is not None:
            left, variance, third = self._turned_part(own, images)
        elif plants.probabilities_knp is None:
            left, variance, third = self._ordered_part(plants, own[0], images[0], signals[0])
        else:
            left, variance, third = self._drawn_part(plants.probabilities_knp, images, signals)
        # Noise that meets noise, then noise that meets what is planted; the two are uncorrelated, but share their third cumulant.
        shared = 1.5 * null_third / max(null_variance, 1e-300) * left * variance
        expected = np.asarray(self.target.weights @ np.stack(signals))
        crossed = [np.einsum("no,np->p", e, image, dtype=np.float64) for e, image in zip(observed, images, strict=True)]
        told = np.sqrt(self.gain) * np.asarray(self.target.weights @ np.stack(crossed))
        beyond = score - np.maximum(told, 0.0) ** 2 / np.maximum(expected, 1e-12)
        match = Match(told, expected, np.sqrt(np.maximum(variance, 0.0)) / 2, beyond, left)
        law = ScoreLaw.of_cumulants(null_mean * left + expected, null_variance * left**2 + variance, null_third * left**3 + shared + third)
        return law, match

    def _drawn_part(self, p_knp: Singles, images: list[Singles], signals: list[Floats]) -> tuple[Floats, Floats, Floats]:
        """Share of the noise that is left, and second and third cumulant of what noise and plant make together, for drawn labels."""
        prior, n = self.target.prior, self.rows.n
        assert prior is not None
        known = np.exp(prior.log_nk).astype(np.float32)
        first = second = np.float32(0)
        cubes = np.float32(0)
        for k, weight, image, signal in zip(self.target.columns, self.target.weights, images, signals, strict=True):
            s = self.spread(k)
            # The labels are divided by their own spread, which moves with their rate.
            rate = (0.5 / (s * n * self.gain) * signal).astype(np.float32)
            x = image - rate * (1 - 2 * known[:, k : k + 1])
            x *= np.float32(2 * weight * self.gain / s)
            px = p_knp[k] * x
            pxx = px * x
            cubes = cubes + np.einsum("np,np->p", pxx, x)
            first, second = first + px, second + pxx
        squares = first * first
        variance = (second - squares).sum(axis=0, dtype=np.float64)
        third = cubes - 3 * np.einsum("np,np->p", first, second) + 2 * np.einsum("np,np->p", squares, first)
        return self._left(p_knp, known), variance, third.astype(np.float64)

    def _left(self, p_knp: Singles, known_nk: Singles) -> Floats:
        """Variance of drawn labels over that without a plant, rows weighed by how much their noise counts."""
        columns, weights = self.target.columns, self.target.weights
        s = np.array([self.spread(k) for k in columns])
        rates = known_nk[:, columns].mean(axis=0, dtype=np.float64)
        covariance = np.diag(rates) - np.outer(rates, rates)
        form = (np.outer(weights, weights) * covariance / np.outer(s, s) ** 2).astype(np.float32)
        counts = self.counts_n.astype(np.float32)

        def counted(p_knp: Singles) -> Floats:
            # Trace of the form times the covariance of the labels, row by row; of two classes one column stands for both.
            p = p_knp[columns]
            own = np.tensordot(np.diag(form), p, 1)
            own -= np.einsum("knp,knp->np", p, np.tensordot(form, p, 1))
            return np.asarray(counts @ own, dtype=np.float64)

        return np.asarray(counted(p_knp) / counted(known_nk.T[..., None]))

    def _ordered_part(self, plants: Plants, own: Singles, image: Singles, signal: Floats) -> tuple[Floats, Floats, Floats]:
        """The same for numbers whose noise is their own values in another order."""
        leak = plants.leaks_p
        image = image - own * (signal / (self.gain * self.rows.n)).astype(np.float32)
        variance = 4 * self.gain**2 * (1 - leak) * np.einsum("np,np->p", image, image, dtype=np.float64)
        return 1 - leak, variance, np.zeros(len(leak))

    def _turned_part(self, own: list[Singles], images: list[Singles]) -> tuple[Floats, Floats, Floats]:
        """The same for signs turned cluster by cluster."""
        assert self.target.clusters_n is not None
        ids, weights = np.unique(self.target.clusters_n, return_inverse=True)[1], self.target.weights
        sizes = np.stack([np.minimum((one**2).mean(axis=0, dtype=np.float64), _MOST_SIZE) for one in own])
        members = sparse.csr_matrix((np.ones(len(ids)), (ids, np.arange(len(ids)))))
        total = np.zeros((members.shape[0], own[0].shape[1]))
        for weight, e, image, size in zip(weights, self.noise, images, sizes, strict=True):
            total += 2 * weight * self.gain * np.sqrt(1 - size) * (members @ (e * image))
        return 1 - weights @ sizes / weights.sum(), (total**2).sum(axis=0), np.zeros(len(sizes[0]))

    def draw(self, plants: Plants, which: Ints, count: int, rng: np.random.Generator) -> Floats:
        """Statistics ``(len(which), count)`` of labels drawn of some plants."""
        return np.stack([self._draw_one(plants, int(index), count, rng) for index in which])

    def _draw_one(self, plants: Plants, index: int, count: int, rng: np.random.Generator) -> Floats:
        if self.target.clusters_n is not None:
            return self._turned([one[:, index : index + 1] for one in plants.excess], count, rng)
        if plants.probabilities_knp is not None:
            labels: NDArray[np.generic] = Plant(plants.probabilities_knp[..., index].T, float(plants.leaks_p[index])).draw_many(count, rng)
            return self.statistic.of_labels(labels, self.target.classes, self.target.weights)
        assert plants.scores_np is not None
        noise = permuted(self.rows, self.noise[0][:, 0], count, rng)
        labels = plant_values(plants.scores_np[:, index : index + 1], noise, float(plants.leaks_p[index]))
        return self.statistic.of_labels(labels, 0)

    def _turned(self, means: list[Singles] | None, count: int, rng: np.random.Generator) -> Floats:
        """Statistics of the attribute with turned signs, plus planted means (one column for each class)."""
        scores = np.zeros(count)
        for start in range(0, count, _AT_ONCE):
            part = slice(start, min(start + _AT_ONCE, count))
            signs = flipped(self.target.clusters_n, self.rows.n, part.stop - part.start, rng)
            for index, e in enumerate(self.noise):
                columns = signs * e
                if self.channel == "nonlinear":
                    columns = self.statistic.prepare(columns)
                if means is not None:
                    mean = self.rows.residual(means[index]) if self.channel == "nonlinear" else means[index]
                    size = np.minimum((mean**2).mean(axis=0), np.float32(_MOST_SIZE))
                    columns = columns * np.sqrt(1 - size) + mean
                scores[part] += self.target.weights[index] * self.statistic.of_prepared(columns).scores_m
        return scores


def _small(labels_n: NDArray[np.generic]) -> NDArray[np.generic]:
    return labels_n.astype(np.int8) if labels_n.dtype.kind in "iu" else labels_n.astype(np.float32)
