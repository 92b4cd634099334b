"""Rules made again by verification agree with the rules that made the evidence, and only with those."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proxyaudit.estimates.draft import Draft, decide_drafts
from proxyaudit.estimates.ledger import Ledger
from proxyaudit.estimates.origins import origin_word
from proxyaudit.estimates.verdicts import change_word
from proxyaudit.stats.intervals import Measured, crossed_interval
from proxyaudit.types import CHANNELS, Control, Estimate, Evidence, RunInfo
from proxyaudit.verification.run import verify_folder
from proxyaudit.verification.states import control_problems, number_problems, state_problems

MARGINS = {"leak": 0.02, "nonlinear": 0.1, "gap": 0.05, "effect": 0.02, "relearned": 0.05}
MARGIN_OF = dict(zip(CHANNELS, ("leak", "nonlinear", "leak", "leak", "gap", "effect", "relearned"), strict=True))


def evidence(estimates: Any, controls: Any = ()) -> Evidence:
    run = RunInfo(id="x", name="x", status="complete", plan_digest="", versions={}, seed=0)
    return Evidence(run=run, findings=(), estimates=tuple(estimates), controls=tuple(controls), not_tested=())


def random_cell(rng: np.random.Generator) -> Draft:
    channel = str(rng.choice(CHANNELS))
    margin = MARGINS[MARGIN_OF[channel]]
    seeds = rng.normal(margin * rng.choice([0.2, 1.0, 3.0]), margin * rng.choice([0.05, 0.6]), int(rng.integers(1, 4)))
    measured = Measured(seeds, rng.normal(0, 1e-3, 40), np.arange(40)) if rng.random() < 0.95 else None
    p = lambda: float(rng.choice([1e-12, 0.0004, 0.004, 0.0099, 0.02, 0.05, 0.4, 1.0]))  # noqa: E731
    return Draft(
        channel,
        "sex",
        str(rng.choice(["real", "vendor"])),
        "penultimate" if channel not in ("expressed",) else None,
        measured=measured,
        interval=crossed_interval(measured) if measured is not None else None,
        margin=margin,
        present_p=p() if measured is not None else None,
        absent_p=p(),
        can_be_absent=bool(rng.random() < 0.7),
        null_rejected=bool(rng.random() < 0.7),
        calibrated=bool(rng.random() < 0.3),
    )


@pytest.mark.parametrize("blocked", [False, True])
def test_states_are_made_again_as_they_were_made(blocked: bool) -> None:
    rng = np.random.default_rng(5)
    seen: set[str] = set()
    for _ in range(120):
        cells = [random_cell(rng) for _ in range(int(rng.integers(1, 12)))]
        ledger = Ledger()
        for regime in ("real", "vendor"):
            why = {("sex", "penultimate"): "the negative control failed"} if blocked and regime == "real" else {}
            for cell in decide_drafts([c for c in cells if c.regime == regime], why):
                ledger.add(cell)
        if blocked:
            ledger.control("negative", "linear", "sex", "real", "penultimate", False, "permuted attribute: Holm-adjusted p = 1e-05")
        found = evidence(ledger.estimates, ledger.controls)
        assert state_problems(found, MARGINS) == []
        assert number_problems(found, {}, 0.95, paired=False) == []
        for index, e in enumerate(found.estimates):
            seen.add(str(e.state))
            for other in {"present", "absent", "unknown"} - {e.state}:
                changed = [*found.estimates]
                changed[index] = e.model_copy(update={"state": other, "reason": "x"})
                assert state_problems(evidence(changed, found.controls), MARGINS), (e, other)
    assert seen == {"present", "absent", "unknown"}


def test_only_rounded_numbers_may_fall_on_either_side_of_a_threshold() -> None:
    base = {"id": "E1", "channel": "linear", "attribute": "sex", "regime": "real", "margin": 0.02, "reason": "x", "p_present": 1.0}
    for p, value, states in (
        (0.01, 0.001, {"absent"}),
        (0.0100001, 0.001, {"unknown"}),
        (0.00999999, 0.001, {"absent", "unknown"}),
        (0.009, 0.001, {"absent"}),
        (0.009, 0.0200001, {"absent", "unknown"}),
        (0.009, 0.0201, {"unknown"}),
    ):
        for state in ("absent", "unknown"):
            e = Estimate(**base, state=state, p_absent=p, value=value)
            assert (state_problems(evidence([e]), MARGINS) == []) == (state in states), (p, value, state)


@pytest.mark.parametrize(
    ("kind", "passed", "detail", "right"),
    [
        ("negative", True, "permuted attribute: Holm-adjusted p = 1e-05", False),
        ("negative", False, "permuted attribute: Holm-adjusted p = 1e-05", True),
        ("negative", False, "permuted attribute: Holm-adjusted p = 0.3", False),
        ("positive", True, "plants found at the margin 66%, at twice the margin 98%", False),
        ("positive", True, "plants found at the margin 80%, at twice the margin 98%", True),
        ("positive", False, "plants found at the margin 80%, at twice the margin 98%", True),
        ("positive", True, "planted leak 0.80 on the block's input: found in 40% of plants", False),
        ("positive", True, "no planted leak stands out from the references", False),
        ("random_subspace", False, "effect 0.1816; 95th percentile of random subspaces of equal rank 0.0283", False),
        ("random_subspace", True, "effect 0.0005; 95th percentile of random subspaces of equal rank 0.0002", True),
        ("untrained", True, "learned subspace: smallest effect 0.0035; largest in untrained models 0.0060", False),
        ("eraser", True, "planted leak 0.093 on fresh rows, 0.091 after LEACE", False),
        ("eraser", True, "planted leak 0.087 on fresh rows, -0.003 after LEACE", True),
        ("baseline", True, "random features of what is conditioned on: leak 0.090", False),
        ("repetition", True, "two repetitions are identical and count as one", False),
        ("other", True, "anything", True),
    ],
)
def test_controls_are_held_against_their_own_figures(kind: str, passed: bool, detail: str, right: bool) -> None:
    control = Control(id="C1", kind=kind, channel="linear", attribute="sex", regime="real", site="s", passed=passed, detail=detail)
    assert (control_problems(evidence([], [control]), MARGINS, ["s"]) == []) == right


def test_a_failed_positive_control_rules_absence_out() -> None:
    detail = "plants found at the margin 40%, at twice the margin 98%"
    control = Control(id="C1", kind="positive", channel="used", attribute="sex", regime="real", site="s", passed=False, detail=detail)
    absent = Estimate(id="E1", channel="used", attribute="sex", regime="real", site="s", state="absent")
    assert any("cannot be absent" in line for line in control_problems(evidence([absent], [control]), MARGINS, ["s"]))
    unknown = absent.model_copy(update={"state": "unknown", "reason": "x"})
    assert control_problems(evidence([unknown], [control]), MARGINS, ["s"]) == []


def test_origin_is_published_with_what_decides_it() -> None:
    rng = np.random.default_rng(0)

    def at(value: float) -> Measured:
        return Measured(np.array([value, value + 0.001]), rng.normal(0, 1e-4, 50), np.arange(50))

    cell = Draft("linear", "sex", "vendor", "penultimate", measured=at(0.2), margin=0.02)
    for before, relayed, word in (
        (at(0.05), 0.1, "learned"),
        (at(0.19), 0.1, "relayed"),
        (at(0.05), 0.19, "relayed"),
        (None, 0.1, "relayed"),
    ):
        ledger = Ledger()
        assert origin_word(ledger, cell, before, relayed, 0.02) == word
        lows = [e.low for e in ledger.estimates if e.channel == "origin" and (e.context or "").startswith("encoding: ")]
        assert (len(lows) == 2 and min(low for low in lows if low is not None) > 0.02) == (word == "learned")
    shown = origin_word(ledger := Ledger(), replace(cell, channel="expressed"), at(0.0), 0.0, 0.02)
    assert shown == "learned"
    assert all((e.context or "").startswith("use: ") for e in ledger.estimates)


def test_change_words() -> None:
    assert change_word("present", "present", 0.02, (0.01, 0.03), (1.2, 1.1, 1.3)) == "amplified"
    assert change_word("present", "present", 0.02, (-0.01, 0.01), (1.0, 0.9, 1.1)) == "unchanged"
    assert change_word("absent", "present", 0.02, (-0.2, -0.1), (0.1, 0.0, 0.2)) == "reduced"
    assert change_word("absent", "absent", 0.02, (-0.01, 0.01), None) == "unchanged"
    assert change_word("unknown", "unknown", 0.02, (-0.2, -0.1), None) == "unknown"


def test_the_committed_example_verifies() -> None:
    found = verify_folder(Path(__file__).parents[2] / "reports" / "example")
    assert found.problems == ()
