"""The questions of a scan, what each repetition's direction shows of them, and the answers with how often a clean model raises an alarm.

An alarm is a leak above its margin that nothing at all would not give (Holm over every question of the scan, 5 %); one context alone must
lie above beyond doubt, since a slice of few rows strays far. "Not" asks that a leak of the margin would hardly ever have looked as low.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from scipy import stats

from proxyaudit.arrays import Floats
from proxyaudit.audits.scan.inputs import Scanned
from proxyaudit.data.columns import NOT_SEEN
from proxyaudit.estimates.rounding import significant
from proxyaudit.evidence.signatures import Document, Entry, KnownAttribute
from proxyaudit.probes.attribute_direction import Reading
from proxyaudit.stats.p_values import holm

Answer = Literal["in the state", "not in the state", "cannot be told"]

LEVEL = 0.05
ABSENCE = 0.01
IN: Answer = "in the state"
NOT: Answer = "not in the state"
OPEN: Answer = "cannot be told"
FEWEST_ALIGNED = 0.5
LARGEST_MOVE = 0.5
SPREADS = (0.5, 2.0)
EXIT = {NOT: 0, IN: 1, OPEN: 3}


@dataclass(frozen=True)
class Judged:
    """What one repetition's direction shows in one question; of every array the first is the attribute, the rest are placebos."""

    reading: Reading  # leak and tail probabilities
    rows: int  # rows behind it
    mean: float  # mean activation, in expected spreads from the expected mean
    sd: float  # spread of the activation, in expected spreads
    facts: dict[str, float | None]  # how well the checkpoint aligns, and how far the inputs are from the run's


@dataclass(frozen=True)
class Question:
    """One question of a scan."""

    entry: Entry | None  # an entry of the signature; ``None`` for the leak in any direction
    context: str | None  # its context, ``None`` for all rows
    judged: tuple[Judged | None, ...]  # one for each repetition that is in the state; ``None`` where there are too few rows
    seeds: int  # repetitions of the run
    measured: bool  # whether the attribute is known on the inputs
    reason: str | None = None  # why it was not asked
    key: tuple[str, str | None, str | None, str] = field(default=("", None, None, ""))
    margin: float = 0.02

    def __post_init__(self) -> None:
        if self.entry is not None:
            object.__setattr__(self, "key", (self.entry.attribute, self.entry.level, self.entry.regime, self.entry.site))
            object.__setattr__(self, "margin", self.entry.margin)

    @property
    def readings(self) -> list[Reading]:
        """Readings of the repetitions."""
        return [j.reading for j in self.judged if j is not None]

    @property
    def asked(self) -> bool:
        """Whether there is anything to decide on."""
        return bool(self.readings) and len(self.readings) == len(self.judged)

    def leaks(self) -> Floats:
        """Median leak over repetitions, of the attribute and of every placebo."""
        return np.asarray(np.median([r.leak for r in self.readings], axis=0))

    def p_values(self) -> Floats:
        """Evidence for an alarm: twice the median over repetitions is valid however they depend (Meinshausen et al. 2009)."""
        each = [r.p_null if self.context is None else np.maximum(r.p_null, r.p_above) for r in self.readings]
        return np.asarray(each[0] if len(each) == 1 else np.minimum(1.0, 2 * np.median(each, axis=0)))

    def fact(self, name: str) -> float | None:
        """Median of a fact over repetitions."""
        values = [v for v in (j.facts.get(name) for j in self.judged if j is not None) if v is not None]
        return float(np.median(values)) if values else None

    def answer(self, adjusted: float) -> tuple[Answer, str | None]:
        """Answer and why it is open, with the p-value after Holm's correction over all questions of the scan."""
        if not self.asked:
            return OPEN, self.reason or "too few rows, or too few of a group"
        moved, spread = self.fact("moved"), self.fact("spread")
        if moved is None or spread is None or self.measured or self.entry is None:
            moved, spread = 0.0, 1.0
        if moved > LARGEST_MOVE or not SPREADS[0] <= spread <= SPREADS[1]:
            return OPEN, "the inputs differ from those of the run: the reference models themselves do not act on them as expected"
        above = float(self.leaks()[0]) >= self.margin
        if above and adjusted <= LEVEL:
            assured = self.fact("assured")
            if assured is not None and assured < 1:
                return OPEN, "what this model does not follow of the signature could be what tells the attribute"
            return IN, None
        alignment = self.fact("alignment")
        if not self.measured and alignment is not None and alignment < FEWEST_ALIGNED:
            shown = f"only {max(alignment, 0):.0%} of the reference's other activations can be predicted from this model's"
            return OPEN, f"{shown}: it may hold the attribute in a form of its own"
        if not above and all(r.p_below.flat[0] <= ABSENCE for r in self.readings):
            return NOT, None
        return OPEN, "the leak lies too near its margin for this many rows"


