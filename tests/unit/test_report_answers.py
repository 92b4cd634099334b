"""The first screen: answers that can be read without machine learning, and never say more than the findings."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from large_pack import VERDICTS, large_pack

from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.reporting.blocks import Answers, Code
from proxyaudit.reporting.first import answers_of, kept
from proxyaudit.reporting.summary import summarize
from proxyaudit.reporting.words import answer, lead
from proxyaudit.types import Change, Estimate, Finding, Origin


def _finding(regime: str, verdict: Any, at_least: Any = None) -> Finding:
    return Finding(
        attribute="sex",
        role="protected",
        regime=regime,
        verdict=verdict,
        at_least=at_least,
        encoding="unknown",
        use=("unknown",),
        recoverable=("unknown",),
        origin=Origin(encoding="unknown", use="unknown"),
        change=Change(encoding="unknown", use="unknown"),
        sentence="",
    )


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["removed", "removed"], "Yes, removed."),
        (["exposed", "hidden"], "No, it is still in the model."),
        (["inconclusive", "inconclusive"], "Cannot be told."),
        (["exposed", "inconclusive"], "No, not removed wherever it could be told."),
        (["exposed", "removed"], "Only by some of the data."),
        (["removed", "inconclusive"], "Removed by some of the data; the rest cannot be told."),
    ],
)
def test_the_lead_is_about_synthetic_data(verdicts: list[str], expected: str) -> None:
    findings = [_finding(f"g{index}", verdict) for index, verdict in enumerate(verdicts)]
    for real in ("exposed", "hidden", "removed", "inconclusive"):
        # What real training had not put there was not removed either.
        there = real in ("exposed", "hidden")
        wanted = expected if there or expected != "Yes, removed." else "It is not in the model."
        assert lead([_finding("real", real), *findings]) == wanted


def test_removed_is_said_only_where_every_synthetic_verdict_is_removed() -> None:
    for verdicts in itertools.product(VERDICTS, repeat=3):
        text = lead([_finding("real", "exposed"), *(_finding(f"g{i}", v) for i, v in enumerate(verdicts))])
        assert (text == "Yes, removed.") == (set(verdicts) == {"removed"})


def test_what_the_label_explains_is_said_only_where_it_explains_everything() -> None:
    shown = [_finding("a", "exposed").model_copy(update={"basis": "explained_by_label"}), _finding("b", "inconclusive")]
    assert "explained by the true label" in answer(shown)
    assert "explained by the true label" not in answer([*shown, _finding("c", "exposed")])


def test_at_least_hidden_is_still_there_and_real_alone_is_no_answer_about_synthetic_data() -> None:
    assert lead([_finding("g", "inconclusive", "hidden")]) == "No, it is still in the model."
    assert lead([_finding("real", "exposed")]) == "It is in the model."
    assert lead([_finding("real", "removed")]) == "It is not in the model."
    assert lead([_finding("a", "exposed")], bare=True) == "Yes, it is in them."
    assert lead([]) == "No verdict."


def _answers(pack: EvidencePack, **more: Any) -> Answers:
    return answers_of(summarize(pack), **{"seeds": 3, "strongest": {}, **more})


def _words(answers: Answers) -> list[str]:
    return ["".join(part if isinstance(part, str) else part.text for part in step) for step in answers.steps]


def test_the_first_screen_answers_still_there_how_sure_and_what_next(pack: EvidencePack) -> None:
    found = _answers(pack, strongest={"sex": ("relationship", "occupation")})
    sex = found.items[0]
    assert (sex.name, sex.lead) == ("sex", "No, it is still in the model.")
    assert "Settled in all 3 models of each kind." in sex.sure
    # The largest gap of a synthetic kind, in points, with its interval and what would count.
    assert "After tvae data predictions differ by 25 points between groups (95 % interval 24 to 26; from 5 on it counts)" in sex.sure
    steps = _words(found)
    assert any(step.startswith("Do not release models trained on gaussian_copula and tvae data as free of “sex”") for step in steps)
    assert any("still hold “sex”" in step and "mixed-gaussian_copula-0.5" in step for step in steps)
    assert any("“sex” through “relationship” and “occupation”" in step for step in steps)
    assert any("proxyaudit mitigate RUN --attribute sex --regime gaussian_copula" in step for step in steps)
    assert any(
        "about 30\N{NARROW NO-BREAK SPACE}000 held-out rows" in step and "train 5 models of each kind (3 here)" in step for step in steps
    )
    assert any("may use “relationship”" in step for step in steps)


@pytest.mark.parametrize("verdict", VERDICTS)
def test_every_verdict_has_a_next_step_that_fits_it(verdict: str) -> None:
    pack = large_pack(("sex",), ("real", "vendor"), ("last",), verdicts=(verdict,))
    text = " ".join(_words(_answers(pack)))
    start = {"exposed": "Do not release", "hidden": "keep weights", "removed": "keep this report", "inconclusive": "Do not claim"}
    assert all((words in text) == (kind == verdict) for kind, words in start.items())


def test_commands_in_steps_are_quoted_for_a_shell() -> None:
    pack = large_pack(("a; rm -rf ~", "b"), ("real", "x $(y)"), ("last",), verdicts=("exposed",))
    codes = [part.text for step in _answers(pack).steps for part in step if isinstance(part, Code)]
    assert codes == ["proxyaudit mitigate RUN --attribute 'a; rm -rf ~' --regime 'x $(y)'"]


def test_attributes_with_the_same_answer_share_a_step() -> None:
    pack = large_pack(("a", "b", "c", "d", "e", "f", "p"), ("real", "vendor"), ("last",), verdicts=("exposed",))
    steps = _words(_answers(pack))
    assert sum("Do not release" in step for step in steps) == 1
    assert "“a”, “b”, “c”, “d” or 2 more" in steps[0]


def test_bare_activations_are_not_spoken_of_as_models(pack: EvidencePack) -> None:
    plan = {**pack.plan, "regimes": [{"name": name, "kind": "activations"} for name in ("real", "tvae")]}
    found = _answers(replace(pack, plan=plan), seeds=None)
    told = " ".join([*_words(found), *(item.sure for item in found.items)])
    assert "mitigate" not in told
    assert "Do not hand on the activations" in told
    assert "for these rows" in told


def test_a_ratio_that_could_not_be_formed_is_said_in_words(make_pack: Callable[..., EvidencePack]) -> None:
    none = Estimate(id="E1", channel="retention", attribute="a", regime="g", reason="nothing to keep")
    assert kept(none) == "cannot be compared with real"
    assert kept(none.model_copy(update={"value": 1.04, "low": 0.78, "high": 1.71})) == "104 % of real (78 to 171)"
