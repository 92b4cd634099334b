"""One confidence statement about an attribute at a site: a test of each leak along any direction, inverted.

The observed score is compared with its law under labels planted at each leak along some hundred directions of all families. A leak is
excluded from above where even the least favourable of them would have shown more, from below where even the most favourable would have
shown less. Directions are screened by their moments; the few that matter are simulated (sequentially: Besag & Clifford 1991).
State, interval, bound and detection limit are all read off these, so that none contradicts another.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from proxyaudit.arrays import Floats, Ints, Singles
from proxyaudit.probes.asked_directions import Directions, asked_directions
from proxyaudit.probes.planting import Planter, Plants, Streams, Target
from proxyaudit.probes.results import PlantedTest
from proxyaudit.probes.ruled_out import LEANINGS, leaning, ruled_out_at
from proxyaudit.probes.score import ScoreStatistic, indicator_columns
from proxyaudit.stats.score_law import BARS, Reading, Readings, ScoreLaw, largest_excluded, leaks_between, rows_needed, smallest_excluded

DRAWS = 1000
PERMUTATIONS = 999
BOUND_LEVEL = 0.01
_TAIL = 0.025  # of the interval, on either side
_FOUND_IN = 0.95  # share of plants that a detection limit speaks of
_QUADRATIC_PERMUTATIONS = 249  # each may cost as much as rows have pairs; a reading needs the mean and spread of the null alone
_KEPT = (4, 2, 1, 1)  # directions that are read in full, beside an even one and the attribute's own, at each bar
_STRENGTHS = 10
_ALIKE = 1.4  # leaks that are nearer to each other are screened once
_EASY_LEVEL = 0.05
_STRONGEST = 0.98
_UPPER = (0.6, 0.7, 0.8, 0.9)  # a direction of few values ends somewhere there
_NEAR = (0.001, 0.1)  # p-values at the margin between which it is there that is simulated
_WORTH_DRAWING = 0.1  # of the p-value of the direction that decides
_ENOUGH = 25  # draws as extreme as the score, after which a p-value is known well enough
_FIRST_DRAWS = 125
_CARRIED, _TOLD = 3, 4  # places in what is known of a plant
_RISING = (0.2, 0.45, 0.65, 0.85, 1.0)  # leaks up to these are asked together, the weaker ones first
_LEANT_ON = 4  # directions that are ruled out, on either side, in whose place others are asked


def planted_test(
    statistic: ScoreStatistic, target: Target, margin: float, streams: Streams, *, draws: int = DRAWS, permutations: int = PERMUTATIONS
) -> PlantedTest:
    """Invert the score test of one attribute at one site; equal purposes of ``streams`` pair sites and models."""
    if statistic.channel == "nonlinear":
        permutations = min(permutations, _QUADRATIC_PERMUTATIONS)
    found = _posed(statistic, target, margin, streams, draws, permutations)
    if isinstance(found, str):
        return PlantedTest(found, null=np.zeros(permutations), influence_n=np.zeros(statistic.rows.n))
    inversion, shares = found
    inversion.lean()
    return inversion.result(shares)


def read_leak(statistic: ScoreStatistic, target: Target, margin: float, streams: Streams) -> tuple[float, Floats] | None:
    """The calibrated leak of :func:`planted_test` and its influences ``(n,)``, without state, interval or bound: at a tenth of the cost.

    ``None`` where it cannot be asked.
    """
    found = _posed(statistic, target, margin, streams, 0, _QUADRATIC_PERMUTATIONS, many=False)
    if isinstance(found, str):
        return None
    inversion, shares = found
    reading = inversion.own_reading()
    leak = float(np.clip(reading.leak_of(inversion.score), 0.0, 1.0))
    return leak, _influence(shares, reading, leak, target.clusters_n)


def _posed(
    statistic: ScoreStatistic, target: Target, margin: float, streams: Streams, draws: int, permutations: int, *, many: bool = True
) -> "tuple[Inversion, Floats] | str":
    """The inversion of a test with the shares ``(n,)`` of rows in its score, or why nothing can be asked."""
    rows = statistic.rows
    prepared = [statistic.prepare(columns) for columns in indicator_columns(target.labels_n[:, None], target.classes)]
    if rows.rank == 0 or not any(e.any() for e in prepared):
        return "the site, or the attribute, is constant"
    if all(block.rank >= block.rows.stop - block.rows.start - 1 for block in rows.blocks):
        # What differs between labellings then is rounding noise.
        return "as many dimensions as rows: every labelling fits them equally well"
    scored = [statistic.of_prepared(e) for e in prepared]
    score = float(target.weights @ [s.scores_m[0] for s in scored])
    inversion = Inversion(Planter(statistic, target, permutations, streams), prepared, score, margin, streams, draws, many=many)
    if not inversion.asked:
        return "no direction can carry a leak of the margin on these rows"
    return inversion, np.asarray(target.weights @ np.stack([s.shares_n for s in scored]))


_Solved = tuple[ScoreLaw, NDArray[np.bool_], Floats, Floats]


class _Known:
    """What plants were found to be like, by direction and leak, so that none is solved twice.

    ``lost`` holds the least leak that each linear direction was found not to carry, with what it does carry: more is answered alike.
    """

    def __init__(self, solve: Callable[[Ints, Floats], _Solved], *, linear: bool) -> None:
        self.solve, self.linear = solve, linear
        self.found: dict[tuple[int, float], tuple[float, ...]] = {}
        self.lost: dict[int, tuple[float, tuple[float, ...]]] = {}

    def of(self, which: Ints, leaks: Floats) -> _Solved:
        """Laws at pairs of a direction and a leak, whether it is carried, how much of it is, and how surely labels rule it out."""
        keys = list(zip(which.tolist(), leaks.tolist(), strict=True))
        # Weak ones first: what is not carried costs most, and need not be asked again of stronger ones. Of products nothing is spared.
        for low, high in pairwise((0.0, *_RISING) if self.linear else (0.0, np.inf)):
            self._solve([key for key in dict.fromkeys(keys) if low < key[1] <= high and key not in self.found])
        mean, sd, skew, carried, told, sure = np.array([self.found[key] for key in keys]).T
        return ScoreLaw(mean, sd, skew), carried > 0, told, sure

    def _solve(self, keys: list[tuple[int, float]]) -> None:
        beyond = {key for key in keys if key[0] in self.lost and key[1] >= self.lost[key[0]][0]}
        self.found |= {key: self.lost[key[0]][1] for key in beyond}
        missing = [key for key in keys if key not in beyond]
        if not missing:
            return
        law, carried, told, sure = self.solve(np.array([key[0] for key in missing]), np.array([key[1] for key in missing]))
        rows = np.column_stack([law.mean, law.sd, law.skew, carried, told, sure]).tolist()
        for key, row in zip(missing, map(tuple, rows), strict=True):
            self.found[key] = row
            # Of a product it may be the part that is not linear which falls short, and does not where labels follow it more.
            if self.linear and not row[_CARRIED] and row[_TOLD] > 0 and key[1] < self.lost.get(key[0], (np.inf,))[0]:
                self.lost[key[0]] = key[1], row


class Inversion:
    """The tests of all leaks along all directions that one observed score is compared with."""

    def __init__(
        self, planter: Planter, prepared: list[Singles], score: float, margin: float, streams: Streams, draws: int, *, many: bool = True
    ) -> None:
        self.planter, self.score, self.margin, self.streams, self.draws = planter, score, margin, streams, draws
        # A score below what no leak gives is no better evidence than that.
        self.floored = max(score, float(np.quantile(planter.null, 1 - _FOUND_IN)))
        self.observed = prepared
        self.directions = asked_directions(planter, prepared, streams, many=many)
        self.reading: Reading | None = None
        self.along = planter.planting(self.directions.scores)
        self.known = _Known(self._solved, linear=planter.channel == "linear")
        self.asked = bool(self.directions.names)
        if not self.asked:
            return  # a site of one two-valued unit has nothing beyond what is linear
        self.own = len(self.directions.names) - 1
        self.at = leaks_between(margin, 2 * margin)
        self.screened: dict[float, tuple[ScoreLaw, Floats]] = {}
        self.even = self._readings(np.array([0]), margin)
        self.reading = Reading.of(self.even)
        self.asked = bool(np.isfinite(self.even.laws.mean[0, self.even.leaks >= margin]).any())

    def lean(self) -> None:
        """Ask directions beside those that would decide at the margin, did labels not rule them out."""
        law, sure = self._laws_of_all(self.margin)
        leant_on: list[int] = []
        for side in (-1, 1):
            wrong = self._spared(sure, self.margin, side) > BARS[0]
            depth = np.nan_to_num(-side * law.depth(self._score(side)), nan=-np.inf)
            better = np.flatnonzero(wrong & (depth > depth[~wrong].max(initial=-np.inf)))
            _, single = np.unique(depth[better].round(4), return_index=True)
            better = better[single]
            leant_on += better[np.argsort(-depth[better], kind="stable")][:_LEANT_ON].tolist()
        if leant_on:
            which = np.unique(leant_on)
            more = leaning(self.planter.statistic, self.observed, self.planter.target, self.directions[which])
            names = (*self.directions.names, *(self.directions.names[index] for index in which for _ in LEANINGS))
            self.directions = Directions(np.concatenate([self.directions.scores, more], axis=-1), names)
            self.along = self.planter.planting(self.directions.scores, self.along)
            self.screened.clear()

    def _laws_of_all(self, leak: float) -> tuple[ScoreLaw, Floats]:
        """Laws along all directions at a leak, or at one that is much the same; at the margin, which most hangs on, at no other."""
        known = min(self.screened, key=lambda other: abs(np.log(other / leak)), default=0.0)
        if known != leak and (leak == self.margin or not 1 / _ALIKE < known / leak < _ALIKE):
            every = np.arange(len(self.directions.names))
            self.screened[leak] = self._law_at(every, np.full(len(every), leak))
            known = leak
        return self.screened[known]

    def _readings(self, which: Ints, *near: float, side: int = 0) -> Readings:
        """Laws along some directions at leaks from zero to nearly all there is."""
        low = min((self.margin, *near)) / 8
        near = tuple(x for x in near if 1e-4 < x < _STRONGEST)
        leaks = np.unique([*np.geomspace(max(low, 1e-4), _STRONGEST, _STRENGTHS), *_UPPER, self.margin, *near])
        law, sure = self._law_at(np.repeat(which, len(leaks)), np.tile(leaks, len(which)))
        null, shape = self.planter.law, (len(which), len(leaks))
        parts = [
            np.column_stack([np.full(len(which), float(zero)), getattr(law, name).reshape(shape)]) for name, zero in vars(null).items()
        ]
        sure = self._spared(sure.reshape(shape), leaks, side)
        return Readings(np.concatenate([[0.0], leaks]), ScoreLaw(*parts), np.zeros(len(which)), sure)

    def _law_at(self, which: Ints, leaks: Floats) -> tuple[ScoreLaw, Floats]:
        """Laws along directions, and how surely labels rule each of them out.

        What a direction cannot carry of a leak is carried by an even one beside it; NaN where not even that can.
        """
        law, carried, found, sure = self.known.of(which, leaks)
        if self.reading is None or carried.all():
            return replace(law, mean=np.where(carried, law.mean, np.nan)), sure
        even, lost = self.reading, ~carried

        def more(of: Floats) -> Floats:
            reached = np.interp(found, even.leaks, of)
            return np.where(lost, np.interp(leaks, even.leaks, of, right=np.nan) - reached, 0.0)

        return ScoreLaw(law.mean + more(even.means), np.sqrt(law.sd**2 + np.maximum(more(even.sds**2), 0.0)), law.skew), sure

    def _solved(self, which: Ints, leaks: Floats) -> _Solved:
        """Laws of plants, whether they carry their leak, what they do carry, and how surely labels rule them out."""
        plants = self._planted(which, leaks)
        law, match = self.planter.law_of(plants, self.observed, self.score)
        names = np.array(self.directions.names)[which]
        return law, plants.carried, plants.leaks_p, ruled_out_at(match, self.planter.law, names)

    def _planted(self, which: Ints, leaks: Floats) -> Plants:
        """Plants along directions, of whose curves what was found before is kept."""
        return self.planter.plant(self.along, which, leaks, np.array(self.directions.names)[which] == "isotropic")

    def _screen(self, leak: float, side: int, score: float | None = None, bars: int = len(BARS)) -> list[int]:
        """The directions along which a leak would most probably have given as small (-1), or as large (1), a score."""
        law, sure = self._laws_of_all(leak)
        sure = self._spared(sure, leak, side)
        depth = -side * law.depth(self._score(side) if score is None else score)
        best: list[int] = []
        for bar, kept in zip(BARS[:bars], _KEPT, strict=False):
            left = np.flatnonzero(np.isfinite(depth) & (sure <= bar))
            best += left[np.argsort(-depth[left], kind="stable")][:kept].tolist()
        return best

    def tail(self, side: int) -> tuple[Readings, tuple[str, ...]]:
        """Readings of the directions that decide on one side, corrected by simulation where it matters, and their families."""
        level = BOUND_LEVEL if side < 0 else _TAIL
        first = self._edge(self.even, side, level)
        chosen = [0, self.own, *self._screen(first, side)]
        if not self.margin / _ALIKE < first < _ALIKE * self.margin:
            chosen += list(self._screen(self.margin, side))
        readings = self._readings(np.unique(chosen), first, side=side)
        edge = self._edge(readings, side, level)
        if not first / _ALIKE < edge < _ALIKE * first:
            chosen += list(self._screen(edge, side))
            readings = self._readings(np.unique(chosen), edge, side=side)
        which = np.unique(chosen)
        p = readings.p_small(self.floored, self.at) if side < 0 else readings.p_large(self.score, self.at)
        at_margin = float(p[np.searchsorted(self.at, self.margin)])
        if _NEAR[0] < at_margin < _NEAR[1]:
            place, draws = self.margin, self.draws
        else:
            # Where nothing hangs on it, a place that is easily hit will do: what laws are off by is much the same there.
            place, draws = self._edge(readings, side, _EASY_LEVEL), self.draws // (4 if self.planter.statistic.is_quick else 10)
        if 0 < place < _STRONGEST:
            readings = replace(readings, shift=self._simulated(readings, which, place, side, draws))
        return readings, tuple(self.directions.names[i] for i in which)

    def _score(self, side: int) -> float:
        return self.floored if side < 0 else self.score

    def _spared(self, sure: Floats, leaks: Floats | float, side: int) -> Floats:
        """How surely directions are ruled out where a decision may hang on it.

        Products of mixtures, and directions within strata, are so many that none may be listed near the one that labels follow: absence
        of them leaves nothing out.
        """
        many = self.planter.channel == "nonlinear" or len(self.planter.rows.blocks) > 1
        near = many and side < 0 and np.asarray(leaks) <= 2 * self.margin
        return np.where(np.broadcast_to(near, sure.shape) | (side == 0), -np.inf, sure)

    def _edge(self, readings: Readings, side: int, level: float) -> float:
        if side < 0:
            return float(
                np.clip(smallest_excluded(self.at, readings.p_small(self.floored, self.at), level), 1e-3 * self.margin, _STRONGEST)
            )
        return float(np.clip(largest_excluded(self.at, readings.p_large(self.score, self.at), level), 1e-3 * self.margin, _STRONGEST))

    def _simulated(self, readings: Readings, which: Ints, leak: float, side: int, draws: int) -> Floats:
        """How far simulated probabilities of a score as small are from the laws', in normal quantiles."""
        score = self._score(side)
        depth = readings.depths(score, np.array([leak]))[:, 0]
        p = np.where(leak < readings.until(BARS[0]), np.nan_to_num(stats.norm.cdf(-side * depth)), 0.0)
        asked = np.flatnonzero((p > 0) & (p >= _WORTH_DRAWING * p.max()))
        if not len(asked):
            return np.zeros(len(which))  # no direction carries so much
        plants = self._planted(which[asked], np.full(len(asked), leak))
        rng = self.streams("draws" if side < 0 else "draws from above")
        hits, drawn = np.zeros(len(asked)), np.zeros(len(asked))
        going, batch = np.flatnonzero(plants.carried), _FIRST_DRAWS
        while len(going) and drawn.max() < draws:
            scores = self.planter.draw(plants, going, min(batch, draws - int(drawn.max())), rng)
            hits[going] += (scores >= score if side > 0 else scores <= score).sum(axis=1)
            drawn[going] += scores.shape[1]
            going = going[hits[going] < _ENOUGH]
            batch *= 2
        done = drawn > 0
        shift = np.zeros(len(which))
        if done.any():
            share = (hits[done] + 0.5) / (drawn[done] + 1)
            simulated = stats.norm.ppf(share)
            error = np.sqrt(share * (1 - share) / drawn[done]) / stats.norm.pdf(simulated)
            # The same law was off by about the same for all: those that were not simulated have what these have in common.
            common, single = _shrunken(-side * simulated - depth[asked[done]], error)
            shift[:] = common
            shift[asked[done]] = single
        return shift

    def result(self, shares_n: Floats) -> PlantedTest:
        """Everything that is said of the attribute."""
        at, margin, null = self.at, self.margin, self.planter.null
        null_high = float(np.quantile(null, 0.95))
        small, names = self.tail(-1)
        p_small = small.p_small(self.floored, at)
        p_large, low = self._from_below()
        bound = smallest_excluded(at, p_small, BOUND_LEVEL)
        high = smallest_excluded(at, p_small, _TAIL)
        design = self._readings(np.unique([0, *self._screen(margin, -1, null_high, bars=1)]))
        missed = design.p_small(null_high, at)
        once, twice = (1 - float(missed[np.searchsorted(at, times * margin)]) for times in (1, 2))
        limit = None if missed[-1] > 1 - _FOUND_IN else smallest_excluded(at, missed, 1 - _FOUND_IN)
        own = self.own_reading()
        low = min(low, high)  # where nearly all is told, no leak may be left that agrees with both
        value = float(np.clip(own.leak_of(self.score), low, high))
        reading = Reading.of(self.even)
        return PlantedTest(
            score=self.score,
            p_present=float(p_large[at <= margin].max()),
            p_absent=float(p_small[at >= margin].max()),
            families=self._families(small, names),
            leak=value,
            low=low,
            high=high,
            bound=bound,
            detection_limit=limit,
            null_high=max(reading.leak_of(null_high), 0.0),
            found_once=once,
            found_twice=twice,
            rows_needed=rows_needed(design, self.planter.rows.n, margin),
            influence_n=_influence(shares_n, own, value, self.planter.target.clusters_n),
            null=null,
            reading=reading,
        )

    def own_reading(self) -> Reading:
        """The law of the score along the direction that labels follow themselves."""
        return Reading.of(self._readings(np.array([self.own])))

    def _families(self, small: Readings, names: tuple[str, ...]) -> dict[str, float]:
        p = stats.norm.cdf(small.depths(self.floored, np.array([self.margin]))[:, 0])
        left = [(str(n), float(one)) for n, one, until in zip(names, p, small.until(BARS[0]), strict=True) if self.margin < until]
        return {name: max(one for of, one in left if of == name) for name, one in left if np.isfinite(one)}

    def _from_below(self) -> tuple[Floats, float]:
        """p-values of "as large" at each leak, and the lower end of the interval."""
        by_chance = float(stats.norm.cdf(-self.planter.law.depth(self.score)))
        if by_chance > _TAIL:
            # Permuted labels score as high: no leak is excluded from below.
            return np.ones(len(self.at)), 0.0
        p = self.tail(1)[0].p_large(self.score, self.at)
        p[0] = by_chance
        return p, largest_excluded(self.at, p, _TAIL)


def _shrunken(off: Floats, error: Floats) -> tuple[float, Floats]:
    """What numbers with errors have in common, and each of them drawn towards it as far as their scatter is no more than errors'."""
    common = float(np.average(off, weights=1 / error**2))
    scatter = max(0.0, float(((off - common) ** 2 - error**2).sum()) / max(len(off) - 1, 1))
    return common, common + (off - common) * scatter / (scatter + error**2)


def _influence(shares_n: Floats, reading: Reading, leak: float, clusters_n: Ints | None) -> Floats:
    """Row influences on the calibrated leak: their shape from the score, their whole variance from its law."""
    shares = shares_n - shares_n.mean()
    sums = shares if clusters_n is None else np.bincount(np.unique(clusters_n, return_inverse=True)[1], weights=shares)
    spread = float(np.sqrt(sums @ sums))
    return np.asarray(shares * (reading.sd_of_leak(leak) / spread)) if spread > 0 else np.zeros(len(shares))
