"""Placebo attributes: labels planted that inputs and label know as well as the attribute, or along directions of activations."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Ints, Singles
from proxyaudit.data.attributes import Attribute
from proxyaudit.data.dataset import Dataset
from proxyaudit.probes.whitening import whiten
from proxyaudit.seeding import stream
from proxyaudit.stats.directions import Rows, linear_directions
from proxyaudit.stats.spike_in import Planting, Prior, plant_at_leak, plant_values, planted_probabilities

_PLACEBO_FAMILIES = ("isotropic", "unit", "low", "high")
_ATTEMPTS = 3  # to match each placebo; after the first along directions of no family
_CANDIDATES = 32  # draws of each, of which the first that matches is taken
_NEAR = 0.1  # how far from the attribute a placebo may be, as a share of what the attribute has
_STEPS = 6
_SOLVED_ON = 2000  # rows at most on which it is found how strongly to plant
_LEAST, _MOST = 1e-5, 0.95  # of what is planted beside the label


def plant_placebos(x_np: NDArray[Any], dataset: Dataset, labels_n: Ints, count: int, root: int) -> dict[str, NDArray[Any]]:
    """Placebos ``(n, up to count)`` of each attribute, matched to it by the task (METHOD, section 2).

    Each has, within a tenth, the attribute's base rates, its association with the label (Cramer's V, of numbers the correlation ratio) and
    what a linear reader of the inputs gets of it (adjusted R squared, which the score statistic reads a leak off). Drawn within labels at
    the attribute's own rates, along directions of four families. An attribute of which none matches has none.
    """
    rows, labels = whiten(x_np).rows, np.unique(labels_n, return_inverse=True)[1].astype(np.int64)
    planted: dict[str, NDArray[Any]] = {}
    for attribute in dataset.attributes if rows.rank else ():
        matched: dict[int, NDArray[Any]] = {}
        matching = _Matching(rows, labels, attribute)
        for attempt in range(_ATTEMPTS):
            left = [index for index in range(count) if index not in matched]
            if left:
                rngs = [stream(root, "placebo", attribute.name, index, attempt) for index in left]
                families = [_PLACEBO_FAMILIES[index % len(_PLACEBO_FAMILIES)] if attempt == 0 else "isotropic" for index in left]
                found = matching.plant(families, rngs)
                new = {index: column for index, column in zip(left, found, strict=True) if column is not None}
                matched |= new
                if not new:
                    break
        if matched:
            planted[attribute.name] = np.stack([matched[index] for index in sorted(matched)], axis=1)
    return planted


@dataclass(frozen=True)
class _Known:
    """What inputs and label know of a label column, in figures."""

    of_inputs: float  # adjusted R squared
    of_label: float  # Cramer's V, or the correlation ratio
    rates_k: Floats

    def near(self, other: "_Known", n: int, rank: int) -> bool:
        """Whether the other is within a tenth, or within what ``n`` rows cannot tell from nothing."""
        inputs = abs(other.of_inputs - self.of_inputs) <= max(_NEAR * self.of_inputs, np.sqrt(2 * rank) / n)
        label = abs(other.of_label - self.of_label) <= max(_NEAR * self.of_label, 1 / np.sqrt(n))
        return bool(inputs and label and (np.abs(other.rates_k - self.rates_k) <= _NEAR * self.rates_k).all())


class _Matching:
    """Plants placebos of one attribute: drawn within labels, so strong along a direction that the inputs know as much of them."""

    def __init__(self, rows: Rows, labels_n: Ints, attribute: Attribute) -> None:
        self.rows, self.labels, self.attribute = rows, labels_n, attribute
        self.classes, known = attribute.classes, attribute.known
        self.member_bn: Singles = (np.arange(labels_n.max() + 1)[:, None] == labels_n).astype(np.float32)
        codes = np.asarray(attribute.codes)
        self.wanted = self._known(codes[known].astype(np.float64)[:, None], known)[0]
        if self.classes:
            table = np.zeros((len(self.member_bn), self.classes))
            np.add.at(table, (labels_n[known], codes[known].astype(np.int64)), 1.0)
            table += 0.5 * attribute.rates  # a class that a label lacks is rare there, not impossible
            table /= table.sum(axis=1, keepdims=True)
            self.prior = Prior(np.log(table[labels_n]), attribute.rates, labels_n)
        else:
            values = codes.astype(np.float64)
            standard = (values - values[known].mean()) / values[known].std()
            means = np.array([standard[known & (labels_n == b)].mean() for b in range(len(self.member_bn))])
            self.mean_n, self.rest = means[labels_n], float(np.sqrt(max(1 - self.wanted.of_label**2, 0.0)))

    def plant(self, families: Sequence[str], rngs: Sequence[np.random.Generator]) -> list[NDArray[Any] | None]:
        """A matched column ``(n,)`` for each stream of random numbers, along a direction of its family; ``None`` where none matches."""
        if not self.classes:
            scores = [self._within(linear_directions(self.rows, family, 1, rng)[:, 0]) for family, rng in zip(families, rngs, strict=True)]
            shares = self._solve(lambda share_p: self._expected_of_values(np.stack(scores, axis=1), share_p), len(rngs))
            return [self._drawn_values(*one) for one in zip(scores, shares, rngs, strict=True)]
        drawn = [_scores(self.rows, family, self.classes, rng) for family, rng in zip(families, rngs, strict=True)]
        scores_np = np.stack(drawn, axis=-1)
        some = slice(None, None, max(self.rows.n // _SOLVED_ON, 1))
        part, prior, z = scores_np[some], Prior(self.prior.log_nk[some], self.prior.rates_k, self.labels[some]), self.rows.z_nr[some]
        planting, every = Planting(part, prior), np.arange(len(rngs))
        leaks = self._solve(lambda leak_p: self._expected(z, planting.probabilities(every, leak_p)[0]), len(rngs))
        p_knp, _ = planted_probabilities(scores_np, self.prior, leaks)
        return [self._drawn(p_knp[:, :, place], rng) for place, rng in enumerate(rngs)]

    def _solve(self, expected: Any, count: int) -> Floats:
        """What is to be planted beside the label, so that inputs know as much as they know of the attribute."""
        own = float(expected(np.full(count, _LEAST)).mean())
        wanted, found = max(self.wanted.of_inputs - own, _LEAST), np.full(count, float(np.clip(self.wanted.of_inputs, _LEAST, _MOST)))
        for _ in range(_STEPS):
            more = np.maximum(expected(found) - own, 0.1 * _LEAST)
            found = np.clip(found * np.clip(wanted / more, 0.1, 10.0), _LEAST, _MOST)
        return found

    def _expected(self, z_nr: Singles, p_knp: Singles) -> Floats:
        """R squared of labels with these probabilities, without noise, ``(P,)``."""
        told = [((z_nr.T @ (p_np - p_np.mean(axis=0)) / len(z_nr)) ** 2).sum(axis=0) for p_np in p_knp]
        rates_k = self.attribute.rates
        return np.asarray(np.sum(told, axis=0) / (rates_k * (1 - rates_k)).sum(), dtype=np.float64)

    def _expected_of_values(self, scores_np: Floats, share_p: Floats) -> Floats:
        signal = self.mean_n[:, None] + self.rest * np.sqrt(share_p) * scores_np
        return np.asarray(((self.rows.z_nr.T @ (signal - signal.mean(axis=0)) / self.rows.n) ** 2).sum(axis=0), dtype=np.float64)

    def _within(self, score_n: NDArray[np.floating]) -> Floats:
        """A score centred within labels, of unit variance: what it adds is beside the label."""
        means = self.member_bn @ score_n / self.member_bn.sum(axis=1)
        centred = np.asarray(score_n, dtype=np.float64) - means[self.labels]
        return np.asarray(centred / max(float(centred.std()), 1e-12))

    def _drawn(self, p_kn: Singles, rng: np.random.Generator) -> NDArray[Any] | None:
        codes = np.zeros((self.rows.n, _CANDIDATES), dtype=np.int64)
        uniform = rng.random(codes.shape, dtype=np.float32)
        for edge_n in np.cumsum(p_kn, axis=0)[:-1]:
            codes += uniform > edge_n[:, None]
        return self._first(codes)

    def _drawn_values(self, score_n: Floats, share: float, rng: np.random.Generator) -> NDArray[Any] | None:
        noise = rng.standard_normal((self.rows.n, _CANDIDATES))
        return self._first(self.mean_n[:, None] + self.rest * (np.sqrt(share) * score_n[:, None] + np.sqrt(1 - share) * noise))

    def _first(self, columns_nm: NDArray[Any]) -> NDArray[Any] | None:
        known = self._known(columns_nm, np.ones(self.rows.n, dtype=np.bool_))
        fit = (place for place, one in enumerate(known) if self.wanted.near(one, self.rows.n, self.rows.rank))
        place = next(fit, None)
        return None if place is None else columns_nm[:, place]

    def _known(self, columns_nm: NDArray[Any], rows_n: NDArray[np.bool_]) -> list[_Known]:
        """What inputs and label know of each column, on these rows."""
        z, member, n = self.rows.z_nr[rows_n], self.member_bn[:, rows_n], int(rows_n.sum())
        indicators = [(columns_nm == k) for k in range(self.classes)] if self.classes else [columns_nm]
        inputs, label, total = np.zeros((3, columns_nm.shape[1]))
        for one in indicators:
            centred = (one - one.mean(axis=0)).astype(np.float32)
            spread = np.maximum((centred.astype(np.float64) ** 2).mean(axis=0), 1e-300)
            inputs += ((z.T @ centred / n) ** 2).sum(axis=0)
            between = ((member @ centred) ** 2 / np.maximum(member.sum(axis=1, keepdims=True), 1) / n).sum(axis=0)
            # Cramer's V is the mean over classes of what the label explains, each in units of its rate; of a number the correlation ratio.
            label += between / (np.maximum(one.mean(axis=0), 1e-300) if self.classes else spread)
            total += spread
        r2 = 1 - (1 - inputs / total) * (n - 1) / max(n - 1 - self.rows.rank, 1)
        v = np.sqrt(label / max(min(self.classes - 1, len(member) - 1), 1))
        rates = np.stack([one.mean(axis=0) for one in indicators], axis=1) if self.classes else np.zeros((len(v), 0))
        return [_Known(*figures) for figures in zip(map(float, r2), map(float, v), rates, strict=True)]


def plant_label(rows: Rows, attribute: Attribute, families: Sequence[str], leak: float, rng: np.random.Generator) -> NDArray[Any] | None:
    """One label column ``(n,)`` with an attribute's base rates, planted along a direction of the first family that can leak that much."""
    # A unit or axis with too few values cannot.
    planted = (_planted(rows, attribute, family, leak, rng) for family in families)
    return next((column for column in planted if column is not None), None)


def _planted(rows: Rows, attribute: Attribute, family: str, leak: float, rng: np.random.Generator) -> NDArray[Any] | None:
    if attribute.classes == 0:
        return plant_values(linear_directions(rows, family, 1, rng)[:, 0], rng.standard_normal(rows.n), leak)
    plant = plant_at_leak(_scores(rows, family, attribute.classes, rng), Prior.of_rates(attribute.rates, rows.n), leak)
    return None if plant is None else plant.draw(rng)


def _scores(rows: Rows, family: str, classes: int, rng: np.random.Generator) -> NDArray[Any]:
    """Scores along a direction of a family: ``(n,)`` for the second of two classes, ``(n, K)`` for several."""
    score: NDArray[Any] = linear_directions(rows, family, 1, rng)
    if classes == 2:
        return score[:, 0]
    if family in ("low", "high"):
        return score * np.arange(classes) / (classes - 1)
    return np.concatenate([np.zeros((rows.n, 1)), linear_directions(rows, family, classes - 1, rng)], axis=1)
