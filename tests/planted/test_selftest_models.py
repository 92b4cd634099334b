"""Counting in the self-test of planted models: what is wrong, what contradicts the construction, what passes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from proxyaudit.audits.selftest import run as selftest
from proxyaudit.audits.selftest.run import QUICK_ROWS, ModelCase, SelfTest, model_confusion, model_rates, model_tasks, models_passed
from proxyaudit.cli.console import show_selftest
from proxyaudit.planted.model_worlds import MODELS

CASE = ModelCase(
    kind="head_null",
    seed=0,
    n=400,
    expected="hidden",
    verdict="hidden",
    at_least=None,
    encoding="linear",
    use=("none",),
    recoverable=("beyond",),
    states={"linear": "present", "used": "absent", "expressed": "absent"},
    truth={"linear": "present", "used": "absent", "expressed": "absent", "elsewhere": "present"},
    expected_proxy=None,
    first_proxy=None,
    quiet_controls=True,
)


@pytest.mark.parametrize(
    ("changes", "wrong", "contradicted"),
    [
        ({}, False, ()),
        ({"verdict": "inconclusive", "at_least": "hidden", "states": {"linear": "present", "used": "unknown"}}, False, ()),
        ({"verdict": "removed", "states": {"linear": "absent"}}, True, ("linear",)),
        ({"verdict": "exposed", "use": ("used",), "states": {"used": "present"}}, True, ("used",)),
        ({"expected": "removed", "verdict": "inconclusive", "at_least": "hidden"}, True, ()),
    ],
)
def test_what_counts_as_wrong(changes, wrong, contradicted):
    case = replace(CASE, **changes)
    assert case.unused
    assert (case.wrong, case.contradicted) == (wrong, contradicted)
    assert models_passed([case]) is not wrong
    assert SelfTest((), 0, (case,)).passed is not wrong


def test_rates_and_confusion_of_models():
    cases = [
        CASE,
        replace(CASE, verdict="removed"),
        replace(CASE, verdict="exposed", use=("used",), quiet_controls=False),
        replace(
            CASE,
            kind="proxy_only",
            truth={"used": "present"},
            expected="exposed",
            verdict="exposed",
            expected_proxy="zip",
            first_proxy="x1",
        ),
    ]
    counts = {name.removeprefix("models: "): (rate["count"], rate["of"]) for name, rate in model_rates(cases).items()}
    assert counts == {
        "false removed": (1, 4),
        "wrong verdict": (2, 4),
        "a channel contradicts the construction": (1, 4),
        "use claimed where there is none": (1, 3),
        "controls of effects above the margin": (1, 3),
        "another proxy named first": (1, 1),
        "left open": (0, 4),
    }
    assert model_confusion(cases) == [
        ("head_null", "hidden", {"hidden": 1, "removed": 1, "exposed": 1}),
        ("proxy_only", "exposed", {"exposed": 1}),
    ]
    assert {kind for kind, *_ in model_tasks(3, quick=True, seed=0)} == set(MODELS)
    assert len({(kind, seed) for kind, seed, *_ in model_tasks(3, quick=False, seed=1)}) == 3 * len(MODELS)


def test_the_self_test_audits_worlds_and_one_model_of_each_kind(monkeypatch, capsys):
    asked = []

    def audit(kind, seed, *, n, checkpoints):
        asked.append((kind, seed, n, checkpoints))
        return replace(CASE, kind=kind, seed=seed)

    monkeypatch.setattr(selftest, "audit_planted_model", audit)
    monkeypatch.setattr(selftest, "QUICK", selftest.QUICK[-1:])
    events = []
    done = selftest.run_selftest(quick=True, seed=3, jobs=1, progress=events.append)
    assert asked == [(kind, 30_000, QUICK_ROWS, 1) for kind in MODELS]
    assert [case.kind for case in done.cases] == ["few_rows"]
    assert [(event.done, event.total) for event in events] == [(i + 1, len(MODELS) + 1) for i in range(len(MODELS) + 1)]
    assert done.passed
    assert json.loads(json.dumps(done.as_dict()))["models"]["cases"][0]["contradicted"] == []
    show_selftest(done)
    assert "12 planted models" in (shown := capsys.readouterr().out)
    assert "models: left open: 0 of 12" in shown
    assert not replace(done, models=(*done.models, replace(CASE, verdict="removed"))).passed
