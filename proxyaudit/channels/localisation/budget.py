"""What localisation tries: fixed counts, cut down where the predicted operations ask for it; never by the clock."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from proxyaudit.models.locations import Location

# Parts tried at a place: by the gradient, by the difference between the groups, at random as controls.
TRIED = {"verdict": (6, 2, 2), "elsewhere": (2, 1, 1)}
MOST_PLACES, MOST_SEARCHED = 12, 4  # of those that are no verdict sites
MOST_RECIPIENTS, FEWEST_RECIPIENTS = 400, 100
_SLOTS = 32  # 8 donors of each group and half
_GRADIENT_ROWS, _FEWEST_GRADIENT_ROWS = 512, 64
_LEAST_WORK, _SHARE_OF_TRAINING = 3e10, 0.1  # multiplications for all attributes of one model
_MOST_FLOATS = 2**26  # kept of all places: 256 MiB
_COST = "left out: it would take too many operations"


def describe_localisation() -> dict[str, Any]:
    """What is tried, for the plan."""
    words = ("by gradient", "by difference", "at random")
    return {where: dict(zip(words, counts, strict=True)) for where, counts in TRIED.items()} | {"recipients": MOST_RECIPIENTS}


@dataclass(frozen=True)
class Schedule:
    """What one attribute gets: recipients, and which places are patched whole and searched; the others with the reason."""

    recipients: int
    gradient_rows: int
    whole: dict[str, str | None]
    searched: dict[str, str | None]


def schedule(places: Sequence[Location], verdict_sites: Sequence[str], budget: float) -> Schedule:
    """Share out the operations: verdict sites first, then the other places whole, then their heads and units, the last ones first."""
    verdict = [p for p in places if p.name in verdict_sites]
    others = [p for p in places if p.name not in verdict_sites]
    beyond = f"left out: {MOST_PLACES} places beside the verdict sites are patched"
    whole: dict[str, str | None] = {p.name: (None if p in verdict or p in others[:MOST_PLACES] else beyond) for p in places}
    inside = [p for kind in ("heads", "site") for p in reversed(others) if p.kind == kind and whole[p.name] is None]
    few = f"left out: {MOST_SEARCHED} places beside the verdict sites are searched"
    searched: dict[str, str | None] = {p.name: (None if p in verdict or p in inside[:MOST_SEARCHED] else few) for p in (*verdict, *inside)}
    wanted = [(whole, p, 1.0) for p in verdict] + [(searched, p, _evaluations(p, "verdict")) for p in verdict]
    wanted += [(whole, p, 1.0) for p in others if whole[p.name] is None]
    wanted += [(searched, p, _evaluations(p, "elsewhere")) for p in inside if searched[p.name] is None]
    each = max((p.whole_work for p in places), default=1.0)
    gradient_rows = int(np.clip(0.2 * budget / (3 * each), _FEWEST_GRADIENT_ROWS, _GRADIENT_ROWS))
    spent = 0.0
    for kept, place, evaluations in wanted:
        cost = evaluations * _SLOTS * place.work
        if whole[place.name] is None and (spent + cost) * FEWEST_RECIPIENTS <= budget:
            spent += cost
        else:
            kept[place.name] = _COST
    recipients = int(np.clip(budget / max(spent, 1.0), FEWEST_RECIPIENTS, MOST_RECIPIENTS))
    return Schedule(recipients, gradient_rows, whole, searched)


def _evaluations(place: Location, where: str) -> float:
    """Patches of a search, in patches of all recipients; those on the screening rows have half as many."""
    tried, controls = sum(TRIED[where][:2]), TRIED[where][2]
    return tried + controls + 2 + 0.5 * (1 + tried + math.log2(max(place.heads or place.width, 2)))


def budget_of(places: Sequence[Location], rows_trained: int, attributes: int) -> float:
    """Operations for one attribute of one model: a small share of training's, or what a small model needs."""
    whole = max((place.whole_work for place in places), default=0.0)
    return max(_LEAST_WORK, _SHARE_OF_TRAINING * 3 * rows_trained * whole) / max(attributes, 1)


def rows_kept(places: Sequence[Location], rows: int) -> int:
    """Rows whose values at all places can be kept."""
    return min(rows, max(_MOST_FLOATS // max(sum(place.floats for place in places), 1), 1))
