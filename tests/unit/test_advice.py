"""What would settle a verdict is computed: the checks that block it, and for each what, if anything, would unblock it; grammar included."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

import proxyaudit
from proxyaudit.estimates.advice import would_settle
from proxyaudit.estimates.conclude import conclude
from proxyaudit.estimates.ledger import UNSTABLE, Draft, Drafts, decide_ledger, reason_of
from proxyaudit.estimates.numbers import Numbers
from proxyaudit.estimates.remedies import lacks_models, remedy_of
from proxyaudit.estimates.scope import Scope, read_scope
from proxyaudit.estimates.sentences import Concluded
from proxyaudit.estimates.states import Outcome
from proxyaudit.stats.intervals import Interval, Measured
from proxyaudit.types import Change, Estimate, NotTested, Origin, Remedy

MODELS = Scope("outputs", {"sex": "protected"}, ("vendor",), verdict_sites=("last",), real=None)
BARE = Scope("activations", {"sex": "protected"}, ("vendor",), verdict_sites=("last",))
UNMEASURED = ("nonlinear", "elsewhere", "beyond", "expressed", "used", "relearned")
PACKAGE = Path(proxyaudit.__file__).parent


def number(channel: str, remedy: Remedy | None, **more: Any) -> Estimate:
    fields = {"id": "E1", "attribute": "sex", "regime": "vendor", "state": "unknown", "reason": "it is so", "n": 4000, "seeds": 3}
    return Estimate(**{**fields, "channel": channel, "remedy": remedy, **more})


def told(numbers: list[Estimate], scope: Scope = BARE) -> str:
    (finding,) = conclude(numbers, (), scope)
    return finding.would_settle or ""


def draft(channel: str = "linear", *, measure: str = "leak", values: tuple[float, ...] = (0.01,), **more: Any) -> Draft:
    measured = Measured(np.array(values), np.zeros(4), np.arange(4))
    fields = {"measured": measured, "margin": 0.02, "n": 1000, "present_p": 1.0, "absent_p": 0.4, "can_be_absent": True}
    return Draft(**{"channel": channel, "attribute": "sex", "regime": "vendor", "measure": measure, **fields, **more})


def decided(one: Draft) -> Estimate:
    (made,) = decide_ledger(Drafts([one])).estimates
    return made


# What a number lacks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "remedy", "rows"),
    [
        ({"extras": {"rows_needed": 13_712.0}}, "rows", 14_000),  # the channel knows how many
        ({"extras": {"rows_needed": 900.0}, "absent_p": 0.02}, "rows", 3700),  # there were as many: computed from the p-value
        ({"absent_p": 0.02}, "rows", 3700),
        ({"absent_p": 0.45}, "nothing", None),  # too near its margin
        ({"absent_p": 0.7}, "nothing", None),
        ({"can_be_absent": False, "reason": "a reader objects", "extras": {"rows_needed": 13_712.0}}, None, None),  # rows would not do
        ({"can_be_absent": False, "reason": "levels were pooled", "remedy": "merge"}, "merge", None),
        ({"values": (0.03,), "present_p": 0.2}, "rows", 15_000),  # above, but not surely
        ({"values": (0.03,), "present_p": 0.49}, "nothing", None),
        ({"values": (0.03,), "present_p": 0.49, "extras": {"rows_needed": 13_712.0}}, "rows", 14_000),  # absence, where there is nothing
        ({"values": (0.03,), "present_p": 0.2, "extras": {"rows_needed": 20_000.0}}, "rows", 20_000),
        ({"values": (0.01, 0.03), "present_p": 0.9}, "nothing", None),  # unstable: another model can only make it worse
        ({"values": (0.03,), "present_p": 0.001, "null_rejected": False}, "rows", None),
        ({"measured": None, "present_p": None, "reason": "the training failed"}, None, None),
        ({"absent_p": 0.001}, None, None),  # absent
    ],
)
def test_what_an_unknown_number_lacks_is_computed(change: dict[str, Any], remedy: Remedy | None, rows: int | None) -> None:
    made = decided(draft(**change))
    assert (made.remedy, made.rows_needed) == (remedy, rows)
    assert (made.reason is None) == (made.state == "absent")


def effect(values: tuple[float, ...], half: float, **more: Any) -> Estimate:
    fields = {"measure": "effect", "margin": 0.02, "seed_values": values, "low": np.mean(values) - half, "high": np.mean(values) + half}
    return number("used", None, **{**fields, "seeds": len(set(values)), **more})


def test_more_models_are_advised_only_where_they_can_help() -> None:
    spread = effect((0.001, 0.004, 0.007), 0.0035)
    assert lacks_models(spread)  # each model surely below, the mean over three unsure
    assert not lacks_models(effect((0.001, 0.004, 0.007), 0.02))  # rows are what is unsure
    assert not lacks_models(effect((0.004, 0.004, 0.004), 0.0035))  # frozen: all repetitions are one
    assert not lacks_models(effect((0.004,), 0.0035))
    assert not lacks_models(spread.model_copy(update={"measure": "leak"}))  # told by the largest p-value over models
    assert not lacks_models(spread.model_copy(update={"measure": "output_leak_nonlinear"}))
    assert remedy_of(spread.model_copy(update={"p_absent": 0.03}), "between", 1.0, None, None) == ("models", None)


@pytest.mark.parametrize("outcome", [one for one in get_args(Outcome) if one not in ("present", "absent", "asks nothing")])
@pytest.mark.parametrize("measure", ["leak", "leak_nonlinear", "output_leak"])
def test_leaks_are_never_told_to_want_more_models(outcome: Outcome, measure: str) -> None:
    for p in (0.02, 0.2, 0.6):
        e = effect((0.001, 0.004, 0.007), 0.0035, measure=measure, p_present=p, p_absent=p)
        assert remedy_of(e, outcome, 1.0, None, None)[0] != "models"


# What a finding is told --------------------------------------------------------------------------------------------


def test_each_check_that_blocks_is_named_with_what_would_unblock_it() -> None:
    rows, barred = number("linear", "rows", rows_needed=12_000), number("nonlinear", None, reason="a stronger reader finds a trace")
    assert told([rows, barred]) == (
        "linear leak: about 12,000 audit rows (4,000 were used); non-linear leak: a stronger reader finds a trace"
    )
    same = [rows, number("nonlinear", "rows", rows_needed=12_000)]
    assert told(same) == "linear leak and non-linear leak: about 12,000 audit rows (4,000 were used)"
    hopeless = told([number("linear", "nothing", reason=UNSTABLE), number("nonlinear", "rows")])
    assert hopeless.startswith("linear leak: nothing at hand would settle it (the trained models differ")


def test_a_check_that_found_it_blocks_nothing_and_neither_do_others_where_it_is_at_least_hidden() -> None:
    present = number("linear", None, state="present", reason=None, value=0.1)
    others = [number(name, "rows") for name in UNMEASURED]
    said = told([present, number("linear", "merge", site="other"), *others], MODELS)
    assert said == "outputs and interchange effect: more audit rows (4,000 were used)"


def test_a_cap_and_people_are_said_beside_rows() -> None:
    recipe = {"data": {"max_rows": 5000, "group": "person"}}
    plan = {"rows": {"train": 3480, "audit": 1500}, "regimes": [{"name": "vendor", "kind": "release"}]}
    scope = read_scope({**plan, "attributes": [{"name": "sex", "role": "protected"}]}, recipe, {})
    assert (scope.max_rows, scope.group) == (5000, "person")
    said = told([number("linear", "rows", rows_needed=9000)], Scope(**{**vars(BARE), "group": "person", "max_rows": 5000}))
    start = (
        "linear leak: about 9,000 audit rows of other people ('person') (4,000 were used), for which data.max_rows (5,000) can be raised"
    )
    assert said.startswith(start)
    assert read_scope(plan, {"data": {"max_rows": 50_000}}, {}).max_rows is None  # the data hold no more
    assert read_scope(plan, {}, {}).max_rows is None


def test_what_was_not_measured_is_said() -> None:
    first, second = told([number("linear", "rows")]).split("; ")
    assert first == "linear leak: more audit rows (4,000 were used)"
    assert second == "non-linear leak: a measurement, which is missing"


# Grammar -----------------------------------------------------------------------------------------------------------


def _constants(*names: str) -> Iterator[str]:
    """Words that stand in the code as the value of these arguments, fields or upper-case names."""
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if not any(name in text for name in names):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.keyword) and node.arg in names:
                yield from _texts(node.value)


def _texts(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values)
    elif isinstance(node, ast.IfExp):
        yield from (*_texts(node.body), *_texts(node.orelse))


REASONS = sorted({text for text in _constants("reason", "null_reason") if " " in text} | {UNSTABLE})


def sound(text: str) -> None:
    assert text == text.strip()
    assert not re.search(r"\s{2}|[;:,.]\s*[;:,.]|\(\s|\s\)|\(\)", text), text
    assert text.count("(") == text.count(")")
    assert not text.endswith((".", ";", ":", ",")), text
    assert "more seeds" not in text


def test_reasons_are_clauses_that_can_stand_in_a_sentence() -> None:
    assert len(REASONS) > 12
    for reason in REASONS:
        assert not reason.endswith("."), reason
        assert reason[:1].islower() or reason[:1] in "0123456789'x", reason
        assert "more seeds" not in reason, reason


@pytest.mark.parametrize("surface", ["outputs", "activations", "prompts"])
def test_every_template_joined_with_every_reason_reads_as_a_sentence(surface: Any) -> None:
    remedies: list[Remedy | None] = [None, *get_args(Remedy)]
    channels = ("linear", "nonlinear") if surface == "activations" else ("expressed", "used", "relearned")
    outcomes = [one for one in get_args(Outcome) if one not in ("present", "absent")]
    lacking: list[tuple[Remedy | None, int | None]] = [(None, None), ("rows", 3000), ("nothing", None)]
    given = product((None, *REASONS), outcomes, lacking)
    made = {reason_of(draft(reason=reason), outcome, *lacks) for reason, outcome, lacks in given}
    reasons = sorted(reason for reason in made if reason)
    for group, cap in product((None, "person"), (None, 5000)):
        scope = Scope(surface, {"sex": "protected"}, ("vendor",), group=group, max_rows=cap)
        for index, remedy in enumerate(remedies):
            for place, reason in enumerate(reasons):
                other = remedies[(index + place) % len(remedies)]
                pair = [number(channels[0], remedy, reason=reason), number(channels[1], other, reason=reasons[place - 1], rows_needed=9000)]
                text = told(pair, scope)
                sound(text)
                assert re.match(r"[a-z][\w ,'-]*: \S", text), text
                assert not text.startswith("too few"), text


def test_advice_on_failed_repetitions_follows_on_to_settle_it() -> None:
    scope = Scope("outputs", {"sex": "protected"}, ("vendor",), failures={"vendor": ("train vendor, repetition 0: out of luck",)})
    assert told([], scope) == "the failed repetitions, run again: train vendor, repetition 0: out of luck"


def test_what_was_not_tested_is_a_phrase_and_never_turned_round() -> None:
    phrases = [text for text in _constants("what") if " " in text]
    assert len(phrases) > 20
    for phrase in phrases:
        assert " apart from " not in phrase, phrase
        assert not phrase.endswith((".", ":", ";")), phrase
    assert NotTested(what=phrases[0], why="it is so").what == phrases[0]


def test_nothing_is_advised_where_the_verdict_stands() -> None:
    states = dict.fromkeys(("linear", "nonlinear"), "absent")
    own = [number(name, None, state=state, reason=None, site="last") for name, state in states.items()]
    numbers = Numbers(own, BARE)
    change, origin = Change(encoding="unknown", use="unknown"), Origin(encoding="unknown", use="unknown")
    about = Concluded("sex", "vendor", numbers.decision("sex", "vendor"), tuple(own), change, origin, None, False)
    assert would_settle(about, numbers) is None
    assert Interval(0.0, 0.0, 0.0, 0.0, 1.0).value == 0.0
