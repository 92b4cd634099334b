"""How much of an attribute one number per row tells, read off plants at known leaks, and linear maps from activations to such numbers."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from proxyaudit.arrays import Floats, Ints
from proxyaudit.probes.score import flipped
from proxyaudit.stats.spike_in import Prior, plant_at_leak

_STRENGTHS = (1.0, 4.0, 16.0, 28.0, 45.0)  # between them the leak grows with the square of the correlation
_STRONGEST = 0.9
_CURVE_ROWS = 800
_SMALLEST_AXIS = 1e-12
_SHRINKAGES = (0.0, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_TAIL = 0.005
_FEWEST_MOVES = 0.01
_TINY = 1e-9


@dataclass(frozen=True)
class Curve:
    """Expected correlation with the attribute at each leak, along one score; ``at_margin`` is ``None`` where it cannot carry the margin."""

    leaks: Floats
    correlations: Floats
    margin: float
    at_margin: float | None

    def leak(self, r_m: Floats) -> Floats:
        """Leaks that go with correlations of 0 or more; beyond the strongest plant the curve is flat."""
        return np.asarray(np.interp(np.square(r_m), np.square(self.correlations), self.leaks))


def correlation_curve(score_n: Floats, rate: float | None, margin: float) -> Curve:
    """Plant labels with this share of the second class along a score at several leaks; with no rate the leak is the squared correlation."""
    wanted = [margin * times for times in _STRENGTHS if margin * times <= _STRONGEST]
    if rate is None:
        shares = np.array([0.0, *wanted, 1.0])
        return Curve(shares, np.sqrt(shares), margin, float(np.sqrt(margin)))
    spread = float(score_n.std())
    if spread <= _TINY or not 0 < rate < 1:
        return Curve(np.zeros(1), np.zeros(1), margin, None)
    z = (score_n - score_n.mean()) / spread
    if len(z) > _CURVE_ROWS:  # quantiles keep the score's distribution
        z = np.quantile(z, (np.arange(_CURVE_ROWS) + 0.5) / _CURVE_ROWS)
        z = (z - z.mean()) / z.std()
    prior = Prior.of_rates(np.array([1 - rate, rate]), len(z))
    leaks, correlations, at_margin = [0.0], [0.0], None
    for leak in wanted:
        plant = plant_at_leak(z, prior, leak)
        if plant is None:
            break
        r = float(np.mean((plant.probabilities_nk[:, 1] - rate) * z) / np.sqrt(rate * (1 - rate)))
        if r <= correlations[-1]:
            break
        leaks.append(leak)
        correlations.append(r)
        if leak == margin:
            at_margin = r
    return Curve(np.array(leaks), np.array(correlations), margin, at_margin)


@dataclass(frozen=True)
class Reading:
    """What scores tell of an attribute, one number for each correlation that was judged."""

    leak: Floats
    low: Floats  # 95 % interval of the leak
    high: Floats
    p_null: Floats  # how often nothing at all looks like this
    p_above: Floats  # how often a leak of the margin looks as high
    p_below: Floats  # how often it looks as low


def read_correlations(r_m: Floats, rows: float, curve: Curve, *, sides: int = 1, placebos: bool = False) -> Reading:
    """Judge correlations that were measured on so many independent rows, possibly a fraction (clusters, two samples).

    With two ``sides`` their signs do not count. With ``placebos`` all but the first belong to placebos, and noise is no less than theirs.
    """
    r = np.abs(r_m) if sides == 2 else np.asarray(r_m, dtype=np.float64)
    size = np.maximum(r, 0.0)
    noise = 1 / np.sqrt(max(rows, 1.0))
    if placebos and r.size > 1:
        noise = max(noise, float(np.sqrt(np.mean(np.square(r[1:])))))
    spread = noise * np.maximum(1 - size**2, 0.05)
    p_null = np.minimum(1.0, sides * stats.norm.sf(r / noise))
    if curve.at_margin is None:
        nothing, everything = np.zeros_like(r), np.ones_like(r)
        return Reading(nothing, nothing, everything, p_null, everything, everything)
    distance = (r - curve.at_margin) / spread
    low, high = curve.leak(np.maximum(size - 1.96 * spread, 0.0)), curve.leak(size + 1.96 * spread)
    return Reading(curve.leak(size), low, high, p_null, stats.norm.sf(distance), stats.norm.cdf(distance))


def correlation(values_n: Floats, score_n: Floats) -> float:
    """Pearson's correlation; 0 where either is constant."""
    a, z = values_n - values_n.mean(), score_n - score_n.mean()
    size = float(np.sqrt((a @ a) * (z @ z)))
    return float(a @ z) / size if size > _TINY else 0.0


