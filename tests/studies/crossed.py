"""Do the intervals of means over models crossed with synthetic tables hold the truth, and how wide are they beside an oracle's?

Audits are simulated at the level of their numbers: twelve gaps of one regime, three tables and three models each trained on each table.
What tables, models and the rest bring, and what the rows do, is drawn; the intervals are those of ``stats/intervals.py``. The oracle knows
all variances. Were the margin where the truth lies, how often would a number be called absent? So it is asked of two to eight numbers in
two, three or five models as well: which vary alike, in proportion to their size, or nothing like each other, beside rows that err little
or more than models differ.
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

AUDITS, SIMULATED = 50, 20_000  # audits in a line, numbers of each world at least
ROWS, Z = 60, 1.959964
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
    alike: bool = False  # numbers vary as one of size .03 does, whatever their own size
    half: bool = False  # not the first number alone varies so many times as much, but the first half of them
    heavy: bool = False  # effects of models have five degrees of freedom
    numbers: int = 12

    @property
    def blocks(self) -> int:
        """Lines of this world."""
        return -(-SIMULATED // (AUDITS * self.numbers))


WORLDS: tuple[World, ...] = (
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
CROSSED = len(WORLDS)
_GRID = tuple(
    World(f"{models} models, {name}", 0.0, share, 0.0, rows, (1, models), numbers=numbers, **how)
    for models in (2, 3, 5)
    for name, share, rows, numbers, how in (
        ("8 numbers alike", 0.3, 0.0005, 8, {"alike": True}),
        ("8 numbers alike, rows as much", 0.3, 0.005, 8, {"alike": True}),
        ("8 numbers alike, rows more", 0.3, 0.015, 8, {"alike": True}),
        ("4 numbers alike", 0.3, 0.0005, 4, {"alike": True}),
        ("2 numbers alike, rows some", 0.3, 0.003, 2, {"alike": True}),
        ("4 numbers in proportion", 0.3, 0.0005, 4, {}),
        ("8 numbers unlike", 0.1, 0.0005, 8, {"unlike": 1.0}),
        ("4 numbers unlike, rows some", 0.1, 0.001, 4, {"unlike": 1.0}),
        ("1 of 8 varies 4 times", 0.1, 0.0005, 8, {"odd": 4.0, "flat": True}),
        ("1 of 8 varies 30 times", 0.02, 0.0005, 8, {"odd": 30.0, "flat": True}),
        ("4 of 8 vary 5 times", 0.1, 0.0005, 8, {"odd": 5.0, "half": True, "flat": True}),
        ("8 numbers alike, heavy tails", 0.3, 0.0005, 8, {"alike": True, "heavy": True}),
    )
)
WORLDS += (
    *_GRID,
    World("all alike, 4 numbers, rows as much", 0.2, 0.2, 0.2, 0.005, alike=True, numbers=4),
    World("1 of 8 varies 4 times", 0.1, 0.1, 0.1, 0.0005, odd=4, flat=True, numbers=8),
    World("4 of 8 vary 5 times, rows some", 0.1, 0.1, 0.05, 0.001, odd=5, half=True, flat=True, numbers=8),
    World("tables matter more, heavy tails", 0.3, 0.1, 0.1, 0.005, heavy=True),
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
    sizes = np.full(world.numbers, 0.03) if world.flat else np.linspace(0.02, 0.2, world.numbers)
    times = np.exp(rng.normal(0, world.unlike, world.numbers)) if world.unlike else np.ones(world.numbers)
    times[: world.numbers // 2 if world.half else 1] *= world.odd

    def effects(sd: float, *shape: int) -> Floats:
        # A t variable of five degrees of freedom has a variance of 5 / 3.
        return sd * (rng.standard_t(5, shape) * np.sqrt(0.6) if world.heavy else rng.normal(size=shape))

    found = []
    for size, factor in zip(sizes, times, strict=True):
        a, b, e = ((0.03 if world.alike else size) * factor * share for share in (world.tables, world.models, world.rest))
        rows = rng.normal(size=ROWS) * world.rows * np.sqrt(ROWS)
        y = size + rows.mean() + effects(a, tables, 1) + effects(b, 1, models) + effects(e, tables, models)
        measured = Measured(y.ravel(), (rows - rows.mean()) / ROWS, np.arange(ROWS), places=places_of(tables, models))
        variance = a**2 / tables + b**2 / models + e**2 / (tables * models) + world.rows**2
        another = size + float(effects(a, 1)[0] + effects(b, 1)[0] + effects(e, 1)[0])
        found.append(Simulated(measured, float(size), float(variance), another))
    return found


def run_case(seed: int, world: int, index: int) -> Line:
    """Of each number of one audit: whether its interval holds the truth, its prediction interval the next model, its width, and absence."""
    numbers = audit(WORLDS[world], stream(seed, "crossed", world, index))
    shared = SharedSpread.of((one.measured, 0.0) for one in numbers)
    hits, nexts, widths, absent = [], [], [], []
    for one in numbers:
        measured = shared.applied(one.measured)
        interval, another = crossed_interval(measured), next_interval(measured)
        hits.append(_holds(interval, one.truth))
        nexts.append(None if another is None else _holds(another, one.another))
        widths.append(round((interval.high - interval.low) / 2 / (Z * float(np.sqrt(one.variance))), 4))
        # The margin where the truth lies: all of these are wrong.
        absent.append(measured.value < one.truth and p_below(measured, one.truth) <= ABSENT_AT)
    return {"hits": hits, "next": nexts, "widths": widths, "absent": absent}


def _holds(interval: Interval, truth: float) -> bool:
    return bool(interval.low <= truth <= interval.high)


def run_block(seed: int, world: int, block: int) -> Line:
    """So many audits in one line: of each number how often its interval holds the truth, of all the next models and the widths."""
    found = [run_case(seed, world, block * AUDITS + index) for index in range(AUDITS)]
    nexts = [one for line in found for one in line["next"] if one is not None]
    widths = [width for line in found for width in line["widths"]]
    hits, absent = (np.array([line[key] for line in found]).sum(axis=0).tolist() for key in ("hits", "absent"))
    told = {"audits": AUDITS, "hits": hits, "absent": absent, "next": [sum(nexts), len(nexts)]}
    return {**told, "median_width": round(float(np.median(widths)), 4), "mean_width": round(float(np.mean(widths)), 4)}


def rates(lines: list[Line]) -> dict[str, dict[str, float]]:
    """By world: coverage over all numbers and of the worst, of the next model, and median and mean width in units of the oracle's."""
    found = {}
    for index, world in enumerate(WORLDS):
        own = [line for line in lines if line["key"][1] == index]
        if not own:
            continue
        audits = sum(line["audits"] for line in own)
        hits, absent = (np.array([line[key] for line in own]).sum(axis=0) / audits for key in ("hits", "absent"))
        nexts = np.array([line["next"] for line in own]).sum(axis=0)
        found[world.name] = {
            "audits": audits,
            "coverage": float(hits.mean()),
            "worst number": float(hits.min()),
            "absent": float(absent.mean()),
            "absent worst": float(absent.max()),
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
