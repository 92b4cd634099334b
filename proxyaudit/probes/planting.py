"""Planted scores of one attribute at one site: drawn labels where rows stand alone, and plants on the attribute's own noise.

That noise is the attribute's values with random signs (one sign for each cluster), to which the planted excess probability is added.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Ints, Singles
from proxyaudit.probes.score import ScoreStatistic, flipped, indicator_columns, permuted, standardise
from proxyaudit.stats.directions import LINEAR_FAMILIES, QUADRATIC_FAMILIES, Rows, least_favourable, linear_directions, quadratic
from proxyaudit.stats.spike_in import Plant, Prior, plant_values, plants_at_leak

Streams = Callable[[str], np.random.Generator]

_CURVE_PLANTS = 50
_STRENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
_STRONGEST = 0.9
_DIRECTIONS = 67  # distinct directions of a family; each is drawn several times
_SEVERAL_DIRECTIONS = 40  # the same for an attribute with several classes
_PER_DIMENSION = 16  # outputs have one or two dimensions: there are no more directions than that to tell apart
_AT_ONCE = 512
_RAREST = "rarest class"  # the class whose leak moves the statistic least, apart from all others


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

    @staticmethod
    def of_codes(codes_n: Ints, classes: int, clusters_n: Ints | None = None, strata_n: Ints | None = None) -> Target:
        """A categorical attribute with the rates that it has, within strata if there are any."""
        return Target(codes_n, classes, Prior.of_codes(codes_n, classes, strata_n), clusters_n)

    @staticmethod
    def of_values(values_n: Floats, clusters_n: Ints | None = None) -> Target:
        """A continuous attribute."""
        return Target(np.asarray(values_n, dtype=np.float64), 0, None, clusters_n)


class Planter:
    """Planted scores of one attribute at one site."""

    def __init__(self, statistic: ScoreStatistic, target: Target, streams: Streams) -> None:
        self.statistic, self.target, self.streams = statistic, target, streams
        self.rows: Rows = statistic.rows
        # Whole labels, linear part included: what a linear fit leaves of them has lost more in clusters of high leverage,
        # and with turned signs it would lose it twice.
        self.noise = [standardise(self.rows, columns) for columns in indicator_columns(target.labels_n[:, None], target.classes)]
        # Labels drawn row by row would lack the attribute's pattern within clusters.
        self.wild_only = target.clusters_n is not None
        self.heavy: Singles | None = None
        self.plants: dict[tuple[str, float, int], list[Plant | None]] = {}

    def families(self) -> list[tuple[str, bool]]:
        """Families to compare with, each with whether its noise is the attribute's own."""
        names = list(LINEAR_FAMILIES if self.statistic.channel == "linear" else QUADRATIC_FAMILIES)
        if self.target.classes == 0 and "heavy" in names:
            names.remove("heavy")  # R squared and the statistic are one and the same: no direction is less favourable
        if self.target.classes > 2:
            names.append(_RAREST)
        if self.wild_only:
            return [(name, True) for name in names]
        return [*((name, False) for name in names), *((name, True) for name in names if name in ("isotropic", "heavy", _RAREST))]

    def null(self, count: int) -> Floats:
        """Statistics of permuted labels; of turned signs where rows belong together."""
        rng = self.streams("permutations")
        if self.wild_only:
            return self._own_noise(None, count, rng)
        parts = []
        for start in range(0, count, _AT_ONCE):
            labels = permuted(self.rows, _small(self.target.labels_n), min(_AT_ONCE, count - start), rng)
            parts.append(self.statistic.of_labels(labels, self.target.classes, self.target.weights))
        return np.concatenate(parts)

    def at_margin(self, margin: float, count: int) -> dict[str, Floats]:
        """Statistics of the plants of each family that can hold that much, by its name."""
        found = {}
        for family, wild in self.families():
            planted = self.plant(family, margin, count, wild=wild)
            if planted is not None:
                found[f"{family}, own noise" if wild else family] = planted
        return found

    def series(self, margin: float, null: Floats) -> tuple[list[float], list[Floats]]:
        """Leaks from zero upwards, and the statistics of even plants at each."""
        leaks, scores = [0.0], [null]
        for leak in (margin * times for times in _STRENGTHS):
            if leak > _STRONGEST and len(leaks) > 3:
                break
            planted = self.plant("isotropic", min(leak, _STRONGEST), _CURVE_PLANTS, wild=self.wild_only)
            if planted is not None:
                leaks.append(min(leak, _STRONGEST))
                scores.append(planted)
        return leaks, scores

    def plant(self, family: str, leak: float, count: int, *, wild: bool) -> Floats | None:
        """Statistics of ``count`` plants, or ``None`` where the family cannot carry the leak."""
        if self.target.classes == 0:
            return self._plant_values(family, leak, count, wild)
        # Plants of few directions are made once and drawn often.
        if (family, leak, count) not in self.plants:
            self.plants[family, leak, count] = self._make_plants(family, leak, count)
        usable = [plant for plant in self.plants[family, leak, count] if plant is not None]
        if not usable:
            return None
        rng = self.streams(f"draws {family}" + (", own noise" if wild else ""))
        if wild:
            # Columns in turn use the plants in turn.
            width = min(count, len(usable))
            means = [np.stack([self._excess(usable[i], k) for i in range(width)], axis=1) for k in self._classes()]
            return self._own_noise([m[:, np.arange(count) % m.shape[1]] for m in means], count, rng)
        each = -(-count // len(usable))
        labels = np.concatenate([plant.draw_many(each, rng) for plant in usable], axis=1)
        labels = labels[:, np.argsort(np.arange(labels.shape[1]) % each, kind="stable")[:count]]
        parts = (labels[:, start : start + _AT_ONCE] for start in range(0, count, _AT_ONCE))
        return np.concatenate([self.statistic.of_labels(part, self.target.classes, self.target.weights) for part in parts])

    def _classes(self) -> list[int]:
        return [1] if self.target.classes == 2 else list(range(self.target.classes))

    def _excess(self, plant: Plant, k: int) -> Singles:
        prior = self.target.prior
        assert prior is not None
        known = np.exp(prior.log_nk[:, k])
        spread = np.sqrt(float(((np.asarray(self.target.labels_n) == k) - known).var()))
        return np.asarray((plant.probabilities_nk[:, k] - known) / max(spread, 1e-9), dtype=np.float32)

    def _own_noise(self, means: list[Singles] | None, count: int, rng: np.random.Generator) -> Floats:
        """Statistics of the attribute with turned signs, plus planted means (one matrix for each class column)."""
        scores = np.zeros(count)
        for start in range(0, count, _AT_ONCE):
            part = slice(start, min(start + _AT_ONCE, count))
            signs = flipped(self.target.clusters_n, self.rows.n, part.stop - part.start, rng)
            for index, e in enumerate(self.noise):
                columns = signs * e
                if self.statistic.channel == "nonlinear":
                    columns = self.statistic.prepare(columns)
                if means is not None:
                    mean = means[index][:, part]
                    if self.statistic.channel == "nonlinear":
                        mean = self.rows.residual(mean)
                    size = np.minimum((mean**2).mean(axis=0), np.float32(0.99))
                    columns = columns * np.sqrt(1 - size) + mean
                scores[part] += self.target.weights[index] * self.statistic.of_prepared(columns).scores_m
        return scores

    def _directions(self, family: str, count: int, rng: np.random.Generator) -> Singles | None:
        if self.statistic.channel == "nonlinear":
            found = quadratic(self.rows, family, count, rng)
            found = found[:, found.any(axis=0)]
            return found if found.shape[1] else None
        if family == "heavy":
            return None if self.heavy is None else np.repeat(self.heavy[:, None], count, axis=1)
        return linear_directions(self.rows, family, count, rng)

    def _make_plants(self, family: str, leak: float, count: int) -> list[Plant | None]:
        prior, classes = self.target.prior, self.target.classes
        assert prior is not None
        if family == "heavy":
            self.heavy = least_favourable(self.rows, prior, leak, self.streams("least favourable"))
        rng = self.streams(f"directions {family}")
        few = (family in ("low", "high", "heavy", "norm") and self.statistic.channel == "linear") or family == "norm"
        if classes == 2:
            distinct = min(-(-count // 2) if count <= _CURVE_PLANTS else _DIRECTIONS, count, _PER_DIMENSION * self.rows.rank)
            found = self._directions(family, (1 if family in ("heavy", "norm") else 2) if few else distinct, rng)
            if found is None:
                return []
            if few and family in ("low", "high"):
                found = np.stack([found[:, 0], -found[:, 0]], axis=1)
            if family == "norm":
                found = np.concatenate([found, -found], axis=1)
            return plants_at_leak(found, prior, leak)
        distinct = min(count, 8 if few else min(_SEVERAL_DIRECTIONS, _PER_DIMENSION * self.rows.rank))
        together = family == "isotropic"
        found = self._directions("isotropic" if family == _RAREST else family, distinct * (classes - 1 if together else 1), rng)
        if found is None:
            return []
        if together:
            return plants_at_leak(_class_scores(found, classes, distinct, rng), prior, leak)
        signs = np.ones(distinct) if family == "heavy" else (-1.0) ** np.arange(distinct)
        scores = found[:, np.arange(distinct) % found.shape[1]] * signs.astype(np.float32)
        return plants_at_leak(scores, prior, leak, chosen=int(prior.rates_k.argmin()))

    def _plant_values(self, family: str, leak: float, count: int, wild: bool) -> Floats | None:
        found = self._directions(family, count, self.streams(f"directions {family}"))
        if found is None:
            return None
        found = found[:, np.arange(count) % found.shape[1]]
        rng = self.streams(f"draws {family}" + (", own noise" if wild else ""))
        if wild:
            return self._own_noise([found * np.float32(np.sqrt(leak))], count, rng)
        noise = permuted(self.rows, self.noise[0][:, 0], count, rng)
        return self.statistic.of_labels(plant_values(found, noise, leak), 0)


def _class_scores(found_nm: Singles, classes: int, distinct: int, rng: np.random.Generator) -> Singles:
    """Scores ``(n, K, distinct)`` of several classes: a direction for each class but one."""
    scores = np.zeros((len(found_nm), classes, distinct), dtype=np.float32)
    for index in range(distinct):
        columns = np.arange(index * (classes - 1), (index + 1) * (classes - 1)) % found_nm.shape[1]
        scores[:, rng.permutation(classes)[1:], index] = found_nm[:, columns]
    return scores


def _small(labels_n: NDArray[np.generic]) -> NDArray[np.generic]:
    return labels_n.astype(np.int8) if labels_n.dtype.kind in "iu" else labels_n.astype(np.float32)
