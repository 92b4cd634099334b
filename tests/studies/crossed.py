"""Do the intervals of means over models crossed with synthetic tables hold the truth, and how wide are they beside an oracle's?

Audits are simulated at the level of their numbers: twelve gaps of one regime, three tables and three models each trained on each table.
What tables, models and the rest bring, and what the rows do, is drawn; the intervals are those of ``stats/intervals.py``. The oracle knows
all variances. Of two models of one number that differ far more than those of all others the same is asked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from proxyaudit.arrays import Floats, Places
from proxyaudit.estimates.ledger import Draft, Drafts, decide_ledger
from proxyaudit.recipe.repetitions import SeedsSpec, design_of
from proxyaudit.seeding import stream
from proxyaudit.stats.intervals import (
    Interval,
    Measured,
    SharedSpread,
    crossed_interval,
    in_every_seed,
    next_interval,
    over_seeds,
    p_below,
)
from proxyaudit.stats.p_values import ABSENT_AT, PRESENT_AT

BLOCKS, AUDITS = 20, 50  # 1,000 audits of each world
NUMBERS, ROWS, Z = 12, 60, 1.959964
EVEN = np.linspace(0.02, 0.2, NUMBERS)
Line = dict[str, Any]


@dataclass(frozen=True)
class World:
    """Standard deviations, as shares of a number's size, that tables, models and the rest bring; of the rows, as they are."""

    name: str
    tables: float
    models: float
    rest: float
    rows: float
    shape: tuple[int, int] = (3, 3)  # tables and models
    unlike: float = 0.0  # standard deviation of the logarithm of how much a number varies
    odd: float = 1.0  # how many times as much the first number varies
    flat: bool = False  # all numbers of one size


WORLDS = (
    World("tables matter", 0.3, 0.02, 0.05, 0.005),
    World("models matter", 0.02, 0.3, 0.05, 0.005),
    World("nothing but the rest", 0.0, 0.0, 0.3, 0.005),
    World("all alike", 0.2, 0.2, 0.2, 0.005),
    World("tables and the rest", 0.3, 0.05, 0.3, 0.005),
    World("rows matter", 0.05, 0.05, 0.05, 0.01),
    World("numbers unlike", 0.2, 0.1, 0.2, 0.005, unlike=0.7),
    World("one number varies 30 times", 0.03, 0.02, 0.03, 0.005, odd=30, flat=True),
    World("two tables, two models", 0.3, 0.1, 0.2, 0.005, shape=(2, 2)),
    World("six tables, three models", 0.3, 0.1, 0.2, 0.005, shape=(6, 3)),
    World("three models", 0.0, 0.2, 0.0, 0.005, shape=(1, 3)),
    World("two models", 0.0, 0.2, 0.0, 0.005, shape=(1, 2)),
    World("two models, one number varies 30 times", 0.0, 0.03, 0.0, 0.005, shape=(1, 2), odd=30, flat=True),
)


def places_of(tables: int, models: int) -> Places:
    """Every model on every table; of one table nothing is crossed."""
    return tuple((t, m) for t in range(tables) for m in range(models)) if tables > 1 else ()


@dataclass(frozen=True)
class Simulated:
    """One number of an audit with its truth and what is known of it."""

    measured: Measured
    truth: float
    variance: float  # of the mean
    another: float  # the true number of one more model on one more table


def audit(world: World, rng: np.random.Generator) -> list[Simulated]:
    """The numbers of one audit."""
    tables, models = world.shape
    sizes = np.full(NUMBERS, 0.03) if world.flat else EVEN
    times = np.exp(rng.normal(0, world.unlike, NUMBERS)) if world.unlike else np.ones(NUMBERS)
    times[0] *= world.odd
    found = []
    for size, factor in zip(sizes, times, strict=True):
        a, b, e = (size * factor * share for share in (world.tables, world.models, world.rest))
        rows = rng.normal(size=ROWS) * world.rows * np.sqrt(ROWS)
        y = size + rows.mean() + rng.normal(0, a, (tables, 1)) + rng.normal(0, b, (1, models)) + rng.normal(0, e, (tables, models))
        measured = Measured(y.ravel(), (rows - rows.mean()) / ROWS, np.arange(ROWS), places=places_of(tables, models))
        variance = a**2 / tables + b**2 / models + e**2 / (tables * models) + world.rows**2
        another = size + rng.normal(0, np.sqrt(a**2 + b**2 + e**2))
        found.append(Simulated(measured, float(size), float(variance), float(another)))
    return found


