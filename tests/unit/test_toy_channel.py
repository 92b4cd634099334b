"""A channel from another package decides verdicts: nothing but its registration names it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from proxyaudit import registry
from proxyaudit.errors import InputError
from proxyaudit.estimates.channel import Channel, Question, all_channels
from proxyaudit.estimates.conclude import conclude
from proxyaudit.estimates.ledger import Draft, Drafts, decide_ledger
from proxyaudit.estimates.questions import Part, all_questions, deciding_names, names_of, registered
from proxyaudit.estimates.scope import Scope
from proxyaudit.estimates.states import decide
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


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Sequence[Channel]], None]]:
    """Lets these channels alone be registered."""

    def register(channels: Sequence[Channel]) -> None:
        monkeypatch.setattr("proxyaudit.estimates.questions.registered", lambda: tuple(channels))
        all_questions.cache_clear()

    yield register
    monkeypatch.undo()
    all_questions.cache_clear()


@pytest.mark.parametrize("gone", ["leak", "outputs", "use", "relearning"])
def test_an_installation_that_lacks_a_channel_gives_no_verdict(gone: str, only: Callable[[Sequence[Channel]], None]) -> None:
    """Else everything that is left could be absent, and what nobody asked would be called removed."""
    only([channel for channel in all_channels() if channel.name != gone])
    with pytest.raises(InputError, match="the installation lacks the channel of"):
        decide({"linear": "absent"})


@pytest.mark.parametrize("part", ["reported", "recoverable"])
def test_another_package_cannot_take_a_question_over(part: Part, only: Callable[[Sequence[Channel]], None]) -> None:
    built_in = list(all_channels())
    only([*built_in, Channel("foreign", 80, (Question("used", part),))])
    with pytest.raises(InputError, match="two channels ask 'used'"):
        decide({"linear": "absent"})
    only([replace(one, questions=(Question("used", part),)) if one.name == "use" else one for one in built_in])
    with pytest.raises(InputError, match="lacks the channel of 'used'"):
        decide({"linear": "absent"})
