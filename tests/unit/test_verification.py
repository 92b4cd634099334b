"""Rules made again by verification agree with the rules that made the evidence, and only with those."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from proxyaudit.audits.probe.inputs import ProbeRequest
from proxyaudit.audits.probe.run import probe_arrays
from proxyaudit.estimates.ledger import Draft, Drafts, decide_ledger
from proxyaudit.estimates.questions import all_questions, deciding_names
from proxyaudit.estimates.scope import read_scope
from proxyaudit.estimates.states import change_word, passes
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.evidence.schema import brought_up
from proxyaudit.stats.intervals import Measured, crossed_interval
from proxyaudit.types import Control, Estimate, Evidence, RunInfo
from proxyaudit.verification.checks import completeness_problems, control_problems, number_problems, state_problems
from proxyaudit.verification.run import verify_folder

MARGINS = {"leak": 0.02, "nonlinear": 0.1, "gap": 0.05, "effect": 0.02, "relearned": 0.05}


def evidence(estimates: Any, controls: Any = (), version: str = "1.1") -> Evidence:
    run = RunInfo(id="x", name="x", status="complete", plan_digest="", versions={}, seed=0)
    return Evidence(schema_version=version, run=run, findings=(), estimates=tuple(estimates), controls=tuple(controls), not_tested=())


def random_cell(rng: np.random.Generator) -> Draft:
    channel = str(rng.choice(deciding_names()))
    margin = MARGINS[all_questions()[channel].margins[0]]
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
        drafts = Drafts([random_cell(rng) for _ in range(int(rng.integers(1, 12)))])
        if blocked:
            drafts.control("negative", "linear", "sex", "real", "penultimate", "", p=1e-5)
        ledger = decide_ledger(drafts)
        found = evidence(ledger.estimates, ledger.controls)
        assert state_problems(found, MARGINS) == []
        assert number_problems(found, {}, 0.95, paired=False) == []
        for index, e in enumerate(found.estimates):
            seen.add(str(e.state))
            for other in {"present", "absent", "unknown", "not_applicable"} - {e.state}:
                changed = [*found.estimates]
                changed[index] = e.model_copy(update={"state": other, "reason": "x"})
                assert state_problems(evidence(changed, found.controls), MARGINS), (e, other)
    assert seen == {"present", "absent", "unknown"}


def test_states_follow_from_the_published_digits_without_slack() -> None:
    base = {"id": "E1", "channel": "linear", "attribute": "sex", "regime": "real", "margin": 0.02, "reason": "x", "p_present": 1.0}
    for p, value, right in (
        (0.01, 0.001, "absent"),
        (0.0100001, 0.001, "unknown"),
        (0.00999999, 0.001, "absent"),
        (0.009, 0.0200001, "unknown"),
        (0.009, 0.02, "absent"),
        (0.009, 0.0201, "unknown"),
    ):
        for state in ("absent", "unknown"):
            e = Estimate(**base, state=state, p_absent=p, value=value)
            assert (state_problems(evidence([e]), MARGINS) == []) == (state == right), (p, value, state)


def test_a_channel_that_asks_nothing_of_a_model_has_no_margin() -> None:
    base = {"id": "E1", "channel": "relearned", "attribute": "sex", "regime": "real", "reason": "there is no block to train"}
    assert state_problems(evidence([Estimate(**base, state="not_applicable")]), MARGINS) == []
    assert state_problems(evidence([Estimate(**base, state="not_applicable", margin=0.05)]), MARGINS)
    assert state_problems(evidence([Estimate(**base, state="absent")]), MARGINS)


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
def test_controls_of_schema_1_0_are_held_against_the_figures_in_their_words(kind: str, passed: bool, detail: str, right: bool) -> None:
    control = Control(id="C1", kind=kind, channel="", attribute="sex", regime="real", site="s", passed=passed, detail=detail)
    found = brought_up(evidence([], [control], "1.0"), MARGINS)
    assert (control_problems(found, MARGINS, ["s"]) == []) == right


@pytest.mark.parametrize(("kind", "figures"), [("positive", {"found_twice": 0.98}), ("negative", {}), ("repetition", {})])
@pytest.mark.parametrize("passed", [True, False, None])
def test_a_control_without_its_figures_is_a_problem(kind: str, figures: Any, passed: bool | None) -> None:
    """Whoever takes the figures away cannot turn a failure into something that was not run."""
    where = {"channel": "linear", "attribute": "sex", "regime": "real", "site": "s", "detail": ""}
    control = Control(id="C1", kind=kind, passed=passed, figures=figures, **where)
    assert passes(kind, figures) is None
    assert any("lacks the figures" in line for line in control_problems(evidence([], [control]), MARGINS, ["s"]))


@pytest.mark.parametrize(
    ("kind", "channel", "figures", "passed"),
    [
        ("negative", "linear", {"p": 1e-5}, False),
        ("negative", "linear", {"p": 0.3}, True),
        ("positive", "linear", {"found_once": 0.66, "found_twice": 0.98}, False),
        ("positive", "linear", {"found_once": 0.8, "found_twice": 0.98}, True),
        ("positive", "relearned", {"leak": 0.8, "share": 0.4}, False),
        ("positive", "relearned", {"leak": None, "share": None}, False),
        ("positive", "used", {"least_found": 0.4, "least_absent_p": 0.3}, False),
        ("positive", "used", {"least_found": 0.9, "least_absent_p": 0.005}, False),
        ("positive", "used", {"least_found": 0.9, "least_absent_p": 0.3}, True),
        ("random_subspace", "used", {"effect": 0.0005, "random_high": 0.0002, "margin": 0.02}, True),
        ("random_subspace", "used", {"effect": 0.01, "random_high": 0.03, "margin": 0.02}, False),
        ("untrained", "used", {"smallest": 0.0035, "largest_untrained": 0.006}, False),
        ("eraser", "linear", {"before": 0.087, "after": -0.003, "margin": 0.02}, True),
        ("eraser", "linear", {"before": 0.093, "after": 0.091, "margin": 0.02}, False),
        ("baseline", "beyond", {"leak": 0.09, "margin": 0.02}, False),
        ("repetition", "task", {"identical_pairs": 1.0}, False),
        ("other", "linear", {"x": 1.0}, None),
    ],
)
def test_a_control_passes_by_its_figures_alone(kind: str, channel: str, figures: Any, passed: bool | None) -> None:
    assert passes(kind, figures) is passed
    base = {
        "id": "C1",
        "kind": kind,
        "channel": channel,
        "attribute": "sex",
        "regime": "real",
        "site": "s",
        "detail": "",
        "figures": figures,
    }
    for said in (True, False, None):
        found = control_problems(evidence([], [Control(**base, passed=said)]), MARGINS, ["s"])
        assert (found == []) == (said is passed), said
    if "margin" in figures:
        moved = Control(**{**base, "figures": {**figures, "margin": 0.5}}, passed=None)
        assert any("margin of 0.5" in line for line in control_problems(evidence([], [moved]), MARGINS, ["s"]))


def test_a_failed_positive_control_rules_absence_out() -> None:
    figures = {"found_once": 0.4, "found_twice": 0.98}
    at = {"channel": "linear", "attribute": "sex", "regime": "real", "site": "s"}
    control = Control(id="C1", kind="positive", **at, passed=False, detail="", figures=figures)
    absent = Estimate(id="E1", **at, state="absent")
    assert any("cannot be absent" in line for line in control_problems(evidence([absent], [control]), MARGINS, ["s"]))
    unknown = absent.model_copy(update={"state": "unknown", "reason": "x"})
    assert control_problems(evidence([unknown], [control]), MARGINS, ["s"]) == []


def test_change_words() -> None:
    assert change_word("present", "present", 0.02, (0.01, 0.03), (1.2, 1.1, 1.3)) == "amplified"
    assert change_word("present", "present", 0.02, (-0.01, 0.01), (1.0, 0.9, 1.1)) == "unchanged"
    assert change_word("absent", "present", 0.02, (-0.2, -0.1), (0.1, 0.0, 0.2)) == "reduced"
    assert change_word("absent", "absent", 0.02, (-0.01, 0.01), None) == "unchanged"
    assert change_word("unknown", "unknown", 0.02, (-0.2, -0.1), None) == "unknown"


def test_the_committed_example_verifies() -> None:
    found = verify_folder(Path(__file__).parents[2] / "reports" / "example")
    assert found.problems == ()


@pytest.fixture(scope="module")
def age() -> EvidencePack:
    """A fresh pack about a number that is told by its distance from 40: only quarters show it."""
    rng = np.random.default_rng(3)
    shift = rng.normal(size=500)
    values = 40 + np.where(rng.random(500) < 0.5, -1, 1) * np.abs(10 * shift)
    acts = {"real": {"pooled": np.column_stack([np.abs(shift), rng.normal(size=(500, 2))])}}
    return probe_arrays(acts, pd.DataFrame({"age": values}), ProbeRequest(("age",)), jobs=1)


def _with(pack: EvidencePack, change: Callable[[Estimate], Estimate | None]) -> list[str]:
    """What the checks find in a pack whose deciding estimates were changed."""
    made = (change(e) if e.state is not None else e for e in pack.evidence.estimates)
    changed = replace(pack, evidence=pack.evidence.model_copy(update={"estimates": tuple(e for e in made if e is not None)}))
    scope = read_scope(changed.plan, changed.recipe, changed.environment)
    return [*state_problems(changed.evidence, scope.margins, roles=scope.roles), *completeness_problems(changed, scope)]


def test_what_a_finding_rests_on_cannot_be_taken_away(age: EvidencePack) -> None:
    assert _with(age, lambda e: e) == []
    assert _with(age, lambda e: e.model_copy(update={"state": "not_applicable", "margin": None}))
    bare = {"state": "not_applicable", "margin": None, "p_present": None, "p_absent": None, "value": None}
    assert _with(age, lambda e: e.model_copy(update=bare))
    for measure in ("leak", "leak_in_quarters", "leak_nonlinear", "leak_in_quarters_nonlinear"):
        assert _with(age, lambda e, gone=measure: None if e.measure == gone else e), measure
        assert _with(age, lambda e, gone=measure: e.model_copy(update={"state": None}) if e.measure == gone else e), measure
        assert _with(age, lambda e, gone=measure: e.model_copy(update={"attribute": "else"}) if e.measure == gone else e), measure
    first = next(e for e in age.evidence.estimates if e.measure == "leak")
    doubled = age.evidence.model_copy(update={"estimates": (*age.evidence.estimates, first)})
    scope = read_scope(age.plan, age.recipe, age.environment)
    assert any("given twice" in line for line in completeness_problems(replace(age, evidence=doubled), scope))