def run_case(seed: int, world: int, index: int) -> Line:
    """Of each number of one audit: whether its interval holds the truth and its prediction interval the next model, and its width."""
    numbers = audit(WORLDS[world], stream(seed, "crossed", world, index))
    shared = SharedSpread.of((one.measured, 0.0) for one in numbers)
    hits, nexts, widths = [], [], []
    for one in numbers:
        measured = shared.applied(one.measured)
        interval, another = crossed_interval(measured), next_interval(measured)
        hits.append(_holds(interval, one.truth))
        nexts.append(None if another is None else _holds(another, one.another))
        widths.append(round((interval.high - interval.low) / 2 / (Z * float(np.sqrt(one.variance))), 4))
    return {"hits": hits, "next": nexts, "widths": widths}


def _holds(interval: Interval, truth: float) -> bool:
    return bool(interval.low <= truth <= interval.high)


def run_block(seed: int, world: int, block: int) -> Line:
    """So many audits in one line: of each number how often its interval holds the truth, of all the next models and the widths."""
    found = [run_case(seed, world, block * AUDITS + index) for index in range(AUDITS)]
    nexts = [one for line in found for one in line["next"] if one is not None]
    widths = [width for line in found for width in line["widths"]]
    hits = np.array([line["hits"] for line in found]).sum(axis=0).tolist()
    told = {"audits": AUDITS, "hits": hits, "next": [sum(nexts), len(nexts)]}
    return {**told, "median_width": round(float(np.median(widths)), 4), "mean_width": round(float(np.mean(widths)), 4)}


def rates(lines: list[Line]) -> dict[str, dict[str, float]]:
    """By world: coverage over all numbers and of the worst, of the next model, and median and mean width in units of the oracle's."""
    found = {}
    for index, world in enumerate(WORLDS):
        own = [line for line in lines if line["key"][1] == index]
        if not own:
            continue
        audits = sum(line["audits"] for line in own)
        hits = np.array([line["hits"] for line in own]).sum(axis=0) / audits
        nexts = np.array([line["next"] for line in own]).sum(axis=0)
        found[world.name] = {
            "audits": audits,
            "coverage": float(hits.mean()),
            "worst number": float(hits.min()),
            "next model": float(nexts[0] / nexts[1]) if nexts[1] else float("nan"),
            "median width": float(np.mean([line["median_width"] for line in own])),
            "mean width": float(np.mean([line["mean_width"] for line in own])),
        }
    return found


# Looks at the results: numbers of one kind of training whose truth lies at the margin, at nothing, or at twice the margin, in up to twelve
# models of one table, or of up to eight tables with three models each. More are trained as the audit does it ("advised"), or always as long
# as anything is open ("always", the most that stopping could do to the levels).

MARGIN = 0.05
_COUNTED = (("absent", "absent"), ("present", "present"), ("coverage", "held"), ("absent at one look", "at_once"))
LOOKED, LOOK_BLOCKS = 4, 10  # numbers of one audit; 500 audits of each world


@dataclass(frozen=True)
class Looked:
    """Where the truth lies, in margins, how the repetitions differ (shares of the margin), and when there is another look."""

    name: str
    truth: float
    tables: float
    models: float
    rule: str
    seeds: SeedsSpec
    makes_tables: bool


_FEW, _MANY = SeedsSpec(tables=1, models=3, up_to=12), SeedsSpec(tables=2, models=3, up_to=24)
LOOKS = tuple(
    Looked(f"{place}, {rule}, {what}", truth, *spread, rule, seeds, makes)
    for place, truth in (("at the margin", 1.0), ("nothing there", 0.0), ("twice the margin", 2.0))
    for rule in ("advised", "always")
    for what, spread, seeds, makes in (("models", (0.0, 0.4), _FEW, False), ("tables and models", (0.3, 0.3), _MANY, True))
)


