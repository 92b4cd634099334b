"""Presence by the cross-fitted linear probe, where the score of all directions does not surely show it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from proxyaudit.channels.leak.planted import planted_draft
from proxyaudit.channels.leak.record import LeakTest, SiteRecord
from proxyaudit.data.attributes import Attribute
from proxyaudit.estimates.ledger import Draft
from proxyaudit.estimates.questions import LINEAR_READER
from proxyaudit.planted import make_world
from proxyaudit.probes.results import Gain
from proxyaudit.seeding import stream
from tests.helpers.leak_records import leak_record
from tests.studies.worlds import probe_world

N = 400
SEX = Attribute("sex", "protected", "binary", ("f", "m"), np.arange(N) % 2)


def drafted(gains: list[float], *, p: float = 0.02, spread: float = 0.001, probed: bool = True, **figures: object) -> Draft:
    influence = np.where(np.arange(N) % 2, spread, -spread) / np.sqrt(N)
    linear = replace(leak_record(SEX, 0).tests["linear"], p_present=p, p_absent=1.0, bound=0.3, raw=0.03, **figures)
    tests: list[LeakTest] = [replace(linear, probe=(Gain(LINEAR_READER, gain, influence),)) for gain in gains]
    records: list[SiteRecord] = [replace(leak_record(SEX, 0), tests={"linear": test}) for test in tests]
    return planted_draft(Draft("linear", "sex", "real", margin=0.02), records, "linear", np.arange(N), probed=probed)


def test_a_probe_that_surely_gains_more_than_the_margin_in_every_model_shows_presence() -> None:
    shown = drafted([0.03, 0.032])
    assert shown.shown_by == LINEAR_READER
    assert shown.null_rejected
    assert shown.present_p is not None
    assert shown.present_p < 1e-6
    assert shown.interval is not None
    assert shown.interval.low > 0.02


@pytest.mark.parametrize(
    ("gains", "more"),
    [
        ([0.03, 0.015], {}),  # not in every model
        ([0.03, 0.03], {"spread": 0.02}),  # not surely
        ([0.03, 0.03], {"p": 1e-6, "score": 1e6}),  # the score shows it, and how much it is
        ([-0.01, 0.03], {}),
        ([0.03, 0.03], {"probed": False}),  # of a reference, which decides nothing
    ],
)
def test_else_what_the_score_says_stands(gains: list[float], more: dict[str, float]) -> None:
    assert drafted(gains, **more).shown_by is None


def test_a_leak_in_few_rows_is_found_with_rows_enough() -> None:
    """A unit that is on for few rows moves the score less than other directions do, which alone would leave it open."""
    world = make_world("sparse_unit", n=6000, d=48, leak=0.06, rng=stream(0, "sparse"))
    evidence = probe_world(world, 0)
    assert evidence.findings[0].verdict == "exposed"