@dataclass(frozen=True)
class Decided:
    """A question with its answer and, where it is open, why."""

    question: Question
    answer: Answer
    reason: str | None


def answers(document: Document, questions: Sequence[Question], scanned: Scanned, attributes: Sequence[str] = ()) -> dict[str, Any]:
    """Decide all questions together; all ``attributes`` are asked for if none is named."""
    asked = [question for question in questions if question.asked]
    adjusted = iter(holm([float(question.p_values()[0]) for question in asked]) if asked else ())
    decided = [Decided(question, *question.answer(float(next(adjusted)) if question.asked else 1.0)) for question in questions]
    if any(found.bars_absence for found in scanned.inputs.unseen):
        decided = [replace(d, answer=OPEN, reason=NOT_SEEN) if d.answer == NOT else d for d in decided]
    names = [a for a in document.attributes if not attributes or a.name in attributes]
    found = []
    for attribute in names:
        own = [d for d in decided if d.question.key[0] == attribute.name]
        found.append(_attribute(attribute, document, own, measured=scanned.inputs.columns[attribute.name] is not None))
    known = [f["answer"] for f in found if f["known_state"] or f["answer"] == IN]
    answer: Answer = IN if IN in known else OPEN if not known or OPEN in known else NOT
    return {
        "answer": answer,
        "exit_code": EXIT[answer],
        "attributes": found,
        "false_alarms": _false_alarms(asked),
        "rows": len(scanned.codes),
        "notes": [
            {"what": note.what, "why": note.why} for note in (*scanned.inputs.notes, *(found.note() for found in scanned.inputs.unseen))
        ],
        "cells": len(asked),
        "level": LEVEL,
    }


def _attribute(attribute: KnownAttribute, document: Document, decided: Sequence[Decided], *, measured: bool) -> dict[str, Any]:
    signature = [d for d in decided if d.question.entry is not None]
    usable = [d for d in signature if d.question.seeds]
    whole = [d for d in usable if d.question.context is None]
    anywhere = [d for d in decided if d.question.entry is None]
    alarms = [d for d in usable if d.answer == IN]
    basis: str | None = None
    reason: str | None = None
    answer: Answer = OPEN
    if alarms:
        answer, basis = IN, "all contexts together" if any(d.question.context is None for d in alarms) else "single contexts"
    elif any(d.answer == IN for d in anywhere):
        answer, reason, basis = IN, "the attribute is inside, though not along the signature", "another direction"
    elif whole and all(d.answer == NOT for d in whole):
        answer = NOT
    else:
        reason = next((d.reason for d in (*whole, *signature) if d.reason), "the run holds no signature of it")
    shown = max((d for d in whole if d.question.asked), key=lambda d: float(d.question.leaks()[0]), default=None)
    return {
        "attribute": attribute.name,
        "answer": answer,
        "basis": basis,
        "reason": reason,
        "known_state": bool(usable),
        "measured": measured,
        **({} if shown is None else _summary(shown, usable, document)),
        "anywhere": [_numbers(d) | _where(d.question, "as_in") for d in anywhere],
        "signatures": [_signature(d, usable, document) for d in signature if d.question.context is None],
    }


def _where(question: Question, regime: str = "regime") -> dict[str, Any]:
    """Level, regime (under the name that it goes by) and site."""
    _, level, of, site = question.key
    return {"level": level, regime: of, "site": site}


