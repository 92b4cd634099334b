"""One attribute at one site: linear, non-linear and conditional tests, nulls and plants."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Bools, Floats, Ints
from proxyaudit.channels.closed import ASKED_ONCE
from proxyaudit.channels.leak.closed import AGREEMENT, LINEAR
from proxyaudit.channels.leak.guards import SiteGuards
from proxyaudit.channels.leak.levels import best_question, halves
from proxyaudit.channels.leak.record import LeakTest, SiteRecord
from proxyaudit.data.attributes import Attribute, cut_number, ordered_codes
from proxyaudit.estimates.questions import LINEAR_READER
from proxyaudit.probes.bins import binned_trace
from proxyaudit.probes.conditioning import Strata
from proxyaudit.probes.crossfit import ProbeScore, cross_fit_classes, cross_fit_values
from proxyaudit.probes.deciding import planted_test, read_leak
from proxyaudit.probes.effort import measure_effort
from proxyaudit.probes.first_order import first_order_gain
from proxyaudit.probes.flexible import MAX_ROWS, READERS, flexible_gains
from proxyaudit.probes.folds import FEWEST_ROWS, TooFewRowsError
from proxyaudit.probes.levels import level_trace, question_bank
from proxyaudit.probes.planting import Streams, Target
from proxyaudit.probes.results import BinnedTrace, Gain, PlantedTest
from proxyaudit.probes.score import ScoreStatistic, flipped, indicator_columns
from proxyaudit.probes.whitening import Whitened, whiten, whiten_within
from proxyaudit.recipe.recipe import Margins
from proxyaudit.seeding import integer_seed, stream
from proxyaudit.stats.p_values import tail_probability

_QUADRATIC_COLUMNS = 2000
_STRETCHED = 2  # times the rows of one quadratic test, where so many would do
PERMUTED_WITHIN = 499
PLAINLY = 0.01  # a model in which the linear test passes at this level rules the absence of the channel out
FOUND_ALREADY = "a linear reader finds it here already; nothing more was asked at this site"
_TOLD = "what is conditioned on tells the attribute entirely: nothing can be beyond it"
_CONSTANT_WITHIN = "the site is constant within what is conditioned on"
_WEAK = "the control failed: random features of what is conditioned on show the attribute too, so the baseline is too weak"
_PLAIN_ALREADY = "the attribute is plainly there already, which no other reader can change"
_FEW_VALUES = "the attribute takes too few values to be cut into quarters"
Memo = dict[str, Any]


@dataclass(frozen=True)
class ProbedArrays:
    """Attributes and clusters ``(n,)`` of the rows that are probed, where there is no data set."""

    attributes: tuple[Attribute, ...]
    clusters: Ints
    fewer: int | None = None  # rows that all but the linear test is asked on, where memory holds no more


@dataclass(frozen=True)
class Probing:
    """What to ask: the root seed, the leaks that matter, the size of the null, and for what else than the linear leak."""

    root: int
    margins: Margins
    permutations: int
    nonlinear: bool = True
    readers: tuple[str, ...] = READERS  # non-linear readers beside the quadratic score
    strata: Mapping[str, Strata] = field(default_factory=dict)  # what the conditional channel conditions on, by attribute
    budget: float = 60.0  # predicted seconds, at a nominal speed, that the readers of one attribute at one site may take
    effort: bool = False  # whether to measure how easily the attribute is got out
    unless_linear: float = 0.0  # leave all but the linear test out where its p-value of presence in this model is no larger
    numbers_too: bool = True  # whether that goes for numbers, whose quarters may tell more than their mean does
    settled: str = FOUND_ALREADY  # why they are left out then
    closed: Mapping[str, frozenset[str]] = field(default_factory=dict)  # tests that are left out, by attribute
    every_row: bool = False  # whether proxies of many levels are read on all rows too
    work: float = 4e11  # operations of one quadratic test; rows beyond it are left out, whole clusters at a time


class SiteProbe:
    """One attribute at one site, on the rows where it is known: activations are of these rows, attribute, folds and clusters of all.

    ``shared`` holds statistics and features that attributes share that are known on the same rows.
    """

    def __init__(
        self, acts_nd: NDArray[Any], white: Whitened, attribute: Attribute, folds_n: Ints, clusters_n: Ints, probing: Probing, shared: Memo
    ) -> None:
        self.acts, self.whitened, self.probing, self.shared = acts_nd, white, probing, shared
        self.attribute, self.known, self.all_folds, self.all_clusters = attribute, attribute.known, folds_n, clusters_n
        self.folds, self.clusters = folds_n[self.known], clusters_n[self.known]
        self.groups = None if len(np.unique(self.clusters)) == len(self.clusters) else self.clusters  # of rows that all stand alone
        self.classes = attribute.classes
        codes = np.asarray(attribute.codes)[self.known]
        self.labels: NDArray[Any] = codes.astype(np.float64) if self.classes == 0 else ordered_codes(codes.astype(np.int64), self.classes)
        self.guards = SiteGuards(white, self.labels, self.classes, self.groups, shared)

    def measure(self, placebos_nm: NDArray[Any] | None) -> SiteRecord:
        """All tests."""
        white, probing = self.whitened, self.probing
        rank = white.z_nr.shape[1]
        record = SiteRecord(len(self.labels), rank, white.constant, white.dropped, silent=rank == 0)
        closed = probing.closed.get(self.attribute.name, frozenset())
        if record.silent:
            return self._unseen(record)
        if closed >= LINEAR:
            return replace(record, tests=dict.fromkeys(closed, LeakTest(ASKED_ONCE)))
        # A verdict of absence or presence rests on sites whose non-linear channel is asked too.
        record = replace(record, agreement=self.guards.agreement() if probing.nonlinear and AGREEMENT not in closed else None)
        try:
            if self.classes:
                score = cross_fit_classes(white.z_nr, self.labels, self.classes, self.folds)
            else:
                score = cross_fit_values(white.z_nr, self.labels, self.folds)
        except TooFewRowsError as error:
            return self._unseen(replace(record, reason=str(error)))
        tests = {"linear": self.linear_test(placebos_nm if placebos_nm is None else placebos_nm[self.known], score)}
        more = ("nonlinear", *(("quarters", "quarters nonlinear") if self.classes == 0 else ())) if probing.nonlinear else ()
        settled = tests["linear"].p_present <= probing.unless_linear and (self.classes > 0 or probing.numbers_too)
        record = record if settled else self._unseen(record)
        if settled:
            tests |= dict.fromkeys(more, LeakTest(probing.settled))
        else:
            tests |= dict.fromkeys((name for name in more if name in closed), LeakTest(ASKED_ONCE))
            if "nonlinear" in set(more) - closed:
                tests["nonlinear"] = self._nonlinear(score.offset_nk)
            if {"quarters", "quarters nonlinear"} & (set(more) - closed):
                tests |= self._quarters()
        effort = None
        if probing.effort and self.classes:
            effort = measure_effort(white.z_nr, self.labels, self.classes, self.clusters, integer_seed(probing.root, "effort"))
        if self.attribute.name in probing.strata:
            names = ("beyond", "beyond nonlinear")
            if settled or closed.issuperset(names):
                tests |= dict.fromkeys(names, LeakTest(probing.settled if settled else ASKED_ONCE))
            else:
                tests |= self._beyond(probing.strata[self.attribute.name])
        return replace(record, tests=tests, effort=effort)

    def _unseen(self, record: SiteRecord) -> SiteRecord:
        """With what no reader is given, which speaks against absence alone: it is not asked where a linear reader plainly finds it."""
        if not self.probing.nonlinear:
            return record
        return replace(record, dropped_p=self.guards.unseen(self.acts, self.probing.margins.nonlinear))

    def _target(self, chosen: Bools | Ints | slice, strata: Ints | None = None) -> Target:
        labels, groups = self.labels[chosen], None if self.groups is None else self.groups[chosen]
        return Target.of_values(labels, groups) if self.classes == 0 else Target.of_codes(labels, self.classes, groups, strata)

    def _streams(self, test: str) -> Callable[[str], np.random.Generator]:
        return lambda purpose: stream(self.probing.root, "probe", test, purpose)

    def _shared(self, key: str, make: Callable[[], ScoreStatistic]) -> ScoreStatistic:
        if key not in self.shared:
            self.shared[key] = make()
        found: ScoreStatistic = self.shared[key]
        return found

    def _on_all_rows(self, influence_n: Floats, chosen: Bools | Ints | slice) -> Floats:
        full = np.zeros(len(self.known))
        full[np.flatnonzero(self.known)[chosen]] = influence_n
        return full

    def _test(self, test: PlantedTest, chosen: Bools | Ints | slice, **more: Any) -> LeakTest:
        """A planted test with its influences on all rows, and what was measured beside it."""
        return LeakTest(**{**vars(test), "influence_n": self._on_all_rows(test.influence_n, chosen), "reading": None, **more})

    def linear_test(self, placebos_nm: NDArray[Any] | None, score: ProbeScore) -> LeakTest:
        """The linear test, beside the ``score`` of the cross-fitted probe."""
        statistic = self._shared("linear", lambda: ScoreStatistic(self.whitened.rows, "linear", self.groups))
        target = self._target(slice(None))
        test = planted_test(statistic, target, self.probing.margins.leak, self._streams("linear"), permutations=self.probing.permutations)
        placebos: list[float] = []
        if placebos_nm is not None and test.reading is not None:
            placebos = [test.reading.leak_of(float(one)) for one in statistic.of_labels(placebos_nm, self.classes, target.weights)]
        reader = {"raw": score.leak, "unweighted": score.unweighted, "auroc": score.auroc}
        negative, near = self._negative(statistic, target, test), self.guards.near(statistic, target, test.score)
        probe = Gain(LINEAR_READER, score.leak, self._on_all_rows(score.influence_n, slice(None)))
        return self._test(test, slice(None), placebos=tuple(placebos), negative=negative, near=near, probe=(probe,), **reader)

    def read_linear(self) -> tuple[float, Floats] | None:
        """The linear leak and its influences on all rows."""
        found = read_leak(
            ScoreStatistic(self.whitened.rows, "linear", self.groups),
            self._target(slice(None)),
            self.probing.margins.leak,
            self._streams("linear"),
        )
        return None if found is None else (found[0], self._on_all_rows(found[1], slice(None)))

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

    def _nonlinear(self, offset_nk: Floats) -> LeakTest:
        most, probing, streams = self._most_rows(), self.probing, self._streams("nonlinear")
        used, statistic, target, test = self._quadratic(most, streams)
        needed = test.rows_needed or 0
        if int(used.sum()) < needed <= min(len(used), _STRETCHED * most):
            # Not by what was found: what is needed hangs on the rows alone, so that this is no second try.
            used, statistic, target, test = self._quadratic(int(1.1 * needed), streams)
        # Readers can show presence, or speak against absence; once it is plainly present one is enough, which shows that it is of use.
        plain = test.p_present <= PLAINLY
        readers = probing.readers[:1] if plain else probing.readers
        asked = (self.whitened.z_nr, self.labels, self.classes, self.folds, offset_nk)
        seed, rows = integer_seed(probing.root, "readers"), self._some_rows(MAX_ROWS)
        gains = flexible_gains(*asked, seed=seed, units_nd=self.whitened.x_nd, rows_n=rows, budget=probing.budget, readers=readers)
        gains += [Gain(name, skipped=_PLAIN_ALREADY) for name in probing.readers[len(readers) :]]
        of_bins = (statistic, self.labels[used], self.classes, target.clusters_n)
        bins = BinnedTrace(1.0, 0.0) if plain else binned_trace(*of_bins, streams("bins"))
        found = [g if g.influence_n is None else replace(g, influence_n=self._on_all_rows(g.influence_n, slice(None))) for g in gains]
        near = self.guards.near(statistic, target, test.score)
        return self._test(test, used, rows=int(used.sum()), bins=bins, near=near, readers=tuple(found))

    def _quadratic(self, most: int, streams: Streams) -> tuple[Bools, ScoreStatistic, Target, PlantedTest]:
        """The quadratic test on at most so many rows."""
        used, margin = self._some_rows(most), self.probing.margins.nonlinear
        name = "nonlinear" if used.all() else f"nonlinear, {most} rows"
        groups = None if self.groups is None else self.groups[used]

        def make() -> ScoreStatistic:
            return ScoreStatistic((self.whitened if used.all() else whiten(self.acts[used])).rows, "nonlinear", groups)

        statistic = self._shared(name, make)
        target = self._target(used)
        return used, statistic, target, planted_test(statistic, target, margin, streams, permutations=self.probing.permutations)

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
        return np.isin(ids, order[np.cumsum(np.bincount(ids)[order]) <= most])

    def _quarters(self) -> dict[str, LeakTest]:
        """A number as classes, linear and non-linear: what is told of it without its mean, its scatter or its extremes, counts too."""
        codes = np.full(len(self.known), -1, dtype=np.int64)
        codes[self.known] = cut_number(self.labels)
        classes = int(codes.max()) + 1
        if classes < 2 or np.bincount(codes[self.known]).min() < FEWEST_ROWS:
            return dict.fromkeys(("quarters", "quarters nonlinear"), LeakTest(_FEW_VALUES))
        levels = tuple(map(str, range(classes)))
        attribute = Attribute(f"{self.attribute.name}, cut", "protected", "binary" if classes == 2 else "multiclass", levels, codes)
        probing = replace(self.probing, effort=False, strata={}, unless_linear=0.0)
        cut = SiteProbe(self.acts, self.whitened, attribute, self.all_folds, self.all_clusters, probing, self.shared).measure(None)
        if cut.reason:
            return dict.fromkeys(("quarters", "quarters nonlinear"), LeakTest(cut.reason))
        nonlinear = cut.tests["nonlinear"]
        readers = tuple(replace(reader, name=f"quarters {reader.name}") for reader in nonlinear.readers)
        found = {"quarters": cut.tests["linear"], "quarters nonlinear": replace(nonlinear, readers=readers)}
        told = found["quarters"].p_present <= PLAINLY or len(np.unique(self.labels)) <= classes
        return found if told else self._levels(found)

    def _levels(self, found: dict[str, LeakTest]) -> dict[str, LeakTest]:
        """Traces of single values beside the tests in quarters; where there are any, tests of the question that shows most."""
        bank, out = question_bank(self.labels), dict(found)
        first = halves(self.clusters, stream(self.probing.root, "halves"))
        for kind, quarters in (("linear", "quarters"), ("nonlinear", "quarters nonlinear")):
            name = quarters.replace("quarters", "levels")
            margin, streams = self.probing.margins.leak if kind == "linear" else self.probing.margins.nonlinear, self._streams(name)
            trace = level_trace(ScoreStatistic(self.whitened.rows, kind, self.groups), bank, self.groups, streams("screen"))
            out[quarters] = replace(found[quarters], levels=trace)
            if trace is None or not trace.tells(margin):
                continue
            asked = best_question(self.acts, bank, self.groups, first, kind, margin, streams, self.folds)
            if asked is not None:
                test, raw = asked
                out[name] = self._test(test, ~first, rows=int((~first).sum()), raw=raw)
        return out

    def _beyond(self, strata: Strata) -> dict[str, LeakTest]:
        """The conditional tests, linear and quadratic within strata."""
        everything = strata.of_rows(self.known)
        used = everything.codes_n >= 0
        left_out = float(1 - used.mean())
        if self.classes:
            told, unclear = _told_already(everything.codes_n, self.labels, self.classes)
            used, left_out = used & ~told & ~unclear, left_out + float(unclear.mean())
        if not used.any():
            return {"beyond": LeakTest(_TOLD)}
        part = everything.of_rows(used)
        # In the format that they are stored in, so that its rounding is known as such.
        acts = part.residual(np.asarray(self.acts[used], dtype=np.float64)).astype(self.acts.dtype)
        found: dict[str, LeakTest] = {}
        for name, kind in (("beyond", "linear"), *((("beyond nonlinear", "nonlinear"),) if self.probing.nonlinear else ())):
            chosen = self._some_rows(self._most_rows())[used] if kind == "nonlinear" and len(acts) > self._most_rows() else slice(None)
            inside = np.flatnonzero(used)[chosen]
            result = self._within(part.of_rows(chosen), acts[chosen], inside, name, kind)
            if result is None:
                found[name] = LeakTest(_CONSTANT_WITHIN, silent=True)
                continue
            test, raw, place = result
            found[name] = self._test(test, place, rows=len(inside), left_out=left_out, raw=raw)
        random = part.random_features(stream(self.probing.root, "random features"))
        if random is None or found["beyond"].silent:
            return found
        control = self._within(part, part.residual(random), np.flatnonzero(used), "beyond", "linear")
        leak = 0.0 if control is None else control[0].leak
        if leak >= self.probing.margins.leak:
            found = {name: replace(test, reason=_WEAK) for name, test in found.items()}
        return {**found, "beyond": replace(found["beyond"], control=leak)}

    def _within(self, strata: Strata, acts_nd: Floats, inside_n: Ints, name: str, kind: str) -> tuple[PlantedTest, float, Ints] | None:
        """Planted test within strata, the first-order gain, and the row that each influence belongs to."""
        rows, order = whiten_within(acts_nd, strata.codes_n)
        if rows.rank == 0:
            return None
        place = inside_n[order]
        dense = np.unique(strata.codes_n[order], return_inverse=True)[1].astype(np.int64)
        target = self._target(place, dense)
        statistic = ScoreStatistic(rows, kind, target.clusters_n)
        margin = self.probing.margins.nonlinear if kind == "nonlinear" else self.probing.margins.leak
        test = planted_test(statistic, target, margin, self._streams(name), permutations=PERMUTED_WITHIN)
        return test, first_order_gain(statistic, target, self.folds[place]), place


def _told_already(strata_n: Ints, codes_n: NDArray[Any], classes: int) -> tuple[Bools, Bools]:
    """Rows of strata that hold one class only (all is told already), and of those with too few rows of a second class to ask."""
    counts = np.zeros((int(strata_n.max()) + 1, classes), dtype=np.int64)
    inside = strata_n >= 0
    np.add.at(counts, (strata_n[inside], codes_n[inside].astype(np.int64)), 1)
    one, askable = (counts > 0).sum(axis=1) < 2, (counts >= FEWEST_ROWS).sum(axis=1) >= 2
    place = np.maximum(strata_n, 0)
    return np.asarray(inside & one[place]), np.asarray(inside & ~one[place] & ~askable[place])
