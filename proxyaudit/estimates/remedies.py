"""What would settle an unknown number, computed from its figures: rows and how many, models, or nothing that could be added."""

from math import isfinite, sqrt
from statistics import variance
from typing import Final

from proxyaudit.estimates.states import Outcome
from proxyaudit.stats.laws import normal_quantile
from proxyaudit.stats.p_values import ABSENT_AT, PRESENT_AT
from proxyaudit.types import Estimate, Remedy

Parts = tuple[float, float]
_MISSED: Final = 0.05  # in 95 of 100 audits the rows that are named would do
_MOST_TIMES: Final = 25  # as many rows: beyond that a number lies too near its margin for any advice
TOO_NEAR: Final = "so near the margin that more than 25 times the rows would be needed, were the effect as measured"


def remedy_of(
    e: Estimate, outcome: Outcome, adjusted: float, given: Remedy | None, rows: int | None, parts: Parts | None = None
) -> tuple[Remedy | None, int | None]:
    """What would settle an unknown number, whose state plays no part, and how many rows where those can be told.

    ``adjusted`` is its p-value of presence after the correction; ``given`` is what its channel says would settle it, where presence or
    absence is barred for a reason of its own, ``rows`` are those that the channel says would show absence, and ``parts`` are what rows
    and what repetitions bring of the mean's variance, where that is known.
    """
    if outcome == "blocked":
        return "seed", None
    if given is not None or outcome == "not measured":
        return given, None
    if outcome == "unstable":
        # Each model counts, so another one can only add to the contradiction.
        return "nothing", None
    if outcome == "within its null":
        return "rows", None
    if outcome == "between" and e.p_absent is None:
        return None, None  # why absence is not claimed at all stands in the reason
    absence = int(float(f"{rows:.2g}")) if rows is not None and e.n and rows > e.n else None
    if outcome == "between" and absence is not None:
        return "rows", absence
    if outcome == "between" and lacks_models(e, parts):
        return "models", None
    # Above the margin: as many as show it where it is as measured, and absence where there is nothing.
    needed = max((n for n in (_rows_that_tell(e, outcome, adjusted), absence) if n is not None), default=None)
    return ("rows", needed) if needed is not None else ("nothing", None)


def lacks_models(e: Estimate, parts: Parts | None = None) -> bool:
    """Whether absence fails only because the mean over few models is unsure, while in every single one it is sure.

    Leaks are never told by a mean: their p-values are the largest of the models', which another model can only raise.
    """
    values, low, high = e.seed_values, e.low, e.high
    if "leak" in e.measure or len(set(values)) < 2 or (e.seeds or 0) < 2 or e.margin is None or low is None or high is None:
        return False
    if parts is None:
        # Normal: with few models the interval is wider still, so rows get rather too much of it than too little.
        total, between = ((high - low) / 2 / -normal_quantile(0.025)) ** 2, variance(values) / len(values)
        parts = max(total - between, 0.0), between
    rows, between = parts
    return between > rows and (e.margin - max(values)) > -normal_quantile(ABSENT_AT) * sqrt(rows)


def _rows_that_tell(e: Estimate, outcome: Outcome, adjusted: float) -> int | None:
    """Rows with which the number, were it as measured, would pass its test in 95 of 100 audits; a z-score grows with their root."""
    p = e.p_absent if outcome == "between" else e.p_present
    if p is None or not e.n:
        return None
    level = ABSENT_AT if outcome == "between" else PRESENT_AT * min(1.0, p / adjusted if adjusted > 0 else 1.0)
    now, wanted = -normal_quantile(p), -normal_quantile(max(level, 1e-300)) - normal_quantile(_MISSED)
    if not isfinite(now) or now <= 0:
        return None
    times = (wanted / now) ** 2
    return int(float(f"{max(times, 1.05) * e.n:.2g}")) if times <= _MOST_TIMES else None
