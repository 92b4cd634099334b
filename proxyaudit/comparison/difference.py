"""The difference of two published numbers, from what their packs keep: values in each repetition and what rows contribute.

On the same rows the row variance of the difference is estimated from the signed sums that both packs keep (the same signs in every run);
else the variances of both numbers add up. Models that were trained here stand for a way of training, so how much repetitions differ is
noise, on both sides (Welch 1947, Satterthwaite 1946); of models that were given (checkpoints, activations) only rows vary.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Floats
from proxyaudit.comparison.outcomes import Models
from proxyaudit.estimates.questions import deciding_names
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.stats.intervals import distinct_seeds
from proxyaudit.stats.laws import normal_quantile, t_quantile, t_tail
from proxyaudit.types import Estimate

Part = tuple[float, float]
"""A variance and its degrees of freedom."""

LEVEL = 0.95
_KNOWN = 1e9


@dataclass(frozen=True)
class Number:
    """A published number with the parts of its variance."""

    value: float
    repetitions: Floats  # its value in each
    rows: Part
    extra: Part = (0.0, _KNOWN)  # what neither rows nor repetitions carry
    sums: Floats | None = None  # signed sums of the row influences, where the pack keeps them
    between: Part | None = None  # what repetitions bring to the mean, where tables were crossed with models

    @property
    def seeds(self) -> Floats:
        """Distinct values: two equal repetitions are one."""
        return distinct_seeds(self.repetitions)

    @property
    def spread(self) -> Part | None:
        """What repetitions bring to the variance of the mean; ``None`` where fewer than two differ."""
        if self.between is not None or len(self.seeds) < 2:
            return self.between
        return float(self.seeds.var(ddof=1)) / len(self.seeds), float(len(self.seeds) - 1)


@dataclass(frozen=True)
class Difference:
    """B minus A, with its interval."""

    value: float
    low: float
    high: float
    p: float | None  # two-sided, of no difference; None where training noise is unknown, so that no change may be claimed
    paired: bool  # on the same rows
    agrees: bool  # whether every repetition shows it, where the models are given


def numbers_in(pack: EvidencePack, also: Collection[str] = ()) -> dict[str, Number]:
    """Every deciding number of a pack that has an interval, and those of the channels that are named ``also``, by estimate id."""
    # The first packs held the sums themselves.
    kept, names = _kept({**pack.arrays, **pack.row_sums}), deciding_names()
    deciding = [e for e in pack.evidence.estimates if (e.channel in names and e.state is not None) or e.channel in also]
    return {e.id: number for e in deciding if (number := _number(e, kept.get(e.id))) is not None}


def _kept(arrays: Mapping[str, NDArray[np.float64]]) -> dict[str, tuple[Floats, Floats, Floats]]:
    ids, sums, spread = (arrays.get(f"row_parts.{name}") for name in ("ids", "sums", "spread"))
    if ids is None or sums is None or spread is None or any(array.dtype.kind not in "fi" for array in (ids, sums, spread)):
        return {}
    if sums.ndim != 2 or ids.shape != (len(sums),) or spread.shape != (len(sums), 4):
        return {}
    usable = np.isfinite(sums).all(axis=1) & np.isfinite(spread).all(axis=1) & (spread >= 0).all(axis=1)
    between = arrays.get("row_parts.between", np.zeros((len(sums), 2)))
    if between.shape != (len(sums), 2) or between.dtype.kind not in "fi" or not np.isfinite(between).all() or (between < 0).any():
        return {}
    return {f"E{int(ids[i])}": (np.asarray(sums[i], float), np.asarray(spread[i], float), between[i]) for i in np.flatnonzero(usable)}


def _number(estimate: Estimate, kept: tuple[Floats, Floats, Floats] | None) -> Number | None:
    if estimate.value is None:
        return None
    repetitions = np.asarray(estimate.seed_values, dtype=np.float64)
    if kept is not None:
        sums, (rows, row_df, extra, extra_df), (between, between_df) = kept
        parts = (float(rows), max(float(row_df), 1.0)), (float(extra), max(float(extra_df), 1.0))
        crossed = (float(between), max(float(between_df), 1.0)) if between_df else None
        return Number(estimate.value, repetitions, *parts, sums, crossed) if rows <= 1 and extra <= 1 else None
    if estimate.low is None or estimate.high is None:
        return None
    half = (estimate.high - estimate.low) / 2
    seeds = distinct_seeds(repetitions)
    if len(seeds) > 1:
        return Number(estimate.value, repetitions, (_rows_behind(half, seeds, estimate.level), _KNOWN))
    count = estimate.seeds or 1
    df = float(count - 1) if count > 1 else _KNOWN
    se = half / float(t_quantile(0.5 + estimate.level / 2, df))
    return Number(estimate.value, np.array([estimate.value]), (se**2, df))


def _rows_behind(half: float, seeds: Floats, level: float) -> float:
    """The largest row variance that, with the spread over repetitions, gives an interval of this half-width."""
    spread = float(seeds.var(ddof=1)) / len(seeds)
    most = (half / normal_quantile(0.5 + level / 2)) ** 2
    # The half-width is no monotone function of it (degrees of freedom grow as well): from above, the first that fits.
    rows = most * np.linspace(1, 0, 201)
    total = rows + spread
    df = (len(seeds) - 1) * (total / spread) ** 2
    fits = np.flatnonzero(t_quantile(0.5 + level / 2, df) * np.sqrt(total) <= half)
    return float(rows[fits[0]]) if len(fits) else 0.0


def subtract(a: Number, b: Number, *, models: Models, same_rows: bool) -> Difference:
    """The difference ``b - a`` with its interval, paired where both were measured on the ``same_rows``."""
    parts: list[Part] = [a.extra, b.extra]
    paired = False
    if same_rows and a.sums is not None and b.sums is not None and a.sums.shape == b.sums.shape:
        paired = True
        parts.append((float(np.mean((b.sums - a.sums) ** 2)), float(len(a.sums))))
    else:
        parts += [a.rows, b.rows]
    claimable = True
    if models == "trained":
        known = [float(x.seeds.var(ddof=1)) for x in (a, b) if len(x.seeds) > 1]
        # One model on a side is one draw from as wide a spread as the other side shows.
        claimable = bool(known)
        for number in (a, b):
            if number.spread is not None:
                parts.append(number.spread)
            elif known:
                other = a if number is b else b
                parts.append((known[0], float(len(other.seeds) - 1)))
    value = b.value - a.value
    variance = sum(v for v, _ in parts)
    if variance <= 0:
        return Difference(value, value, value, (1.0 if value == 0 else 0.0) if claimable else None, paired, _agrees(a, b))
    df = variance**2 / sum(v**2 / df for v, df in parts)
    se = variance**0.5
    half = float(t_quantile(0.5 + LEVEL / 2, df)) * se
    p = 2 * t_tail(abs(value) / se, df) if claimable else None
    return Difference(value, value - half, value + half, p, paired, models == "trained" or _agrees(a, b))


def _agrees(a: Number, b: Number) -> bool:
    """Whether all repetitions point the same way: no overlap at all, or each pair alike and by more than they vary."""
    if not len(a.seeds) or not len(b.seeds):
        return True
    low, high = (a.seeds, b.seeds) if b.value >= a.value else (b.seeds, a.seeds)
    if low.max() <= high.min():
        return True
    if len(a.repetitions) != len(b.repetitions):
        return False
    apart = (b.repetitions - a.repetitions) * (1 if b.value >= a.value else -1)
    if apart.min() <= 0:
        return False
    spread = float(apart.std(ddof=1)) / len(apart) ** 0.5
    return spread == 0 or t_tail(float(apart.mean()) / spread, len(apart) - 1) <= 0.05
