"""What each effort measures, and that what is left out can change no verdict."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from proxyaudit.channels.closed import ASKED_ONCE, STANDINGS
from proxyaudit.channels.leak.closed import AGREEMENT, closed_at, closed_tests, standing
from proxyaudit.channels.leak.planted import planted_draft
from proxyaudit.channels.leak.record import SITE_LEAKS, LeakTest, SiteRecord
from proxyaudit.data.attributes import Attribute
from proxyaudit.estimates.ledger import Draft
from proxyaudit.estimates.record import OUTPUT_SITE, Measurement
from proxyaudit.probes.results import Agreement, Gain
from proxyaudit.recipe.effort import EXTRAS, SETTLED, left_out, measures
from proxyaudit.recipe.recipe import Margins
from tests.helpers.leak_records import leak_record

N = 400
SEX = Attribute("sex", "protected", "binary", ("f", "m"), np.arange(N) % 2)
MARGINS, ROWS = Margins(), np.arange(N)
MORE = {"beyond", "beyond nonlinear", "nonlinear"}


def measured(**changes: LeakTest) -> Measurement:
    """A model in which every leak may be absent, but for some tests at its verdict site."""
    out = Measurement()
    for site in ("early", "late", OUTPUT_SITE):
        record = leak_record(SEX, 0)
        record = replace(record, tests={**record.tests, **changes}) if site == "late" else record
        SITE_LEAKS.write(out, record, "sex", site)
    return out


def a_test(name: str = "linear", **figures: object) -> LeakTest:
    return replace(leak_record(SEX, 0).tests[name], **figures)  # type: ignore[arg-type]


def closed(first: Measurement) -> frozenset[str]:
    removable = standing(first, "sex", ("early", "late"), ("late",)).removable
    return closed_tests(first, "sex", "late", MARGINS, ROWS, removable=removable) - {AGREEMENT}


def closed_of_neighbours(first: Measurement, agreement: Agreement | None, *, removable: bool) -> bool:
    record = replace(SITE_LEAKS.read(first, "sex", "late"), agreement=agreement)
    SITE_LEAKS.write(first, record, "sex", "late")
    return AGREEMENT in closed_tests(first, "sex", "late", MARGINS, ROWS, removable=removable)


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_is_measured_on_the_repetitions_of_its_effort(extra: str) -> None:
    asked = {effort: [measures(effort, extra, repetition) for repetition in range(3)] for effort in ("decide", "standard", "everything")}
    assert asked == {"decide": [False] * 3, "standard": [True, False, False], "everything": [True] * 3}


def test_what_is_left_out_is_listed_with_the_option_that_measures_it() -> None:
    assert left_out("everything", 3) == []
    assert len(left_out("decide", 1)) == len(EXTRAS) + 1 == len(left_out("standard", 3)) - 1
    assert len(left_out("standard", 1)) == 1, "one repetition has all extras"
    assert all("effort: everything" in why for _, why in left_out("standard", 3))


def test_while_it_may_be_removed_everything_is_asked_of_every_model() -> None:
    assert closed(measured()) == frozenset()


def test_where_it_cannot_be_removed_only_what_may_be_present_is_asked() -> None:
    held = a_test(p_absent=0.5, p_present=0.2)  # neither absent nor surely present
    assert closed(measured(linear=held)) == MORE, "all others looked absent, which no longer leads anywhere"
    shown = a_test("nonlinear", p_absent=1.0, p_present=0.001)
    assert closed(measured(linear=held, nonlinear=shown)) == MORE - {"nonlinear"}
    sure = Gain("trees", 0.3, np.full(N, 1e-6))
    read = a_test("nonlinear", p_absent=1.0, p_present=0.9, readers=(sure,))
    assert closed(measured(linear=held, nonlinear=read)) == MORE - {"nonlinear"}, "a reader may show presence, too"


def test_what_the_first_model_decides_neither_way_is_asked_once() -> None:
    open_ = a_test("nonlinear", p_absent=0.2, p_present=0.3)
    assert "nonlinear" in closed(measured(nonlinear=open_))


def test_a_control_that_fails_closes_absence() -> None:
    blind = a_test("nonlinear", found_twice=0.3)
    assert not standing(measured(nonlinear=blind), "sex", ("early", "late"), ("late",)).removable
    assert "nonlinear" in closed(measured(nonlinear=blind))


@pytest.mark.parametrize(("p", "settled"), [(1e-9, True), (1e-3, False)])
def test_only_a_sure_linear_leak_settles(p: float, settled: bool) -> None:
    found = standing(measured(linear=a_test(p_present=p, p_absent=1.0)), "sex", ("early", "late"), ("late",))
    assert found.settled is settled
    assert not found.removable


@pytest.mark.parametrize("removable", [False, True])
def test_neighbours_are_asked_again_where_they_agree_and_where_absence_may_rest_on_them(removable: bool) -> None:
    together = Agreement(0.4, 0.01, 0.1)
    assert together.together
    assert not closed_of_neighbours(measured(), together, removable=removable)
    for apart in (Agreement(0.0, 0.01, 0.1), None):
        assert closed_of_neighbours(measured(), apart, removable=removable) is not removable


def view(first: Measurement | None) -> Any:
    """As much of a model as says what is asked of it."""
    model, recipe = SimpleNamespace(verdict_sites=("late",)), SimpleNamespace(effort="standard", margins=MARGINS)
    dataset = SimpleNamespace(attributes=(SEX,), clusters=ROWS)
    return SimpleNamespace(first=first, decides=True, repetition=int(first is not None), model=model, recipe=recipe, dataset=dataset)


def at(site: str, first: Measurement | None, here: Measurement) -> frozenset[str]:
    if first is not None:
        STANDINGS.write(first, standing(first, "sex", ("early", "late"), ("late",)), "sex")
    return closed_at(view(first), site, here)["sex"]


def test_of_outputs_what_may_yet_be_absent_is_asked_of_every_model() -> None:
    """An attribute is hidden where nothing of it shows in the outputs of any model, whatever is inside."""
    surely = a_test(p_present=1e-9, p_absent=1.0)
    for nothing, asked in ((a_test("nonlinear"), True), (a_test("nonlinear", p_absent=1.0, p_present=0.5), False)):
        first = measured(linear=surely)
        SITE_LEAKS.write(first, replace(leak_record(SEX, 0), tests={"linear": a_test(), "nonlinear": nothing}), "sex", OUTPUT_SITE)
        assert ("nonlinear" in at(OUTPUT_SITE, first, measured(linear=surely))) is not asked
    assert at(OUTPUT_SITE, measured(), measured()) == frozenset(), "it may yet be removed"


def records(*tests: LeakTest) -> list[SiteRecord]:
    return [replace(leak_record(SEX, 0), tests={"nonlinear": test}) for test in tests]


@pytest.mark.parametrize("p", [(0.0, 1.0), (1.0, 0.0)], ids=["would be present", "would be absent"])
def test_a_number_of_the_first_repetition_alone_decides_nothing(p: tuple[float, float]) -> None:
    """Whatever stands there: a state needs every model."""
    one = a_test("nonlinear", p_present=p[0], p_absent=p[1], score=1e6, raw=1.0)
    draft = planted_draft(Draft("nonlinear", "sex", "real", margin=0.1), records(one, LeakTest(ASKED_ONCE)), "nonlinear", ROWS)
    assert not draft.can_be_absent
    assert not draft.null_rejected
    assert draft.reason == ASKED_ONCE
    assert draft.measured is not None
    assert len(draft.measured.seed_values) == 1


def test_where_stronger_readers_were_left_out_the_reason_says_so() -> None:
    draft = planted_draft(Draft("nonlinear", "sex", "real", margin=0.1), records(a_test("nonlinear"), LeakTest(SETTLED)), "nonlinear", ROWS)
    assert draft.measured is None
    assert draft.reason == SETTLED
