"""Probe every attribute at one site: the linear, the non-linear and the conditional channel, with nulls and plants."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Bools, Floats, Ints
from proxyaudit.channels.leak.questions import ProbedRows, Probing
from proxyaudit.data.attributes import Attribute, clusters_if_any, ordered_codes
from proxyaudit.estimates.record import Measurement, cell_key
from proxyaudit.probes.bins import binned_trace
from proxyaudit.probes.conditioning import FEWEST_IN_STRATUM, Strata
from proxyaudit.probes.crossfit import FEWEST_ROWS, TooFewRowsError, assign_folds, cross_fit_classes, cross_fit_values
from proxyaudit.probes.deciding import PlantedTest, Target, planted_test
from proxyaudit.probes.dropped_axes import faint_p
from proxyaudit.probes.effort import measure_effort
from proxyaudit.probes.first_order import first_order_gain
from proxyaudit.probes.flexible import MAX_ROWS, Gain, flexible_gains
from proxyaudit.probes.score import ScoreStatistic, flipped, indicator_columns
from proxyaudit.probes.whitening import Whitened, whiten, whiten_within
from proxyaudit.seeding import integer_seed, stream
from proxyaudit.stats.nulls import tail_probability

_QUADRATIC_COLUMNS = 2000
PERMUTED_WITHIN = 499
MOST_VALUES = 20  # numbers of so few values may be codes, and are asked value by value
PLAINLY = 0.01  # a model in which the linear test passes at this level rules the absence of the channel out


def measure_site(
    acts_nd: NDArray[Any], rows: ProbedRows, probing: Probing, *, site: str, placebos: dict[str, NDArray[Any]], out: Measurement
) -> None:
    """Probe every attribute at one site; results go into ``out``.

    Args:
        acts_nd: Activations of the audit rows, shape ``(n, d)``.
        rows: The rows.
        probing: What to ask.
        site: Name of the site.
        placebos: Label columns ``(n, m)`` of placebo attributes, by attribute.
        out: Takes numbers under ``cells / attribute / site`` and arrays under :func:`cell_key`.

    Raises:
        ValueError: the activations hold NaN or infinite values.
    """
    everything = whiten(acts_nd)
    shared: dict[str, ScoreStatistic] = {}
    folds = assign_folds(rows.clusters, stream(probing.root, "folds"))
    for attribute in rows.attributes:
        known = attribute.known
        whole = bool(known.all())
        cell = _Cell(
            acts_nd if whole else acts_nd[known],
            everything if whole else whiten(acts_nd[known]),
            attribute,
            known,
            folds[known],
            rows.clusters[known],
            probing,
            shared if whole else {},
        )
        numbers = cell.measure(placebos.get(attribute.name))
        out.numbers.setdefault("cells", {}).setdefault(attribute.name, {})[site] = numbers
        for what, array in cell.arrays.items():
            if what.endswith("influence"):
                full = np.zeros(len(known))
                full[known] = array
                array = full
            out.arrays[cell_key(attribute.name, site, what)] = array


class _Cell:
    """One attribute at one site."""

    def __init__(
        self,
        acts_nd: NDArray[Any],
        whitened: Whitened,
        attribute: Attribute,
        known: Bools,
        folds: Ints,
        clusters: Ints,
        probing: Probing,
        shared: dict[str, ScoreStatistic],
    ) -> None:
        self.acts, self.whitened, self.probing, self.shared = acts_nd, whitened, probing, shared
        self.known, self.folds, self.clusters = known, folds, clusters
        self.groups = clusters_if_any(clusters)
        self.name, self.classes = attribute.name, attribute.classes
        codes = np.asarray(attribute.codes)[known]
        self.labels: NDArray[Any] = codes.astype(np.float64) if self.classes == 0 else ordered_codes(codes.astype(np.int64), self.classes)
        self.arrays: dict[str, NDArray[Any]] = {}

    def measure(self, placebos_nm: NDArray[Any] | None) -> dict[str, Any]:
        """All channels of the cell as numbers."""
        cell: dict[str, Any] = {
            "n": len(self.labels),
            "rank": self.whitened.z_nr.shape[1],
            "constant": self.whitened.constant,
            "dropped": self.whitened.dropped,
            "faint": faint_p(self.whitened.faint_nm, self.labels, self.classes),
            "reason": None,
        }
        if self.whitened.z_nr.shape[1] == 0:
            # A site that is constant carries nothing: that is a measured zero, not a missing value.
            return {**cell, "silent": True}
        try:
            if self.classes == 0:
                score = cross_fit_values(self.whitened.z_nr, self.labels, self.folds)
            else:
                score = cross_fit_classes(self.whitened.z_nr, self.labels, self.classes, self.folds)
        except TooFewRowsError as error:
            return {**cell, "reason": str(error)}
        linear = self._linear(placebos_nm if placebos_nm is None else placebos_nm[self.known], score.leak)
        cell["linear"] = {**linear, "raw": score.leak, "unweighted": score.unweighted, "auroc": score.auroc, "ridge": score.ridge}
        if self.probing.nonlinear and self.probing.unless_linear and linear["p_present"] <= PLAINLY:
            skipped = {"reason": "a linear reader finds it here already; nothing more was asked at this site"}
            cell |= dict.fromkeys(("nonlinear", *(("quarters", "quarters nonlinear") if self.classes == 0 else ())), skipped)
        elif self.probing.nonlinear:
            cell["nonlinear"] = self._nonlinear(score.offset_nk)
            if self.classes == 0:
                cell.update(self._quarters())
        if self.probing.effort and self.classes:
            seed = integer_seed(self.probing.root, "effort")
            cell["effort"] = measure_effort(self.whitened.z_nr, self.labels, self.classes, self.clusters, seed)
        if self.name in self.probing.strata:
            cell.update(self._beyond(self.probing.strata[self.name]))
        return cell

    def _target(self, labels: NDArray[Any], groups: Ints | None, strata: Ints | None = None) -> Target:
        if self.classes == 0:
            return Target.of_values(labels, groups)
        return Target.of_codes(labels, self.classes, groups, strata)

    def _streams(self, channel: str) -> Any:
        return lambda purpose: stream(self.probing.root, "probe", channel, purpose)

    def _linear(self, placebos_nm: NDArray[Any] | None, raw: float) -> dict[str, Any]:
        statistic = self.shared.setdefault("linear", ScoreStatistic(self.whitened.rows, "linear"))
        target, streams = self._target(self.labels, self.groups), self._streams("linear")
        test = planted_test(statistic, target, self.probing.margins.leak, streams, permutations=self.probing.permutations)
        self._keep("linear", test)
        relayed: list[float] = []
        if placebos_nm is not None and test.curve is not None:
            relayed = [test.curve.calibrate(float(score))[0] for score in statistic.of_labels(placebos_nm, self.classes, target.weights)]
        numbers = {**_numbers(test), "placebo": relayed, "negative": self._negative(statistic, target, test)}
        if test.curve is not None and test.score >= test.curve.means[-1]:
            # Plants end before all there is; beyond them what was read on rows not seen is the better lower bound.
            numbers["leak"] = max(test.leak, min(raw, 1.0))
            numbers["high"] = max(test.high, numbers["leak"])
        return numbers

    def _negative(self, statistic: ScoreStatistic, target: Target, test: PlantedTest) -> float:
        """Tail probability of a permuted attribute: the instrument must find nothing there."""
        rng = self._streams("linear")("negative control")
        if self.groups is None:
            labels = rng.permutation(self.labels)[:, None]
            score = float(statistic.of_labels(labels, self.classes, target.weights)[0])
            return tail_probability(score, test.null)
        # Whole clusters keep their labels' pattern; each turns its sign.
        columns = [statistic.prepare(column) for column in indicator_columns(target.labels_n[:, None], target.classes)]
        signs = flipped(self.groups, len(self.labels), 1, rng)
        return tail_probability(float(target.weights @ [statistic.of_prepared(signs * e).scores_m[0] for e in columns]), test.null)

    def _nonlinear(self, offset_nk: Floats) -> dict[str, Any]:
        used = self._affordable()
        if used is None:
            statistic = self.shared.setdefault("nonlinear", ScoreStatistic(self.whitened.rows, "nonlinear"))
            test = self._quadratic(statistic, self.labels, self.groups)
        else:
            key = f"nonlinear, {self._most_rows()} rows"
            if key not in self.shared:
                self.shared[key] = ScoreStatistic(whiten(self.acts[used]).rows, "nonlinear")
            statistic = self.shared[key]
            test = self._quadratic(statistic, self.labels[used], None if self.groups is None else self.groups[used])
        self._keep("nonlinear", test, used)
        labels, groups = (
            (self.labels, self.groups) if used is None else (self.labels[used], None if self.groups is None else self.groups[used])
        )
        bins = binned_trace(statistic, labels, self.classes, groups, self._streams("nonlinear")("bins"))
        rows = self._some_rows(MAX_ROWS)
        seed = integer_seed(self.probing.root, "readers")
        gains = flexible_gains(
            self.whitened.z_nr,
            self.labels,
            self.classes,
            self.folds,
            offset_nk,
            seed=seed,
            rows_n=rows,
            budget=self.probing.budget,
            readers=self.probing.readers,
        )
        return {
            **_numbers(test),
            "rows": len(self.labels) if used is None else int(used.sum()),
            "bins": {"p": bins.p, "share": bins.share},
            "readers": [self._reader(gain) for gain in gains],
        }

    def _reader(self, gain: Gain) -> dict[str, Any]:
        if gain.influence_n is not None:
            self.arrays[f"{gain.name} influence"] = gain.influence_n
        return {"name": gain.name, "gain": gain.gain, "auroc": gain.auroc, "skipped": gain.skipped}

    def _quadratic(self, statistic: ScoreStatistic, labels: NDArray[Any], groups: Ints | None) -> PlantedTest:
        target, streams = self._target(labels, groups), self._streams("nonlinear")
        return planted_test(statistic, target, self.probing.margins.nonlinear, streams, permutations=self.probing.permutations)

    def _affordable(self) -> Bools | None:
        """Rows that the quadratic test can afford; ``None`` for all."""
        most = self._most_rows()
        return None if len(self.labels) <= most else self._some_rows(most)

    def _most_rows(self) -> int:
        rank = self.whitened.z_nr.shape[1]
        if rank * (rank + 1) < len(self.labels):
            return len(self.labels)
        columns = _QUADRATIC_COLUMNS * (1 if self.classes <= 2 else self.classes)
        return int(np.sqrt(self.probing.work / (2 * (columns + rank))))

    def _some_rows(self, most: int) -> Bools:
        """Whole clusters, at random, up to ``most`` rows."""
        if len(self.labels) <= most:
            return np.ones(len(self.labels), dtype=bool)
        ids = np.unique(self.clusters, return_inverse=True)[1]
        order = stream(self.probing.root, "rows", most).permutation(int(ids.max()) + 1)
        chosen = order[np.cumsum(np.bincount(ids)[order]) <= most]
        return np.asarray(np.isin(ids, chosen))

    def _quarters(self) -> dict[str, dict[str, Any]]:
        """A number as classes, linear and non-linear: what is told of it without its mean, its scatter or its extremes, counts too."""
        codes = cut_number(self.labels)
        classes = int(codes.max()) + 1
        if classes < 2 or np.bincount(codes).min() < FEWEST_ROWS:
            reason = {"reason": "the attribute takes too few values to be cut into quarters"}
            return {"quarters": reason, "quarters nonlinear": reason}
        name = f"{self.name}, cut"
        attribute = Attribute(name, "protected", "binary" if classes == 2 else "multiclass", tuple(map(str, range(classes))), codes)
        probing = replace(self.probing, effort=False, strata={})
        everywhere = np.ones(len(codes), dtype=bool)
        cut = _Cell(self.acts, self.whitened, attribute, everywhere, self.folds, self.clusters, probing, self.shared)
        found = cut.measure(None)
        for what, array in cut.arrays.items():
            self.arrays[f"quarters {what}".replace("quarters linear", "quarters")] = array
        if found["reason"]:
            return {"quarters": {"reason": found["reason"]}, "quarters nonlinear": {"reason": found["reason"]}}
        if "readers" not in found["nonlinear"]:
            return {"quarters": found["linear"], "quarters nonlinear": found["nonlinear"]}
        readers = [{**reader, "name": f"quarters {reader['name']}"} for reader in found["nonlinear"]["readers"]]
        return {"quarters": found["linear"], "quarters nonlinear": {**found["nonlinear"], "readers": readers}}

    def _beyond(self, strata: Strata) -> dict[str, dict[str, Any]]:
        """The conditional channel, linear and quadratic within strata."""
        everything = Strata(strata.codes_n[self.known], None if strata.features_nb is None else strata.features_nb[self.known])
        used = everything.codes_n >= 0
        left_out = float(1 - used.mean())
        if self.classes:
            told, unclear = _told_already(everything.codes_n, self.labels, self.classes)
            used, left_out = used & ~told & ~unclear, left_out + float(unclear.mean())
        if not used.any():
            return {"beyond": {"reason": "what is conditioned on tells the attribute entirely: nothing can be beyond it"}}
        part = Strata(everything.codes_n[used], None if everything.features_nb is None else everything.features_nb[used])
        acts = part.residual(np.asarray(self.acts[used], dtype=np.float64))
        found: dict[str, dict[str, Any]] = {}
        for name, kind in (("beyond", "linear"), *((("beyond nonlinear", "nonlinear"),) if self.probing.nonlinear else ())):
            chosen = np.ones(len(acts), dtype=bool)
            if kind == "nonlinear" and len(acts) > self._most_rows():
                chosen = self._some_rows(self._most_rows())[used]
            inside = used.copy()
            inside[used] = chosen
            fewer = Strata(part.codes_n[chosen], None if part.features_nb is None else part.features_nb[chosen])
            result = self._within(fewer, acts[chosen], inside, name, kind)
            if result is None:
                found[name] = {"reason": "the site is constant within what is conditioned on", "silent": True}
                continue
            test, raw, place = result
            influence = np.zeros(len(used))
            influence[place] = test.influence_n
            self.arrays[f"{name} influence"], self.arrays[f"{name} null"] = influence, test.null
            found[name] = {**_numbers(test), "rows": int(inside.sum()), "left_out": left_out, "raw": raw, "control": None}
        random = part.random_features(stream(self.probing.root, "random features"))
        if random is not None and not found["beyond"].get("silent"):
            control = self._within(part, part.residual(random), used, "beyond", "linear")
            leak = 0.0 if control is None else control[0].leak
            found["beyond"]["control"] = leak
            if leak >= self.probing.margins.leak:
                reason = "the control failed: random features of what is conditioned on show the attribute too, so the baseline is too weak"
                for numbers in found.values():
                    numbers["reason"] = reason
        return found

    def _within(self, strata: Strata, acts_nd: Floats, used: Bools, name: str, kind: str) -> tuple[PlantedTest, float, Ints] | None:
        """Planted test within strata, the first-order gain, and the row that each influence belongs to."""
        rows, order = whiten_within(acts_nd, strata.codes_n)
        if rows.rank == 0:
            return None
        place = np.flatnonzero(used)[order]
        dense = np.unique(strata.codes_n[order], return_inverse=True)[1].astype(np.int64)
        target = self._target(self.labels[place], None if self.groups is None else self.groups[place], dense)
        statistic = ScoreStatistic(rows, kind)
        margin = self.probing.margins.nonlinear if kind == "nonlinear" else self.probing.margins.leak
        test = planted_test(statistic, target, margin, self._streams(name), permutations=PERMUTED_WITHIN)
        return test, first_order_gain(statistic, target, self.folds[place]), place

    def _keep(self, channel: str, test: PlantedTest, used: Bools | None = None) -> None:
        influence = np.zeros(len(self.labels))
        influence[slice(None) if used is None else used] = test.influence_n
        self.arrays[f"{channel} influence"], self.arrays[f"{channel} null"] = influence, test.null


def cut_number(values_n: NDArray[Any]) -> Ints:
    """Codes of a number as classes: its values where they are few and none is rare, else its quarters."""
    values, codes, counts = np.unique(values_n, return_inverse=True, return_counts=True)
    if len(values) <= MOST_VALUES and counts.min() >= FEWEST_IN_STRATUM:
        return np.asarray(codes, dtype=np.int64)
    edges = np.unique(np.quantile(values_n, (0.25, 0.5, 0.75)))
    return np.asarray(np.unique(np.searchsorted(edges, values_n), return_inverse=True)[1], dtype=np.int64)


def _told_already(strata_n: Ints, codes_n: NDArray[Any], classes: int) -> tuple[Bools, Bools]:
    """Rows of strata that hold one class only (all is told already), and of those with too few rows of a second class to ask."""
    counts = np.zeros((int(strata_n.max()) + 1, classes), dtype=np.int64)
    inside = strata_n >= 0
    np.add.at(counts, (strata_n[inside], codes_n[inside].astype(np.int64)), 1)
    one, askable = (counts > 0).sum(axis=1) < 2, (counts >= FEWEST_ROWS).sum(axis=1) >= 2
    place = np.maximum(strata_n, 0)
    return np.asarray(inside & one[place]), np.asarray(inside & ~one[place] & ~askable[place])


def _numbers(test: PlantedTest) -> dict[str, Any]:
    return {
        "score": test.score,
        "leak": test.leak,
        "low": test.low,
        "high": test.high,
        "p_present": test.p_present,
        "p_absent": test.p_absent,
        "families": {name: list(pair) for name, pair in test.families.items()},
        "null_p": test.null_p,
        "null_high": test.null_high,
        "detection_limit": test.detection_limit,
        "found": test.found,
        "rows_needed": test.rows_needed,
        "reason": test.reason,
    }
