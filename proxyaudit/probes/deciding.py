"""Presence and absence of one attribute at one site: the observed score statistic among planted ones.

*Absent* where nearly every plant at the margin scores higher, in every family; *present* where nearly none does, and
a permutation of the labels does not reach it either. What lies between is *unknown*, with the rows that would settle it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from proxyaudit.arrays import Floats, Ints, Singles
from proxyaudit.probes.planting import Planter, Streams, Target
from proxyaudit.probes.results import PlantedTest
from proxyaudit.probes.score import ScoreStatistic, indicator_columns
from proxyaudit.stats.directions import standardised
from proxyaudit.stats.spike_in import Plant, Prior, plant_at_leak
from proxyaudit.stats.standard_curve import StandardCurve, fit_curve, tail_counts

PLANTS = 199
PERMUTATIONS = 999
_QUADRATIC_PERMUTATIONS = 399  # each costs as much as rows have pairs
_LESS = 0.8  # of what an even plant moves the score by; nearer to one the difference is noise
_MOST = {"linear": 32.0, "nonlinear": 4.0}  # a class of 2 % that alone switches a unit on moves the linear score 16 times as much
_HALVINGS = 7
_LEAST = 1e-3
_WAYS = 4


def planted_test(
    statistic: ScoreStatistic, target: Target, margin: float, streams: Streams, *, plants: int = PLANTS, permutations: int = PERMUTATIONS
) -> PlantedTest:
    """Compare an attribute's score statistic with planted ones, so many in each family, and with permuted labels.

    ``streams`` gives a generator for each purpose: equal purposes give equal draws, so that sites and models are paired.
    """
    rows = statistic.rows
    if statistic.channel == "nonlinear":
        permutations = min(permutations, _QUADRATIC_PERMUTATIONS)
    prepared = [statistic.prepare(columns) for columns in indicator_columns(target.labels_n[:, None], target.classes)]
    if rows.rank == 0 or not any(e.any() for e in prepared):
        return _nothing_there(rows.n, permutations, "the site, or the attribute, is constant")
    if all(block.rank >= block.rows.stop - block.rows.start - 1 for block in rows.blocks):
        # What differs between labellings then is rounding noise.
        return _nothing_there(rows.n, permutations, "as many dimensions as rows: every labelling fits them equally well")
    scored = [statistic.of_prepared(e) for e in prepared]
    score = float(target.weights @ [s.scores_m[0] for s in scored])
    planter = Planter(statistic, target, streams)
    null = planter.null(permutations)
    null_high = float(np.quantile(null, 0.95))
    at_margin = planter.at_margin(margin, plants)
    if not any(name.startswith("isotropic") for name in at_margin):
        return _nothing_there(rows.n, permutations, "no direction can carry a leak of the margin on these rows")
    families = {name: tail_counts(score, planted) for name, planted in at_margin.items()}
    leaks, scores = planter.series(margin, null)
    curve = fit_curve(leaks, scores)
    leak, low, high, ratio, weakest = _read_off(statistic, target, curve, score, prepared, list(at_margin.values()), streams("halves"))
    limit, needed = curve.detection_limit(null_high), curve.rows_needed(rows.n, margin)
    twice = scores[leaks.index(2 * margin)] if 2 * margin in leaks else scores[-1]
    shares = np.asarray(target.weights @ np.stack([s.shares_n for s in scored]))
    return PlantedTest(
        score=score,
        p_present=max(p for p, _ in families.values()),
        p_absent=max(p for _, p in families.values()),
        families=families,
        null=null,
        leak=leak,
        low=low,
        high=high,
        influence_n=_influence(shares, curve, leak, target.clusters_n) / ratio,
        detection_limit=None if limit is None or limit > weakest else limit / weakest,
        null_high=max(curve.calibrate(null_high)[0], 0.0),
        found_once=min(float((p > null_high).mean()) for p in at_margin.values()),
        found_twice=float((twice > null_high).mean()),
        rows_needed=None if needed is None else int(np.ceil(needed / weakest)),
        curve=curve,
    )


def _read_off(
    statistic: ScoreStatistic,
    target: Target,
    curve: StandardCurve,
    score: float,
    prepared: Sequence[Singles],
    at_margin: Sequence[Floats],
    rng: np.random.Generator,
) -> tuple[float, float, float, float, float]:
    """Leak and interval of a score, corrected for directions that move it by more or less than an even one.

    Also the signal along the attribute's own direction over that of an even plant, and how much less the weakest family moves the score.
    """
    quadratic_score = statistic.channel == "nonlinear"
    ratio, weakest, strongest = 1.0, 1.0, 1.0
    apart = _families_apart(at_margin, float(curve.means[0]))
    if quadratic_score or target.classes > 2:
        weakest, strongest = apart
    if target.classes or quadratic_score:  # R squared and the linear statistic are one and the same
        own = own_directions(statistic, prepared, target.clusters_n, rng)
        ratio = score_ratio(statistic, own, target.prior, target.weights, curve, score)
        if quadratic_score:
            # Below one it is mostly noise in the direction, here; what reads too high is corrected.
            ratio = max(1.0, ratio)
        elif ratio < _LESS:
            # The direction is known up to noise, which is even: what reads too low may be lower still.
            weakest = min(weakest, apart[0] / ratio)
    even_low = curve.calibrate(score)[1]
    leak, low, high = curve.calibrate(curve.means[0] + (score - curve.means[0]) / ratio)
    low = min(low, even_low / strongest if strongest > 1 or ratio < 1 else low)
    return leak, low, min(1.0, high / weakest), ratio, weakest


def _families_apart(at_margin: Sequence[Floats], null_mean: float) -> tuple[float, float]:
    """How much less, and how much more, a family of the same leak moves the score than the first one, the curve's own."""
    signals = [float(planted.mean()) - null_mean for planted in at_margin]
    ratios = [signal / signals[0] for signal in signals if signals[0] > 0] or [1.0]
    return max(min(1.0, *ratios), 0.1), max(1.0, *ratios)


