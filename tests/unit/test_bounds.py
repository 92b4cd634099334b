"""The bound: the smallest leak that is certified absent, from evidence to sentence, report, gate and comparison. Hand-made evidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from proxyaudit.comparison import compare_packs
from proxyaudit.errors import InputError
from proxyaudit.estimates.conclude import conclude
from proxyaudit.estimates.ledger import Draft, Drafts, decide_ledger, published
from proxyaudit.estimates.numbers import largest_bound
from proxyaudit.estimates.scope import Scope
from proxyaudit.estimates.sentences import share_at_most
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.gating.decide import gate
from proxyaudit.gating.policy import parse_policy
from proxyaudit.reporting.comparison import comparison_page
from proxyaudit.reporting.html import page_html, render_html
from proxyaudit.reporting.markdown import page_markdown, render_markdown
from proxyaudit.reporting.model_card import render_model_card
from proxyaudit.stats.intervals import Interval, Measured
from proxyaudit.types import Estimate
from proxyaudit.verification.checks import number_problems
from tests.helpers.measured import steady
from tests.unit.small_packs import estimate, finding, small_pack

BARE = Scope("activations", {"sex": "protected"}, ("model",), verdict_sites=("penultimate",))
SCOPES = {"activations": BARE, "outputs": Scope("outputs", {"sex": "protected"}, ("model",), verdict_sites=("penultimate",))}


def leaks(linear: float | None = 0.0612, nonlinear: float | None = 0.12, **more: Any) -> list[Estimate]:
    return [
        estimate("linear", 0.015, "unknown", bound=linear, reason="too few rows", **more),
        estimate("nonlinear", 0.03, "unknown", bound=nonlinear, reason="too few rows", **more),
    ]


def open_pack(numbers: list[Estimate], *, verdict: str = "inconclusive", kind: str = "activations", **more: Any) -> EvidencePack:
    pack = small_pack(numbers, [finding(verdict, **more)], kind=kind)
    pack.plan["attributes"] = [{"name": "sex", "role": "protected", "kind": "binary", "levels": ["f", "m"]}]
    return pack


@pytest.mark.parametrize(
    ("bound", "told"), [(0.06, "6 %"), (0.0612, "6.2 %"), (0.121, "13 %"), (0.2, "20 %"), (0.0, "0 %"), (0.0001, "0.1 %"), (1.0, "100 %")]
)
def test_a_bound_is_never_told_smaller_than_it_is(bound: float, told: str) -> None:
    assert share_at_most(bound) == told
    assert float(told.split()[0]) >= 100 * bound - 1e-9


def test_a_channel_is_certified_by_its_weakest_number_or_not_at_all() -> None:
    one, two = leaks()
    assert largest_bound([one, two]) == 0.12
    assert largest_bound([one, two.model_copy(update={"bound": None})]) is None
    assert largest_bound([one, two.model_copy(update={"bound": None, "state": "not_applicable"})]) == 0.0612
    assert largest_bound([]) is None


def test_a_draft_publishes_its_bound_rounded_up() -> None:
    measured: Measured = steady(0.01)
    draft = Draft("linear", "sex", "real", measured=measured, interval=Interval(0.01, 0.0, 0.02, 0.005, 9.0), bound=0.0612345678)
    assert published(replace(draft, can_be_absent=True), "E1").bound == 0.0614
    # Where absence is barred, nothing is certified absent: no policy can pass what the encoder could not see.
    assert published(draft, "E1").bound is None
    barred = decide_ledger(Drafts([replace(draft, can_be_absent=True, margin=0.02, present_p=1.0, absent_p=0.3)]), ["real"])
    assert barred.estimates[0].bound is None


@pytest.mark.parametrize("surface", SCOPES)
def test_a_sentence_says_how_much_can_be_read_at_most(surface: str) -> None:
    scope = SCOPES[surface]
    task = Estimate(id="E9", channel="task", attribute=None, regime="model", value=0.9, seed_values=(0.9, 0.9))

    def said(numbers: list[Estimate]) -> str:
        return conclude([*numbers, task], (), scope)[0].sentence.lower()

    both = said(leaks())
    assert "at most 6.2 % of it can be read by a linear reader and at most 12 % more can be read by a stronger one" in both
    assert "cannot tell" in both
    assert "stronger" not in said(leaks(nonlinear=None))
    assert "at most 12 % of it" in said(leaks(linear=None)).replace("more can be read", "can be read")
    assert "at most" not in said(leaks(None, None))
    # What is present is there: a bound would speak past it.
    present = [estimate("linear", 0.2, "present", bound=0.3), estimate("nonlinear", 0.03, "unknown", bound=0.12, reason="x")]
    assert "30 %" not in said(present)


@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_reports_show_bounds_and_nothing_where_there_are_none(render: Callable[[EvidencePack], str]) -> None:
    shown, silent = render(open_pack(leaks())), render(open_pack(leaks(None, None)))
    for words in ("At most 6.2", "of it can be read by a linear reader", "at most 6.2"):
        assert words in shown.replace("\u00a0", " "), words
    for words in ("of it can be read by", "at most 6", "At most 6"):
        assert words not in silent, words


def test_model_cards_show_bounds() -> None:
    assert "at most 6.2 %" in render_model_card(open_pack(leaks()))
    assert "at most" not in render_model_card(open_pack(leaks(None, None)))


# Gate ---------------------------------------------------------------------------------------------------------------


def code(policy: dict[str, Any], pack: EvidencePack) -> int:
    return gate(pack, parse_policy(policy)).exit_code


@pytest.mark.parametrize(
    ("bound", "expected"),
    [
        ({"linear": 0.07, "nonlinear": 0.15}, 0),  # all that is open is within what the policy accepts
        ({"linear": 0.07}, 3),  # the other check is open at its margin
        ({"linear": 0.06, "nonlinear": 0.15}, 3),  # .0612 is more than .06
        ({"linear": 0.07, "nonlinear": 0.15, "beyond": 0.1}, 3),  # a check that was not made certifies nothing
        ({}, 3),
    ],
)
def test_a_bound_settles_only_what_it_certifies(bound: dict[str, float], expected: int) -> None:
    assert code({"bound": bound}, open_pack(leaks())) == expected
    assert code({"rules": [{"bound": bound}]} if bound else {}, open_pack(leaks())) == expected


def test_a_bound_is_asked_of_every_number_and_never_settles_what_is_present() -> None:
    lax = {"bound": {"linear": 0.5, "nonlinear": 0.5}}
    other = estimate("linear", 0.01, "unknown", site="other", reason="x")
    assert code(lax, open_pack([*leaks(), other])) == 3
    assert code(lax, open_pack(leaks(), at_least="hidden")) == 1
    assert code(lax, open_pack(leaks(), verdict="exposed")) == 1
    assert code({**lax, "allow": ["exposed"]}, open_pack(leaks())) == 3
    used = estimate("used", 0.01, "unknown", reason="x")
    assert code(lax, open_pack([*leaks(), used], kind="checkpoints")) == 3
    failed = gate(open_pack(leaks()), parse_policy({**lax, "margins": {"leak": 0.01}}))
    assert failed.exit_code == 3


def test_a_verdict_that_is_allowed_still_owes_the_bound() -> None:
    absent = [estimate("linear", 0.001, "absent", bound=0.015), estimate("nonlinear", 0.01, "absent")]
    assert code({"bound": {"linear": 0.02}}, open_pack(absent, verdict="removed")) == 0
    assert code({"bound": {"linear": 0.01}}, open_pack(absent, verdict="removed")) == 3
    # Absent at a margin of .1 certifies .1.
    assert code({"bound": {"nonlinear": 0.1}}, open_pack(absent, verdict="removed")) == 0
    assert code({"bound": {"nonlinear": 0.05}}, open_pack(absent, verdict="removed")) == 3
    loose = {"inconclusive": "allow", "bound": {"linear": 0.01}}
    assert code(loose, open_pack(leaks())) == 3


@pytest.mark.parametrize("bound", [{"used": 0.1}, {"linear": 0}, {"linear": 1}, {"linear": "much"}, 0.06])
def test_bounds_of_other_checks_or_sizes_are_refused(bound: Any) -> None:
    with pytest.raises(InputError):
        parse_policy({"bound": bound})


# Compare ------------------------------------------------------------------------------------------------------------


def test_a_comparison_says_whether_the_bound_fell_or_rose() -> None:
    before, after = open_pack(leaks()), open_pack(leaks(0.03, 0.2))
    found = {n.channel: n for n in compare_packs(before, after).numbers}
    assert (found["linear"].bound_a, found["linear"].bound_b) == (0.0612, 0.03)
    assert "fell from 0.061 to 0.030" in found["linear"].bound_words
    assert "rose" in found["nonlinear"].bound_words
    page = comparison_page(compare_packs(before, after))
    for text in (page_html(page), page_markdown(page)):
        assert "fell from 0.061 to 0.030" in text
    silent = compare_packs(open_pack(leaks(None, None)), after)
    assert all(n.bound_words == "" for n in silent.numbers)
    # A bound is no claim that something changed.
    assert compare_packs(before, after).outcome == compare_packs(open_pack(leaks(None, None)), open_pack(leaks(None, None))).outcome


# Verify -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "right"),
    [
        ({"bound": 0.0612, "state": "unknown", "p_absent": 0.3}, True),
        ({"bound": 0.0612, "state": "unknown"}, False),
        ({"bound": 0.014, "state": "unknown", "p_absent": 0.02, "low": 0.0}, False),
        ({"bound": 0.015, "state": "absent", "p_absent": 0.001}, True),
        ({"bound": 0.03, "state": "absent"}, False),
        ({"bound": 0.01, "state": "present"}, False),
        ({"bound": 0.01, "state": "unknown", "p_absent": 0.4}, False),
        ({"bound": 0.01, "state": "unknown", "low": 0.012}, False),
        ({"bound": -0.1}, False),
        ({"bound": 1.5}, False),
    ],
)
def test_a_bound_must_agree_with_what_stands_beside_it(change: dict[str, Any], right: bool) -> None:
    number = estimate("linear", 0.015, "unknown", reason="x").model_copy(update={"level": 0.95, **change})
    found = number_problems(open_pack([number]).evidence, {}, 0.95, paired=False)
    assert (not any("bound" in line for line in found)) == right, found


@pytest.mark.parametrize("value", [-0.00004, 0.00006, -0.0021])
def test_the_only_repetition_is_published_as_its_mean(value: float) -> None:
    """A value keeps its side of zero where that decides, and so does the one number that it is the mean of; `verify` refused such a run."""
    measured = replace(steady(value), seed_values=np.array([value]))
    draft = Draft("expressed", "sex", "real", unit="difference in mean probability", measured=measured, marks=(0.0,), margin=0.05)
    found = published(draft, "E1")
    assert found.value is not None
    assert found.value * value > 0
    assert found.seed_values == (found.value,)
