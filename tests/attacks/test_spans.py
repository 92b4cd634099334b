"""Patterns of spans that were made to take for ever: one clear line, soon, for the recipe, for one text, and for all of them."""

from __future__ import annotations

import time

import pytest

from proxyaudit.errors import InputError
from proxyaudit.recipe import patterns
from proxyaudit.recipe.patterns import check_span, compile_spans

pytest.importorskip("regex", reason="the extra 'text' is not installed")
# Exponential in the text, and what is merely cubic: none is slow on a text without the mark that it ends in.
EXPONENTIAL = {r"(\w|\d\d)+!": "1" * 60, r"(?:\w\w|\w)+!": "a" * 60, r"(a|a)+!": "a" * 60, r"(\w\w\w|\w)+!": "ab" * 40}
SLOW = {r"(\w+\d)+!": "a1" * 300, r"\w*\w*\w*!": "a" * 700, r"(\w+\w)+!": "a1" * 300}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "SPAN_SECONDS", 0.2)
    monkeypatch.setattr(patterns, "SPANS_SECONDS", 0.5)


@pytest.mark.parametrize("pattern", list(EXPONENTIAL))
def test_one_text_does_not_take_for_ever(pattern: str) -> None:
    began = time.process_time()
    with pytest.raises(InputError, match="seconds for one text"):
        compile_spans({"s": pattern})["s"].find(EXPONENTIAL[pattern] + " !")
    assert time.process_time() - began < 2


@pytest.mark.long
@pytest.mark.parametrize("pattern", list(SLOW))
def test_nor_do_many(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "SPAN_SECONDS", 5.0)
    span, began = compile_spans({"s": pattern})["s"], time.process_time()
    with pytest.raises(InputError, match=r"seconds for \d+ texts"):
        list(map(span.find, [SLOW[pattern] + " !"] * 2000))
    assert time.process_time() - began < 5


@pytest.mark.parametrize("pattern", list(EXPONENTIAL))
def test_nor_does_the_pattern_itself(pattern: str) -> None:
    """It is tried on its own text, which its maker chose."""
    with pytest.raises(ValueError, match="for its own text"):
        check_span("s", f"{pattern}|{EXPONENTIAL[pattern]} !")


def test_plain_patterns_are_free() -> None:
    span = compile_spans({"s": r"\b(?:she|her|hers)\b|!!!"})["s"]
    for _ in range(3000):
        assert span.find("so she said !!! to her") == [(3, 6), (12, 15), (19, 22)]