def _nothing_there(n: int, permutations: int, reason: str) -> PlantedTest:
    return PlantedTest(reason, null=np.zeros(permutations), influence_n=np.zeros(n))


def _influence(shares_n: Floats, curve: StandardCurve, leak: float, clusters_n: Ints | None) -> Floats:
    """Row influences on the calibrated leak: their shape from the score, their whole variance from the curve."""
    shares = shares_n - shares_n.mean()
    sums = shares if clusters_n is None else np.bincount(np.unique(clusters_n, return_inverse=True)[1], weights=shares)
    spread = float(np.sqrt(sums @ sums))
    return np.asarray(shares * (curve.sd_of_leak(leak) / spread)) if spread > 0 else np.zeros(len(shares))


# How far along the attribute's own direction a leak moves the score ---------------------------------------------------
# A leak moves the score by more or less along a heavy-tailed or a rare unit than along even directions, so the attribute's own direction
# is planted too; what that moves the score by, over what an even plant of the same leak does, corrects the reading.


def own_directions(statistic: ScoreStatistic, prepared: Sequence[Singles], clusters_n: Ints | None, rng: np.random.Generator) -> Singles:
    """Standardised score of each row along the first-order reader of the attribute itself, ``(n, columns)``; zero where nothing varies.

    In the linear statistic a row's own label has part in its score. In a quadratic form rows of great length would outweigh all others;
    there each row is read by forms of halves (whole clusters) that it is not in, the mean over several ways to halve.
    """
    if statistic.channel == "linear":
        return standardised(statistic.rows, statistic.directions(np.concatenate(list(prepared), axis=1)).astype(np.float32))
    n = len(prepared[0])
    ids = np.arange(n) if clusters_n is None else np.unique(clusters_n, return_inverse=True)[1]
    halves = np.stack([rng.permutation(np.arange(int(ids.max()) + 1) % 2)[ids] for _ in range(_WAYS)], axis=1)
    columns = []
    for e in prepared:
        images = statistic.directions(np.concatenate([e * (halves == 1), e * (halves == 0)], axis=1))
        columns.append(np.where(halves == 0, images[:, :_WAYS], images[:, _WAYS:]).mean(axis=1))
    return standardised(statistic.rows, statistic.rows.residual(np.stack(columns, axis=1).astype(np.float32)))


def score_ratio(
    statistic: ScoreStatistic, directions_nk: Singles, prior: Prior | None, weights_k: Floats, curve: StandardCurve, score: float
) -> float:
    """Signal of a plant along the attribute's own direction over that of an even plant of the same leak.

    The ratio is taken at the leak with which a plant along its own direction would move the score as much. It is at most 32 (4 for the
    quadratic score) in either direction, 1 where nothing moved. The weaker the trace, the nearer it is to one.
    """
    moved = score - float(curve.means[0])
    if moved <= 0:
        return 1.0
    low, high = float(np.log(_LEAST)), float(np.log(curve.leaks[-1]))
    below: float | None = None
    above: float | None = None
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        own = _signal(statistic, directions_nk, prior, weights_k, float(np.exp(middle)))
        # A direction of few values may not carry so much: then it is less.
        if own is None or own > moved:
            high, above = middle, own
        else:
            low, below = middle, own
    found = (low + high) / 2
    if below is not None and above is not None and 0 < below < above:
        found = low + (high - low) * float(np.log(moved / below) / np.log(above / below))
    even = float(np.interp(np.exp(found), curve.leaks, curve.means)) - float(curve.means[0])
    most = _MOST[statistic.channel]
    return float(np.clip(moved / even, 1 / most, most)) if even > 0 else 1.0


def _signal(statistic: ScoreStatistic, directions_nk: Singles, prior: Prior | None, weights_k: Floats, leak: float) -> float | None:
    if prior is None:
        return float(weights_k[0] * statistic.of_prepared(directions_nk[:, :1] * np.float32(np.sqrt(leak))).scores_m[0])
    plant = plant_at_leak(directions_nk[:, 0] if prior.classes == 2 else directions_nk, prior, leak)
    if plant is None:
        return None
    classes = [1] if prior.classes == 2 else list(range(prior.classes))
    return float(sum(weight * _moved(statistic, plant, prior, k) for weight, k in zip(weights_k, classes, strict=True)))


def _moved(statistic: ScoreStatistic, plant: Plant, prior: Prior, k: int) -> float:
    known = np.exp(prior.log_nk[:, k])
    excess = ((plant.probabilities_nk[:, k] - known) / np.sqrt(float((known * (1 - known)).mean()))).astype(np.float32)[:, None]
    if statistic.channel == "nonlinear":
        excess = statistic.rows.residual(excess)
    return float(statistic.of_prepared(excess).scores_m[0])
