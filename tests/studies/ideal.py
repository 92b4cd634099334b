"""What an ideal test reaches: it knows the family of a leak (linear or quadratic), its strength and every nuisance, but not the direction.

In whitened coordinates its statistic is chi-squared over all coordinates, and a leak moves it by ``n`` times the share of the attribute's
variance that the true direction explains. With several classes it is asked in ``dimensions`` times ``K - 1`` coordinates; at the margin
the contrast of classes counts that is hardest to see, since a verdict of absence must hold for each of them. It is a limit to stand
beside, not a bound that nothing could pass: a test that gives rare classes more weight may do a little better.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from scipy import stats
from scipy.interpolate import PchipInterpolator
from scipy.linalg import eigh
from scipy.optimize import brentq
from scipy.special import expit

from proxyaudit.arrays import Floats, Ints
from proxyaudit.planted import World
from proxyaudit.planted.worlds import LINEAR_MARGIN, NONLINEAR_MARGIN

LEVEL = 0.01
_NODES = np.linspace(-8.5, 8.5, 1001)
_WEIGHTS = stats.norm.pdf(_NODES) / stats.norm.pdf(_NODES).sum()
_SLOPES = np.geomspace(1e-3, 60, 100)


@cache
def _curve(rate: float) -> PchipInterpolator:
    """Share of the variance of two classes that a normal direction explains, by the class-balanced leak along it."""
    leaks, shares = [0.0], [0.0]
    for slope in _SLOPES:
        intercept = brentq(lambda c, slope=slope: float(_WEIGHTS @ expit(c + slope * _NODES)) - rate, -1e3, 1e3)
        p = np.clip(expit(intercept + slope * _NODES), 1e-12, 1 - 1e-12)
        one, other = p / rate, (1 - p) / (1 - rate)
        bits = one * np.log2(one / (one + other)) + other * np.log2(other / (one + other))
        leaks.append(1 + float(0.5 * _WEIGHTS @ bits))
        shares.append(float((_WEIGHTS @ (_NODES * p)) ** 2 / (rate * (1 - rate))))
    return PchipInterpolator(leaks, shares, extrapolate=False)


def r_squared_of_two(leak: float, rate: float) -> float:
    """Share of the variance of two classes that the direction explains, at a class-balanced leak."""
    curve = _curve(rate)
    return float(curve(min(max(leak, 0.0), curve.x[-1])))


def contrast_ratio(rates_k: Floats, contrasts: Floats | None = None) -> float:
    """Variance of class means at the true rates over that at equal rates: of the contrast hardest to see, or of given class means.

    ``contrasts`` is ``(K, directions)``: means of the classes along each direction.
    """
    p = np.asarray(rates_k, dtype=np.float64)
    k = len(p)
    true, equal = np.diag(p) - np.outer(p, p), (np.eye(k) - 1 / k) / k
    if contrasts is not None:
        return float(np.trace(contrasts.T @ true @ contrasts) / np.trace(contrasts.T @ equal @ contrasts))
    basis = np.linalg.svd(np.ones((1, k)))[2][1:].T  # a shift of all classes is no contrast
    return float(eigh(basis.T @ true @ basis, basis.T @ equal @ basis, eigvals_only=True)[0])


def noncentrality(n: float, leak: float, rates_k: Floats | None, ratio: float | None = None) -> float:
    """How far a leak moves the statistic: of numbers (no rates) the leak is R squared; ``ratio`` as :func:`contrast_ratio` gives it."""
    if rates_k is None:
        return n * leak
    if len(rates_k) == 2:
        return n * r_squared_of_two(leak, float(rates_k[0]))
    # By small leaks: the information in nats is half the variance of the class means at equal rates.
    return n * (contrast_ratio(rates_k) if ratio is None else ratio) * 2 * leak * float(np.log(len(rates_k)))


def absent_power(n: float, dimensions: int, margin: float, rates_k: Floats | None, level: float = LEVEL) -> float:
    """How often nothing at all would be called absent at the margin; ``n`` is the effective number of rows."""
    degrees = dimensions * _contrasts(rates_k)
    return float(stats.chi2.cdf(stats.ncx2.ppf(level, degrees, noncentrality(n, margin, rates_k)), degrees))


def present_power(
    n: float, dimensions: int, leak: float, margin: float, rates_k: Floats | None, ratio: float | None = None, level: float = LEVEL
) -> float:
    """How often a leak would be called above the margin."""
    degrees = dimensions * _contrasts(rates_k)
    bar = stats.ncx2.ppf(1 - level, degrees, noncentrality(n, margin, rates_k, ratio))
    return float(stats.ncx2.sf(bar, degrees, noncentrality(n, leak, rates_k, ratio)))


def ideal_bound(n: float, dimensions: int, rates_k: Floats | None, level: float = LEVEL) -> float | None:
    """Smallest leak whose absence the median nothing would certify; ``None`` where not even .9 could be ruled out."""
    if absent_power(n, dimensions, 0.9, rates_k, level) < 0.5:
        return None
    return float(brentq(lambda m: absent_power(n, dimensions, m, rates_k, level) - 0.5, 1e-5, 0.9))


def _contrasts(rates_k: Floats | None) -> int:
    return 1 if rates_k is None else len(rates_k) - 1


def ideal_of(world: World) -> dict[str, Any]:
    """How often an ideal test would give a world's expected verdict, and the leaks whose absence it would certify of an absent one.

    ``ideal`` is the chance; ``bound_linear`` and ``bound_nonlinear`` are ``None`` where nothing could be ruled out.
    """
    d = int((world.acts_nd.std(axis=0) > 0).sum())
    q = d * (d + 1) // 2
    rates = None if world.labels_n.dtype.kind == "f" else np.unique(world.labels_n, return_counts=True)[1] / len(world.labels_n)
    n, n_products = effective_rows(world)
    if len(world.acts_nd) <= d + 1:  # every label is linear in so many units
        return {"ideal": 0.0, "bound_linear": None, "bound_nonlinear": None}
    absent = absent_power(n, d, LINEAR_MARGIN, rates)
    if world.channel == "none":
        reached = min(absent, absent_power(n_products, q, NONLINEAR_MARGIN, rates))
        bounds = {"bound_linear": ideal_bound(n, d, rates), "bound_nonlinear": ideal_bound(n_products, q, rates)}
        return {"ideal": reached, **bounds}
    if world.channel == "linear":
        reached = present_power(n, d, world.leak, LINEAR_MARGIN, rates, _planted_ratio(rates))
    elif world.channel == "nonlinear":
        reached = min(absent, present_power(n_products, q, world.leak, NONLINEAR_MARGIN, rates))
    else:  # asked within each of two labels
        reached = min(absent, present_power(n, 2 * d, world.leak, LINEAR_MARGIN, rates))
    return {"ideal": reached, "bound_linear": None, "bound_nonlinear": None}


def _planted_ratio(rates_k: Floats | None) -> float | None:
    """Of worlds of several classes: each class but the first is drawn along a direction of its own."""
    if rates_k is None or len(rates_k) == 2:
        return None
    return contrast_ratio(rates_k, np.eye(len(rates_k))[:, 1:])


def effective_rows(world: World) -> tuple[float, float]:
    """Rows that a linear and a quadratic statistic are worth, where rows belong together: all of them over the design effect.

    The variance of a sum over rows grows by what attribute and coordinates share within groups (Kish 1965).
    """
    n = len(world.acts_nd)
    if world.groups_n is None:
        return float(n), float(n)
    codes = np.unique(world.labels_n, return_inverse=True)[1].astype(np.float64)
    e = (codes - codes.mean()) / codes.std()
    x = world.acts_nd.astype(np.float64)
    x = x - x.mean(axis=0)
    values, vectors = np.linalg.eigh(x.T @ x / n)
    kept = values > 1e-10 * values[-1]
    z = x @ (vectors[:, kept] / np.sqrt(values[kept]))
    first, second = _pairs(world.groups_n)
    d, alike = z.shape[1], e[first] * e[second]
    together = np.einsum("nd,nd->n", z[first], z[second])
    own = (z**2).sum(axis=1)
    linear = 1 + 2 * float(alike @ together) / (n * d)
    quadratic = 1 + 2 * float(alike @ (together**2 - d)) / float((own**2 - d).sum())
    return n / max(linear, 1.0), n / max(quadratic, 1.0)


def _pairs(groups_n: Ints) -> tuple[Ints, Ints]:
    """Each pair of rows of one group, once."""
    order = np.argsort(groups_n, kind="stable")
    ordered, found = groups_n[order], []
    for lag in range(1, int(np.bincount(groups_n).max())):
        same = np.flatnonzero(ordered[lag:] == ordered[:-lag])
        found.append(np.stack([order[same], order[same + lag]]))
    joined = np.concatenate(found, axis=1)
    return joined[0], joined[1]