def _summary(shown: Decided, usable: Sequence[Decided], document: Document) -> dict[str, Any]:
    """Leak and stability of the signature that shows most."""
    question, held = shown.question, document.contexts.held_out_by_name
    above = [float(r.leak.flat[0]) >= question.margin for r in question.readings]
    contexts = [d.question for d in usable if d.question.key == question.key and d.question.context is not None and d.question.asked]
    reach = [(held[str(one.context)], float(one.leaks()[0]) >= one.margin) for one in contexts]
    # What the question itself answers is one piece of the answer, which stands beside these numbers already.
    numbers = {name: value for name, value in _numbers(shown).items() if name not in ("answer", "reason")}
    return {
        **numbers,
        **_where(question),
        "seeds_above": sum(above),
        "seeds": len(above),
        "contexts_above": sum(up for _, up in reach),
        "contexts": len(reach),
        "held_out_above": sum(up for out, up in reach if out),
        "held_out": sum(out for out, _ in reach),
    }


def _numbers(decided: Decided) -> dict[str, Any]:
    question, said = decided.question, {"answer": decided.answer, "reason": decided.reason}
    if not question.asked:
        return said
    readings = question.readings
    return {
        **said,
        "leak": significant(float(question.leaks()[0])),
        "low": significant(float(np.median([r.low.flat[0] for r in readings]))),
        "high": significant(float(np.median([r.high.flat[0] for r in readings]))),
        "margin": question.margin,
        "p": significant(float(question.p_values()[0])),
        "surely_above": bool(np.median([r.p_above.flat[0] for r in readings]) <= LEVEL),
        "leak_by_seed": [significant(float(r.leak.flat[0])) for r in readings],
        # Fewer rows than the smallest group that may be shown are never asked, so the count can be.
        "rows": next(j.rows for j in question.judged if j is not None),
    }


def _signature(whole: Decided, usable: Sequence[Decided], document: Document) -> dict[str, Any]:
    """One signature: all contexts together, then each, those held out apart."""
    question, held = whole.question, document.contexts.held_out_by_name
    inside = [d for d in usable if d.question.key == question.key and d.question.context is not None]
    lines = [{"context": d.question.context, **_numbers(d), **_activations(d.question, document)} for d in inside]
    facts = {name: significant(question.fact(name)) for name in ("alignment", "alignment_held_out", "followed", "moved", "spread")}
    return {
        **_where(question),
        **_numbers(whole),
        **facts,
        "fitted_contexts": [line for line in lines if not held[str(line["context"])]],
        "held_out_contexts": [line for line in lines if held[str(line["context"])]],
    }


def _activations(question: Question, document: Document) -> dict[str, Any]:
    """Expected and seen activation in a context, in spreads around the mean over all contexts."""
    if not question.asked:
        return {}
    place = document.contexts.names.index(str(question.context)) + 1
    mine = [e.readings for e in document.entries if (e.attribute, e.level, e.regime, e.site) == question.key and e.known]
    expected = [
        ((here.mean - whole.mean) / whole.sd, here.sd / whole.sd)
        for whole, here in ((readings[0], readings[place]) for readings in mine)
        if whole.sd > 0 and here.rows
    ]
    judged = [(j.mean, j.sd) for j in question.judged if j is not None]
    return {
        "expected_activation": [significant(float(v)) for v in np.mean(expected, axis=0)] if expected else None,
        "activation": [significant(float(v)) for v in np.mean(judged, axis=0)],
    }


def _false_alarms(asked: Sequence[Question]) -> dict[str, Any]:
    """How many attributes that mean nothing would have raised an alarm in this very scan, over all questions together."""
    if not asked:
        return {"placebos": 0, "alarms": 0, "rate": None, "upper_95": None, "bound": LEVEL}
    names = list(dict.fromkeys(question.key[0] for question in asked))
    count = min(len(question.leaks()) - 1 for question in asked)
    alarms = 0
    for name in names:
        mine = [question for question in asked if question.key[0] == name]
        raised = [(q.leaks()[1 : count + 1] >= q.margin) & (q.p_values()[1 : count + 1] * len(asked) <= LEVEL) for q in mine]
        alarms += int(np.any(raised, axis=0).sum())
    total = count * len(names)
    upper = float(stats.beta.ppf(0.95, alarms + 1, total - alarms)) if total > alarms else 1.0
    rate = significant(alarms / total) if total else None
    return {"placebos": total, "alarms": alarms, "rate": rate, "upper_95": significant(upper), "bound": LEVEL}
