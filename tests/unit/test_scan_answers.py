"""What a scan answers: an alarm along any direction or in any context is not undone by what one signature says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from proxyaudit.audits.scan import answers as scan_answers
from proxyaudit.audits.scan.answers import IN, NOT, OPEN
from proxyaudit.evidence.signatures import KnownAttribute

SEX = KnownAttribute(name="sex", role="protected", kind="binary", levels=("f", "m"))


def cell(leak: float, *, entry: Any = "a signature", context: str | None = None) -> Any:
    names = ("leak", "low", "high", "p_above")
    reading = SimpleNamespace(**{name: np.array([leak]) for name in names})
    return SimpleNamespace(
        entry=entry,
        seeds=(0,),
        context=context,
        asked=True,
        key=("sex", "m", "real", "penultimate"),
        margin=0.02,
        readings=[reading],
        judged=[SimpleNamespace(rows=100)],
        leaks=lambda: np.array([leak]),
        p_values=lambda: np.array([0.5]),
    )


@pytest.mark.parametrize(
    ("decided", "answer", "basis"),
    [
        ([(cell(0.001), NOT, None), (cell(0.05, entry=None), IN, None)], IN, "another direction"),
        ([(cell(0.001), NOT, None), (cell(0.05, context="slice 1"), IN, None)], IN, "single contexts"),
        ([(cell(0.015), NOT, None), (cell(0.01), OPEN, "too few rows")], OPEN, None),
        ([(cell(0.001), NOT, None), (cell(0.001), NOT, None)], NOT, None),
        ([(cell(0.05), IN, None), (cell(0.001), NOT, None)], IN, "all contexts together"),
    ],
)
def test_one_cell_does_not_overrule_the_answer(decided: list[Any], answer: str, basis: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_answers, "_signature", lambda *_: {})
    document = SimpleNamespace(contexts=SimpleNamespace(names=("slice 1",), held_out=(True,)))
    scanned = SimpleNamespace(inputs=SimpleNamespace(columns={"sex": None}))
    found = scan_answers._attribute(SEX, document, decided, scanned)  # type: ignore[arg-type]
    assert (found["answer"], found["basis"]) == (answer, basis)
    assert found["leak"] is not None
