"""What a scan answers: an alarm along any direction or in any context is not undone by what one signature says."""

from __future__ import annotations

import numpy as np
import pytest

from proxyaudit.audits.scan.answers import IN, NOT, OPEN, Answer, Decided, Judged, Question, _attribute
from proxyaudit.evidence.signatures import Contexts, Document, Entry, KnownAttribute
from proxyaudit.evidence.signatures import Reading as Expected
from proxyaudit.probes.attribute_direction import Reading

SEX = KnownAttribute(name="sex", role="protected", kind="binary", levels=("f", "m"))
CONTEXTS = Contexts(column=None, names=("slice 1",), held_out=(True,))
EXPECTED = tuple(Expected(context=name, rows=100, rate=0.5, mean=0, sd=1, by_group=None, leak=0.1) for name in (None, "slice 1"))
NAMED = {"attribute": "sex", "level": "m", "regime": "real", "site": "penultimate"}
ENTRY = Entry(**NAMED, seed=0, state=None, margin=0.02, low=0.05, high=0.2, threshold=None, known=True, width=4, readings=EXPECTED)
DOCUMENT = Document(
    plan_digest="",
    kinds=(),
    features=(),
    encoder=(),
    classes=2,
    group=None,
    attributes=(SEX,),
    contexts=CONTEXTS,
    references=(),
    entries=(ENTRY,),
    placebos=0,
)


def judged(leak: float) -> Judged:
    return Judged(Reading(*(np.array([leak]) for _ in range(3)), *(np.array([0.5]) for _ in range(3))), 100, 0.0, 1.0, {})


def along(leak: float, answer: Answer, reason: str | None = None, *, context: str | None = None) -> Decided:
    """The signature, over all rows or in a context."""
    return Decided(Question(ENTRY, context, (judged(leak),), 1, measured=True), answer, reason)


def anywhere(leak: float, answer: Answer) -> Decided:
    """Any direction."""
    question = Question(None, None, (judged(leak),), 1, measured=True, key=("sex", "m", None, "penultimate"), margin=0.02)
    return Decided(question, answer, None)


@pytest.mark.parametrize(
    ("decided", "answer", "basis"),
    [
        ([along(0.001, NOT), anywhere(0.05, IN)], IN, "another direction"),
        ([along(0.001, NOT), along(0.05, IN, context="slice 1")], IN, "single contexts"),
        ([along(0.015, NOT), along(0.01, OPEN, "too few rows")], OPEN, None),
        ([along(0.001, NOT), along(0.001, NOT)], NOT, None),
        ([along(0.05, IN), along(0.001, NOT)], IN, "all contexts together"),
    ],
)
def test_one_question_does_not_overrule_the_answer(decided: list[Decided], answer: str, basis: str | None) -> None:
    found = _attribute(SEX, DOCUMENT, decided, measured=False)
    assert (found["answer"], found["basis"]) == (answer, basis)
    assert found["leak"] is not None
    assert found["reason"] is not None or answer != OPEN
    inside = found["signatures"][0]["held_out_contexts"]
    assert [line["activation"] for line in inside] == [[0.0, 1.0]] * sum(d.question.context is not None for d in decided)
