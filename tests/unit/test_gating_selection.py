"""A policy on selection rates and impact ratios: judged by the whole interval, at the threshold that the policy means."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from proxyaudit.errors import InputError
from proxyaudit.gating.attest import test_result as as_test_result
from proxyaudit.gating.decide import GateResult, gate
from proxyaudit.gating.junit import junit
from proxyaudit.gating.policy import Policy, parse_policy
from proxyaudit.types import Estimate, NotTested
from tests.unit.small_packs import estimate, finding, small_pack

ALLOWED = {"allow": ["removed", "hidden", "exposed"]}


def number(measure: str, low: float | None, high: float | None, group: str = "f", **more: Any) -> Estimate:
    value = None if low is None or high is None else (low + high) / 2
    fields = {"measure": measure, "group": group, "subject": "m" if "ratio" in measure else None, "low": low, "high": high, "margin": None}
    return estimate("selection", value, "absent", **{**fields, **more})


def decided(policy: dict[str, Any], *numbers: Estimate, recipe: dict[str, Any] | None = None) -> GateResult:
    pack = small_pack([estimate("linear", 0.001, "absent"), *numbers], [finding("removed")])
    pack = replace(pack, recipe={"name": "small", **(recipe or {})}, plan={**pack.plan, "target": {"classes": ["no", "yes"]}})
    return gate(pack, parse_policy({**ALLOWED, "selection": policy}))


@pytest.mark.parametrize(
    ("low", "high", "code"),
    [
        (0.5, 0.79, 1),  # wholly below
        (0.5, 0.8, 3),  # the end of the interval is four fifths itself
        (0.7, 0.9, 3),
        (0.8, 1.0, 0),
        (0.85, 1.1, 0),
        (None, None, 3),  # no number
    ],
)
def test_an_impact_ratio_is_judged_by_its_interval(low: float | None, high: float | None, code: int) -> None:
    assert decided({"impact_ratio": 0.8}, number("impact_ratio", low, high)).exit_code == code


@pytest.mark.parametrize(("low", "high", "code"), [(0.11, 0.2, 1), (0.05, 0.2, 3), (0.0, 0.1, 0)])
def test_a_difference_is_judged_the_other_way_round(low: float, high: float, code: int) -> None:
    numbers = number("equal_opportunity_difference", low, high)
    assert decided({"equal_opportunity_difference": 0.1}, numbers).exit_code == code


def test_the_group_that_meets_it_least_decides_and_is_named() -> None:
    numbers = [number("impact_ratio", 0.9, 1.0, "a"), number("impact_ratio", 0.3, 0.5, "b"), number("impact_ratio", 0.6, 0.9, "c")]
    (case,) = [case for case in decided({"impact_ratio": 0.8}, *numbers).cases if case.kind == "selection"]
    assert (case.outcome, case.measure, case.allowed) == ("fail", "impact_ratio", ("at least 0.8",))
    assert "b against m: 0.40 (0.30 to 0.50), wholly below 0.8" in case.reason


def test_an_interval_without_its_number_still_decides() -> None:
    few = number("impact_ratio", 0.0, 0.4, reason="fewer than eleven people").model_copy(update={"value": None})
    assert decided({"impact_ratio": 0.8}, few).exit_code == 1


def test_a_run_that_counted_nothing_is_undecided_and_says_how() -> None:
    (case,) = [case for case in decided({"impact_ratio": 0.8}).cases if case.kind == "selection"]
    assert case.outcome == "undecided"
    assert "selection: {threshold" in case.reason


@pytest.mark.parametrize(
    ("asked", "own", "code"),
    [
        ({"threshold": 0.5}, {"threshold": 0.5}, 0),
        ({"threshold": 0.5}, {"threshold": 0.99}, 1),
        ({"outcome": "yes"}, {"threshold": 0.5}, 0),
        ({"outcome": "no"}, {"threshold": 0.5}, 1),
        ({"outcome": "no"}, {"threshold": 0.5, "outcome": "no"}, 0),
    ],
)
def test_a_policy_may_say_who_counts_as_selected(asked: dict[str, Any], own: dict[str, Any], code: int) -> None:
    numbers = number("impact_ratio", 0.9, 1.0)
    assert decided({"impact_ratio": 0.8, **asked}, numbers, recipe={"selection": own}).exit_code == code


def test_rules_change_it_and_several_measures_are_answers_of_their_own() -> None:
    numbers = [number("impact_ratio", 0.6, 0.7), number("selection_rate", 0.2, 0.3)]
    pack = small_pack([estimate("linear", 0.001, "absent"), *numbers], [finding("removed")])
    policy = {**ALLOWED, "selection": {"impact_ratio": 0.8, "selection_rate": 0.1}}
    assert [case.outcome for case in gate(pack, parse_policy(policy)).cases] == ["pass", "fail", "pass"]
    laxer = {**policy, "rules": [{"attributes": ["sex"], "selection": {"impact_ratio": 0.5}}]}
    assert gate(pack, parse_policy(laxer)).exit_code == 0


def test_answers_have_names_of_their_own_in_junit_and_in_what_is_signed() -> None:
    found = decided({"impact_ratio": 0.8, "selection_rate": 0.1}, number("impact_ratio", 0.6, 0.7), number("selection_rate", 0.2, 0.3))
    names = [case.get("name") for case in ElementTree.fromstring(junit(found)).iter("testcase")]
    assert names == ["sex", "impact_ratio of sex", "selection_rate of sex"]
    signed = as_test_result(found, parse_policy({"selection": {"impact_ratio": 0.8}}), "d" * 64)
    assert signed.failed == ("selection: impact_ratio of sex in model",)
    assert found.as_dict()["cases"][1]["measure"] == "impact_ratio"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "limits nothing"),
        ({"threshold": 0.5}, "limits nothing"),
        ({"impact_ratio": 1.2}, "less than or equal to 1"),
        ({"impact_ratio": None}, "blank"),
        ({"impact_rato": 0.8}, "did you mean 'impact_ratio'"),
    ],
)
def test_mistakes_are_told(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_policy({"selection": wrong})


def test_a_policy_that_does_not_ask_is_what_it_was() -> None:
    assert "selection" not in Policy().model_dump(mode="json", exclude_none=True)


@pytest.mark.parametrize("left_out", ["rare levels", "rare combinations"])
@pytest.mark.parametrize(("low", "high", "code"), [(0.85, 1.0, 3), (0.5, 0.79, 1)])
def test_people_of_rare_groups_who_were_not_counted_leave_a_pass_open(low: float, high: float, code: int, left_out: str) -> None:
    pack = small_pack([estimate("linear", 0.001, "absent"), number("impact_ratio", low, high)], [finding("removed")])
    attribute = pack.evidence.findings[0].attribute
    rare = NotTested(what=f"{attribute}: {left_out}", why="fewer than 30 audit rows in each of them")
    pack = replace(pack, evidence=pack.evidence.model_copy(update={"not_tested": (*pack.evidence.not_tested, rare)}))
    found = gate(pack, parse_policy({**ALLOWED, "selection": {"impact_ratio": 0.8}}))
    assert found.exit_code == code
