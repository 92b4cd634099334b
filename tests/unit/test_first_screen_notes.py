"""What the first screen says of releases that a model cannot learn from as their maker meant."""

from __future__ import annotations

import pytest

from proxyaudit.reporting.sentences import odd_releases
from proxyaudit.types import HOLDS_REAL, LOOSE, NotTested


@pytest.mark.parametrize(
    ("note", "told"),
    [
        (NotTested(what=HOLDS_REAL.format("vendor-1"), why="79 % of its rows equal a real row, so it shows"), ["Release vendor-1", "79 %"]),
        (NotTested(what=f"{LOOSE.format('v2')}: age and pay", why="each is spread"), ["In release v2", "(age and pay)"]),
        (NotTested(what="other sites", why="no verdict rests on it"), []),
    ],
)
def test_a_release_that_teaches_nothing_is_told_first(note: NotTested, told: list[str]) -> None:
    lines = list(odd_releases([note]))
    assert len(lines) == bool(told)
    assert all(word in lines[0] for word in told)
    assert all(len(sentence.split()) <= 30 for line in lines for sentence in line.split(". "))
