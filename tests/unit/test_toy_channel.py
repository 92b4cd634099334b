"""A channel from another package decides verdicts: nothing but its registration names it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from proxyaudit import registry
from proxyaudit.estimates.channel import Channel, Question
from proxyaudit.estimates.conclude import conclude
from proxyaudit.estimates.draft import Draft
from proxyaudit.estimates.ledger import Drafts, decide_ledger
from proxyaudit.estimates.questions import all_questions, deciding_names, names_of, registered
from proxyaudit.estimates.scope import Scope
from proxyaudit.estimates.verdicts import decide
from proxyaudit.stats.intervals import Measured, p_above, p_below
from tests.helpers.measured import steady

TOY = Channel("toy", 70, (Question("toy_leak", "recoverable", ("leak",)), Question("toy_note")))
SCOPE = Scope("outputs", {"sex": "protected"}, ("real",), real="real", margins={"leak": 0.02})
MARGINS = {"linear": 0.02, "nonlinear": 0.1, "elsewhere": 0.02, "beyond": 0.02, "expressed": 0.05, "used": 0.02, "relearned": 0.05}


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Channel]:
    module = ModuleType("toy_channel_of_a_test")
    module.CHANNEL = TOY  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    point = EntryPoint("toy", f"{module.__name__}:CHANNEL", "proxyaudit.channels")
    real = registry._points
    monkeypatch.setattr(registry, "_points", lambda group: (*real(group), *((point,) if group == "channels" else ())))
    for cached in (registered, all_questions):
        cached.cache_clear()
    yield TOY
    monkeypatch.undo()
    for cached in (registered, all_questions):
        cached.cache_clear()


def draft(channel: str, margin: float, value: float) -> Draft:
    measured: Measured = steady(value)
    tests = {"present_p": p_above(measured, margin), "absent_p": p_below(measured, margin)}
    return Draft(channel, "sex", "real", measured=measured, margin=margin, can_be_absent=True, **tests)


def test_a_toy_channel_decides_hidden_and_bars_removed(toy: Channel) -> None:
    assert names_of("recoverable") == ("elsewhere", "relearned", "toy_leak", "beyond")
    assert deciding_names()[-1] == "toy_leak"
    absent = dict.fromkeys(deciding_names(), "absent")
    assert decide(absent).verdict == "removed"
    assert decide({**absent, "toy_leak": "present"}).verdict == "hidden"
    assert decide({k: v for k, v in absent.items() if k != "toy_leak"}).verdict == "inconclusive"


@pytest.mark.parametrize(("value", "verdict", "mechanisms"), [(0.3, "hidden", ("toy_leak",)), (0.0, "removed", None)])
def test_a_toy_number_reaches_the_finding(toy: Channel, value: float, verdict: str, mechanisms: tuple[str, ...] | None) -> None:
    drafts = [draft(name, margin, 0.0) for name, margin in MARGINS.items()]
    task = Draft("task", "", "real", measure="auroc", measured=steady(0.8), decides=False)
    ledger = decide_ledger(Drafts([*drafts, draft("toy_leak", 0.02, value), task]))
    (found,) = conclude(ledger.estimates, ledger.controls, SCOPE)
    assert found.verdict == verdict
    assert found.mechanisms == (mechanisms or deciding_names())
    assert ("toy_leak" in found.recoverable) == (verdict == "hidden")
    (without,) = conclude([e for e in ledger.estimates if e.channel != "toy_leak"], (), SCOPE)
    assert without.verdict == "inconclusive"
