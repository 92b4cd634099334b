"""Planted worlds, each audited as ``proxyaudit probe`` would, beside what an ideal test reaches there."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from proxyaudit.api import probe
from proxyaudit.audits.selftest.run import Case
from proxyaudit.errors import InputError
from proxyaudit.planted import World, draw_world, make_world
from proxyaudit.seeding import stream
from proxyaudit.types import Evidence
from tests.studies.ideal import ideal_of

LARGE = ("absent", "absent_continuous", "absent_multiclass", "absent")  # kinds that so many rows must show to be absent
# Attributes of which a random draw holds too few that any test could decide: kind of the present worlds, of the absent ones, base rate.
FAMILIES: dict[str, tuple[str, str, float | None]] = {
    "two even classes": ("linear", "absent", 0.5),
    "two classes, 5 % in one": ("rare", "absent_rare", 0.05),
    "four classes": ("multiclass", "absent_multiclass", None),
    "numbers": ("continuous", "absent_continuous", None),
    "rows in groups": ("grouped", "absent_grouped", 0.5),
}
FAMILY_PARTS = ("present family", "absent family")


def tasks(seed: int, worlds: int) -> list[tuple[int, str, int]]:
    """Every world of the study, mixed, so that a study that is stopped early has seen all kinds."""
    counts = {"present": worlds, "margin": worlds // 2, "absent": worlds, "large": worlds // 10}
    counts |= dict.fromkeys(FAMILY_PARTS, len(FAMILIES) * (worlds // 10))
    every = [(seed, part, index) for part, count in counts.items() for index in range(count)]
    most = max(counts.values(), default=1)
    # Spread evenly over the study: part by part, each index by how far along its part it is.
    return sorted(every, key=lambda key: ((key[2] + 0.5) / counts[key[1]] * most, key[1]))


def run_case(seed: int, part: str, index: int) -> dict[str, Any]:
    """Draw one world, audit it, and hold both truth and ideal beside it."""
    world = draw(seed, part, index)
    about = (world.kind, part, len(world.acts_nd), world.acts_nd.shape[1], world.leak, world.expected)
    case, reached = Case(*about, "inconclusive", None, False), dict.fromkeys(f"reached_{channel}" for channel, _ in _LEAKS)
    try:
        evidence = probe_world(world, index)
    except InputError:  # too few rows: refused with a clear line, which claims nothing
        return asdict(case) | ideal_of(world) | reached
    finding = evidence.findings[0]
    case = Case(*about, finding.verdict, finding.at_least, is_powered(evidence))
    bounds = {f"reached_{channel}": bound_of(evidence, channel, measure) for channel, measure in _LEAKS}
    return asdict(case) | ideal_of(world) | bounds


def probe_world(world: World, seed: int) -> Evidence:
    """Audit a world's activations."""
    beside = {"group": world.groups_n, "label": world.condition_n}
    labels = {"attribute": world.labels_n, **{name: values for name, values in beside.items() if values is not None}}
    group, condition_on = "group" if "group" in labels else None, ("label",) if "label" in labels else ()
    acts = {"world": {"site": world.acts_nd}}
    return probe(acts, labels, attributes="attribute", group=group, condition_on=condition_on, seed=seed, jobs=1).pack.evidence


def is_powered(evidence: Evidence) -> bool:
    """Whether the rows suffice, by the audit's own word: every detection limit lies below half its margin."""
    told = [e for e in evidence.estimates if e.state is not None]
    limits = all(e.detection_limit is not None and e.margin is not None and 2 * e.detection_limit <= e.margin for e in told)
    return bool(told) and limits


_LEAKS = (("linear", "leak"), ("nonlinear", "leak_nonlinear"))


def bound_of(evidence: Evidence, channel: str, measure: str) -> float | None:
    """The smallest leak that the audit certified absent; ``None`` where it certified nothing or is of a version without bounds."""
    deciding = [e for e in evidence.estimates if (e.channel, e.measure) == (channel, measure) and e.state is not None]
    # A bound is part of later evidence only.
    found = [getattr(e, "bound", None) for e in deciding]
    known = [bound for bound in found if bound is not None]
    return max(known) if known and len(known) == len(found) else None


def draw(seed: int, part: str, index: int) -> World:
    """The world of a task."""
    if part in ("present", "margin", "absent"):
        rng = stream(seed, "selftest", part, index)
        return draw_world(rng, present=part != "absent", at_margin=part == "margin")
    rng = stream(seed, "worlds", part, index)
    if part == "large":
        return make_world(LARGE[index % len(LARGE)], n=int(rng.integers(8000, 12001)), d=64, leak=0.0, rng=rng, rate=0.5)
    present, absent, rate = list(FAMILIES.values())[index % len(FAMILIES)]
    n, d = round(float(np.exp(rng.uniform(np.log(1500), np.log(12000))))), int(rng.choice([8, 16, 32, 64]))
    if part == FAMILY_PARTS[1]:
        return make_world(absent, n=n, d=d, leak=0.0, rng=rng, rate=rate)
    return make_world(present, n=n, d=d, leak=0.02 * rng.uniform(2, 4), rng=rng, rate=rate)