def independent_rows(values_n: Floats, score_n: Floats, clusters_n: Ints) -> float:
    """Rows that the correlation rests on, fewer where rows of one cluster pull the same way (never more than there are)."""
    products = (values_n - values_n.mean()) * (score_n - score_n.mean())
    products = products - products.mean()
    sums = np.bincount(np.unique(clusters_n, return_inverse=True)[1], weights=products)
    total = float(sums @ sums)
    return len(products) * min(1.0, float(products @ products) / total) if total > 0 else float(len(products))


def permuted_columns(values_n: Floats, clusters_n: Ints, count: int, rng: np.random.Generator) -> Floats:
    """An attribute in ``count`` other orders; with the signs of whole clusters turned where rows belong together."""
    if len(np.unique(clusters_n)) == len(clusters_n):
        return np.stack([rng.permutation(values_n) for _ in range(count)], axis=1)
    return np.asarray((values_n - values_n.mean())[:, None] * flipped(clusters_n, len(values_n), count, rng))


def without_tails(scores: Floats) -> Floats:
    """Scores with their outermost half percent on either side drawn in: a few rows may not carry a correlation."""
    low, high = np.quantile(scores, (_TAIL, 1 - _TAIL), axis=0)
    return np.asarray(np.clip(scores, low, high))


def discriminants(acts_nd: Floats, values_nm: Floats) -> Floats:
    """Directions ``(d, m)`` along which columns of an attribute are read best by a linear reader (Fisher's)."""
    x, scale = _standardised(acts_nd)
    return np.asarray(_solve(x, values_nm - values_nm.mean(axis=0)) / scale[:, None])


def predict(fitted_nd: Floats, wanted_nm: Floats, acts_nd: Floats) -> Floats:
    """Predict columns on rows by a linear map that is fitted on others; no prediction leaves the range that was fitted."""
    x, scale = _standardised(fitted_nd)
    centre = wanted_nm.mean(axis=0)
    weights = _solve(x, wanted_nm - centre)
    # A unit that is quiet on the fitted rows may be loud on others, where nothing is known of what it means.
    within = np.clip(acts_nd, fitted_nd.min(axis=0), fitted_nd.max(axis=0))
    found = (within - fitted_nd.mean(axis=0)) / scale @ weights + centre
    return np.asarray(np.clip(found, wanted_nm.min(axis=0), wanted_nm.max(axis=0)))


def predict_apart(acts_nd: Floats, wanted_nm: Floats, folds_n: Ints) -> Floats:
    """Predict columns ``(n, m)`` linearly from activations, each row by a map that was not fitted on its fold."""
    predicted = np.empty(wanted_nm.shape)
    for fold in np.unique(folds_n):
        held = folds_n == fold
        predicted[held] = predict(acts_nd[~held], wanted_nm[~held], acts_nd[held])
    return predicted


def readout(acts_nd: Floats, score_nm: Floats) -> Floats:
    """Weights ``(d, m)`` of the activations that make up scores, by least squares."""
    centred = acts_nd - acts_nd.mean(axis=0)
    return np.asarray(np.linalg.lstsq(centred, score_nm - score_nm.mean(axis=0), rcond=1e-9)[0])


def explained(wanted_nm: Floats, predicted_nm: Floats) -> float:
    """Share of the columns' summed variance that predictions explain; below 0 where they do harm."""
    total = float(((wanted_nm - wanted_nm.mean(axis=0)) ** 2).sum())
    return 1 - float(((wanted_nm - predicted_nm) ** 2).sum()) / total if total > 0 else 0.0


def _standardised(acts_nd: Floats) -> tuple[Floats, Floats]:
    centred = acts_nd - acts_nd.mean(axis=0)
    scale = centred.std(axis=0)
    # A unit that moves on a row or two would be weighed by what those rows happen to be.
    moves = (acts_nd != np.median(acts_nd, axis=0)).mean(axis=0) >= _FEWEST_MOVES
    scale = np.where(moves & (scale > _TINY * max(float(np.abs(acts_nd).max(initial=0.0)), _TINY)), scale, np.inf)
    return centred / scale, scale


def _solve(x_nd: Floats, y_nm: Floats) -> Floats:
    """Least squares, each column with the shrinkage, zero among them, under which left-out rows are predicted best (Allen's PRESS)."""
    n = len(x_nd)
    values, vectors = np.linalg.eigh(x_nd.T @ x_nd / n)
    large = values > _SMALLEST_AXIS * max(float(values[-1]), _TINY)
    values, vectors = values[large], vectors[:, large]
    z = x_nd @ vectors
    inner, squares = z.T @ y_nm / n, z**2
    best, weights = np.full(y_nm.shape[1], np.inf), np.zeros((len(values), y_nm.shape[1]))
    for shrinkage in _SHRINKAGES:
        found = inner / (values + shrinkage)[:, None]
        left = np.maximum(1 - squares @ (1 / (values + shrinkage)) / n - 1 / n, 1e-6)
        press = (((y_nm - z @ found) / left[:, None]) ** 2).sum(axis=0)
        better = press < best
        best[better], weights[:, better] = press[better], found[:, better]
    return np.asarray(vectors @ weights)
