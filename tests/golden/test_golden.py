"""Eight tiny audits find and say what they did when they were frozen; ``freeze.py`` tells how to freeze a deliberate change."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.golden.cases import CASES
from tests.golden.comparing import ACROSS_PROCESSORS, decisions_apart, masked, read_frozen, words_apart

_SHOWN = 20


@pytest.fixture(scope="session", params=sorted(CASES))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """Frozen and new documents of a case."""
    name, started = request.param, time.process_time()
    documents = masked(CASES[name](tmp_path_factory.mktemp(name)))
    print(f"{name}: {time.process_time() - started:.1f} s of processor time")
    return read_frozen(name), documents


def test_numbers_and_decisions(case: tuple[Any, Any]) -> None:
    lines = decisions_apart(*case, ACROSS_PROCESSORS)
    assert not lines, f"{len(lines)} differences:\n" + "\n".join(lines[:_SHOWN])


def test_words(case: tuple[Any, Any]) -> None:
    lines = words_apart(*case)
    assert not lines, f"{len(lines)} differences:\n" + "\n".join(lines[:_SHOWN])