def run_looks(seed: int, index: int, number: int) -> Line:
    """One audit of a few numbers, to its last look: what each is called then, its interval, and how many models it took.

    Beside it how many would be called absent by the first repetitions, were these all that are planned.
    """
    world, rng = LOOKS[index], stream(seed, "looks", index, number)
    design = design_of(world.seeds, makes_tables=world.makes_tables)
    truth = world.truth * MARGIN
    tables, models = (1 + max(place[axis] for place in design.places) for axis in (0, 1))
    rows = rng.normal(size=(LOOKED, ROWS)) * 0.1 * MARGIN * np.sqrt(ROWS)
    a, b, e = (
        rng.normal(0, share * MARGIN, (LOOKED, *shape))
        for share, shape in ((world.tables, (tables, 1)), (world.models, (1, models)), (0.1, (tables, models)))
    )
    y = truth + rows.mean(axis=1)[:, None, None] + a + b + e
    for count in design.looks:
        places = design.places[:count]
        drafts = _drafts([y[k][tuple(zip(*places, strict=True))] for k in range(LOOKED)], rows, places)
        found = decide_ledger(Drafts(drafts), looks={"r": len(design.looks)}).estimates
        if count == design.looks[0]:
            at_once = sum(draft.can_be_absent and draft.absent_p <= ABSENT_AT for draft in drafts)  # type: ignore[operator]
        states, held = [one.state for one in found], [one.low <= truth <= one.high for one in found]  # type: ignore[operator]
        more = any(one.remedy == "models" for one in found) if world.rule == "advised" else "unknown" in states
        if not more:
            break
    return {"states": states, "at_once": at_once, "held": held, "models": count}


def _drafts(values: list[Floats], rows: Floats, places: Places) -> list[Draft]:
    """Effects as the channel of use drafts them: absent by the mean, unless one of the models may have as much as the margin."""
    numbers = []
    for one, row in zip(values, rows, strict=True):
        singles = [Measured(np.array([value]), (row - row.mean()) / ROWS, np.arange(ROWS)) for value in one]
        numbers.append((over_seeds(singles, places), singles))
    shared = SharedSpread.of((mean, 0.0) for mean, _ in numbers)
    drafts = []
    for k, (mean, singles) in enumerate(numbers):
        mean = shared.applied(mean)
        p = min(1.0, 2 * in_every_seed(singles, MARGIN)), p_below(mean.oriented(), MARGIN)
        draft = Draft("used", f"a{k}", "r", measure="effect", margin=MARGIN, measured=mean, interval=crossed_interval(mean), n=10_000)
        barred = any(p_below(single.oriented(), MARGIN) > PRESENT_AT for single in singles)
        draft = replace(draft, can_be_absent=not barred, reason="one of the models may have as much" if barred else None)
        drafts.append(replace(draft, present_p=p[0], absent_p=p[1]))
    return drafts


def run_looks_block(seed: int, index: int, block: int) -> Line:
    """So many audits in one line."""
    found = [run_looks(seed, index, block * AUDITS + number) for number in range(AUDITS)]
    states = [state for line in found for state in line["states"]]
    told = {"numbers": len(states), "absent": states.count("absent"), "present": states.count("present")}
    told["at_once"] = sum(line["at_once"] for line in found)
    return {**told, "held": sum(sum(line["held"]) for line in found), "models": sum(line["models"] for line in found) / AUDITS}


def look_rates(lines: list[Line]) -> dict[str, dict[str, float]]:
    """By world: how often a number is called absent and present, how often its interval holds the truth, and the mean number of models."""
    found = {}
    for index, world in enumerate(LOOKS):
        own = [line for line in lines if line["key"][1] == index]
        if own:
            numbers = sum(line["numbers"] for line in own)
            counts = {name: sum(line[key] for line in own) / numbers for name, key in _COUNTED}
            found[world.name] = {"numbers": numbers, **counts, "models": float(np.mean([line["models"] for line in own]))}
    return found
