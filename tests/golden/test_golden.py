"""Eight tiny audits find and say what they did when they were frozen; ``freeze.py`` tells how to freeze a deliberate change."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.golden.cases import CASES
from tests.golden.comparing import ACROSS_PROCESSORS, EXACT, decisions_apart, masked, read_nearest, renumbered, reworded, words_apart

pytestmark = pytest.mark.long

SHOWN = 20
DOCUMENT: dict[str, Any] = {
    "run": {"id": "0123456789ab", "versions": {"numpy": "2"}},
    "estimates": [
        {"id": "E1", "state": "present", "value": 0.25, "seeds": 2, "beyond_null": True, "context": "signed", "reason": None},
        {"id": "E2", "state": None, "value": None, "seeds": 2, "beyond_null": None, "context": "gap", "reason": "only 12.5% are found"},
    ],
    "findings": [{"verdict": "exposed", "sentence": "It leaks 0.25 of 1,120 rows.", "would_settle": None}],
    "not_tested": [{"what": "tokens", "why": "too many"}],
}


@pytest.fixture(scope="session", params=sorted(CASES))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """Frozen and new documents of a case."""
    pytest.importorskip("transformers", reason="the extra 'text' is not installed") if request.param in ("text", "prompts") else None
    made = renumbered(masked(CASES[request.param](tmp_path_factory.mktemp(request.param))))
    return read_nearest(request.param, made), made


def test_numbers_and_decisions(case: tuple[Any, Any]) -> None:
    lines = decisions_apart(*case, ACROSS_PROCESSORS)
    assert not lines, f"{len(lines)} differences:\n" + "\n".join(lines[:SHOWN])


def test_words(case: tuple[Any, Any]) -> None:
    lines = words_apart(*case)
    assert not lines, f"{len(lines)} differences:\n" + "\n".join(lines[:SHOWN])


def changed(*path: Any, to: Any) -> Any:
    """The document with one value changed."""
    document = copy.deepcopy(DOCUMENT)
    node: Any = document
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = to
    return document


@pytest.mark.parametrize(
    ("path", "to", "decisions", "words"),
    [
        (("estimates", 0, "value"), 0.2501, 1, 0),
        (("estimates", 0, "value"), 0.25 + 1e-9, 0, 0),
        (("estimates", 0, "value"), None, 1, 0),
        (("estimates", 1, "value"), 0.0, 1, 0),
        (("estimates", 0, "state"), "unknown", 1, 0),
        (("estimates", 0, "id"), "E7", 1, 0),
        (("estimates", 0, "beyond_null"), 1, 1, 0),
        (("estimates",), DOCUMENT["estimates"][:1], 1, 0),
        (("estimates", 0), {"id": "E1"}, 6, 0),
        (("findings", 0, "verdict"), "hidden", 1, 0),
        (("estimates", 0, "measure"), "signed", 0, 0),
        (("run", "id"), "ba9876543210", 0, 0),
        (("run", "versions"), {}, 0, 0),
        (("estimates", 0, "context"), "per row", 0, 1),
        (("estimates", 0, "reason"), "something", 0, 1),
        (("estimates", 1, "reason"), "only 12.6% are found", 0, 0),
        (("estimates", 1, "reason"), "only 12.7% are found", 0, 1),
        (("findings", 0, "sentence"), "It leaks 0.25 of 1,121 rows.", 0, 1),
        (("not_tested",), [], 0, 1),
        (("not_tested", 0, "why"), "too many of them", 0, 1),
    ],
)
def test_the_comparison_tells_numbers_from_words(path: tuple[Any, ...], to: Any, decisions: int, words: int) -> None:
    frozen, found = masked(DOCUMENT), masked(changed(*path, to=to))
    assert len(decisions_apart(frozen, found, ACROSS_PROCESSORS)) == decisions
    assert len(words_apart(frozen, found)) == words
    if not decisions:
        anew = reworded(frozen, found)
        assert decisions_apart(frozen, anew, EXACT) == words_apart(found, anew, exact=True) == []
