"""From readings to answers: in the known state, not in it, or it cannot be told; and how often a clean model would raise an alarm.

An alarm is a leak whose estimate lies above the margin and that nothing at all would not give (Holm over every cell of the scan, 5 %). One
context alone must moreover lie above its margin beyond doubt (the same Holm), since a slice of few rows strays far. "Not" asks, in every
repetition, that a leak of the margin would hardly ever have looked as low.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from scipy import stats

from proxyaudit.arrays import Floats
from proxyaudit.audits.scan.models import Scanned
from proxyaudit.data.unseen import NOT_SEEN
from proxyaudit.estimates.ledger import significant
from proxyaudit.evidence.signatures import Entry, KnownAttribute
from proxyaudit.probes.attribute_direction import Reading
from proxyaudit.stats.multiplicity import holm

Answer = Literal["in the state", "not in the state", "cannot be told"]

LEVEL = 0.05
ABSENCE = 0.01
IN, NOT, OPEN = "in the state", "not in the state", "cannot be told"
FEWEST_ALIGNED = 0.5
LARGEST_MOVE = 0.5
SPREADS = (0.5, 2.0)
EXIT = {NOT: 0, IN: 1, OPEN: 3}


@dataclass(frozen=True)
class Judged:
    """What one repetition's direction shows in one cell; of every array the first is the attribute, the rest are placebos.

    Attributes:
        reading: Leak and tail probabilities.
        rows: Rows behind it.
        mean: Mean activation, in expected spreads from the expected mean.
        sd: Spread of the activation, in expected spreads.
        facts: How well the checkpoint aligns, and how far the inputs are from the run's.
    """

    reading: Reading
    rows: int
    mean: float
    sd: float
    facts: dict[str, float | None]


@dataclass(frozen=True)
class Cell:
    """One question of a scan.

    Attributes:
        entry: An entry of the signature; ``None`` for the leak in any direction.
        context: Its context, ``None`` for all rows.
        judged: One for each repetition that is in the state; ``None`` where there are too few rows.
        seeds: Repetitions of the run.
        measured: Whether the attribute is known on the inputs.
        reason: Why it was not asked.
    """

    entry: Entry | None
    context: str | None
    judged: tuple[Judged | None, ...]
    seeds: int
    measured: bool
    reason: str | None = None
    key: tuple[str, str | None, str | None, str] = field(default=("", None, None, ""))
    margin: float = 0.02

    def __post_init__(self) -> None:
        """Take name and margin from the entry."""
        if self.entry is not None:
            object.__setattr__(self, "key", (self.entry.attribute, self.entry.level, self.entry.regime, self.entry.site))
            object.__setattr__(self, "margin", self.entry.margin)

    @staticmethod
    def left_out(entry: Entry, context: str | None, reason: str) -> Cell:
        """A cell that could not be asked."""
        return Cell(entry, context, (), 0, measured=False, reason=reason)

    @staticmethod
    def anywhere(attribute: str, level: str | None, regime: str | None, site: str, margin: float, judged: Judged) -> Cell:
        """The leak in whatever direction; with a regime where regimes use models in different ways."""
        return Cell(None, None, (judged,), 1, measured=True, key=(attribute, level, regime, site), margin=margin)

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

    def doubt(self) -> str | None:
        """Why an answer along the signature would not mean anything here."""
        if self.measured or self.entry is None:
            return None
        moved, spread = self.fact("moved"), self.fact("spread")
        if moved is not None and spread is not None and (moved > LARGEST_MOVE or not SPREADS[0] <= spread <= SPREADS[1]):
            return "the inputs differ from those of the run: the reference models themselves do not act on them as expected"
        return None

    def decide(self, adjusted: float) -> tuple[Answer, str | None]:
        """Answer and, where it is open, why."""
        if not self.asked:
            return "cannot be told", self.reason or "too few rows, or too few of a group"
        doubt = self.doubt()
        if doubt is not None:
            return "cannot be told", doubt
        above = float(self.leaks()[0]) >= self.margin
        if above and adjusted <= LEVEL:
            assured = self.fact("assured")
            if assured is not None and assured < 1:
                return "cannot be told", "what this model does not follow of the signature could be what tells the attribute"
            return "in the state", None
        alignment = self.fact("alignment")
        if not self.measured and alignment is not None and alignment < FEWEST_ALIGNED:
            shown = f"only {max(alignment, 0):.0%} of the reference's other activations can be predicted from this model's"
            return "cannot be told", f"{shown}: it may hold the attribute in a form of its own"
        if not above and all(r.p_below.flat[0] <= ABSENCE for r in self.readings):
            return "not in the state", None
        return "cannot be told", "the leak lies too near its margin for this many rows"


def answers(document: Any, cells: Sequence[Cell], scanned: Scanned, attributes: Sequence[str] = ()) -> dict[str, Any]:
    """Decide all cells together.

    Args:
        document: Of the signatures.
        cells: All that was asked.
        scanned: The checkpoint on the rows.
        attributes: Attributes asked for; all if empty.
    """
    asked = [cell for cell in cells if cell.asked]
    adjusted = dict(zip(map(id, asked), holm([float(cell.p_values()[0]) for cell in asked]), strict=True)) if asked else {}
    decided = [(cell, *cell.decide(float(adjusted.get(id(cell), 1.0)))) for cell in cells]
    if any(found.bars_absence for found in scanned.inputs.unseen):
        decided = [(d[0], "cannot be told", NOT_SEEN) if d[1] == NOT else d for d in decided]
    names = [a for a in document.attributes if not attributes or a.name in attributes]
    found = [_attribute(a, document, [d for d in decided if d[0].key[0] == a.name], scanned) for a in names]
    known = [f["answer"] for f in found if f["known_state"] or f["answer"] == IN]
    answer: str = IN if IN in known else OPEN if not known or OPEN in known else NOT
    return {
        "answer": answer,
        "exit_code": EXIT[answer],
        "attributes": found,
        "false_alarms": _false_alarms(asked),
        "rows": len(scanned.codes),
        "notes": [{"what": note.what, "why": note.why} for note in (found.note() for found in scanned.inputs.unseen)],
        "cells": len(asked),
        "level": LEVEL,
    }


def _attribute(
    attribute: KnownAttribute, document: Any, decided: list[tuple[Cell, Answer, str | None]], scanned: Scanned
) -> dict[str, Any]:
    signature = [d for d in decided if d[0].entry is not None]
    usable = [d for d in signature if d[0].seeds]
    whole = [d for d in usable if d[0].context is None]
    anywhere = [d for d in decided if d[0].entry is None]
    measured = scanned.inputs.columns[attribute.name] is not None
    alarms = [d for d in usable if d[1] == IN]
    basis = None
    reason: str | None
    if alarms:
        answer, reason = IN, None
        basis = "all contexts together" if any(d[0].context is None for d in alarms) else "single contexts"
    elif any(d[1] == IN for d in anywhere):
        answer, reason, basis = IN, "the attribute is inside, though not along the signature", "another direction"
    elif whole and all(d[1] == NOT for d in whole):
        answer, reason = NOT, None
    else:
        answer = OPEN
        left = [d[2] for d in (*whole, *signature) if d[2]]
        reason = left[0] if left else "the run holds no signature of it"
    shown = max((d for d in whole if d[0].asked), key=lambda d: float(d[0].leaks()[0]), default=None)
    return {
        "attribute": attribute.name,
        "answer": answer,
        "basis": basis,
        "reason": reason,
        "known_state": bool(usable),
        "measured": measured,
        **({} if shown is None else _summary(shown, usable, document)),
        "anywhere": [_numbers(d) | {"level": d[0].key[1], "as_in": d[0].key[2], "site": d[0].key[3]} for d in anywhere],
        "signatures": [_signature(d, usable, document) for d in signature if d[0].context is None],
    }


def _summary(shown: tuple[Cell, Answer, str | None], usable: list[tuple[Cell, Answer, str | None]], document: Any) -> dict[str, Any]:
    """Leak and stability of the signature that shows most."""
    cell = shown[0]
    above = [float(r.leak.flat[0]) >= cell.margin for r in cell.readings]
    held = dict(zip(document.contexts.names, document.contexts.held_out, strict=True))
    contexts = [c for c, _, _ in usable if c.key == cell.key and c.context is not None and c.asked]
    reach = [(held[str(c.context)], float(c.leaks()[0]) >= c.margin) for c in contexts]
    # What the cell itself says is one piece of the answer, which stands beside these numbers already.
    numbers = {name: value for name, value in _numbers(shown).items() if name not in ("answer", "reason")}
    return {
        **numbers,
        "regime": cell.key[2],
        "site": cell.key[3],
        "level": cell.key[1],
        "seeds_above": sum(above),
        "seeds": len(above),
        "contexts_above": sum(up for _, up in reach),
        "contexts": len(reach),
        "held_out_above": sum(up for out, up in reach if out),
        "held_out": sum(out for out, _ in reach),
    }


def _numbers(decided: tuple[Cell, Answer, str | None]) -> dict[str, Any]:
    cell, answer, reason = decided
    if not cell.asked:
        return {"answer": answer, "reason": reason}
    middle = {name: float(np.median([getattr(r, name).flat[0] for r in cell.readings])) for name in ("low", "high")}
    judged = [j for j in cell.judged if j is not None]
    found = {
        "leak": significant(float(cell.leaks()[0])),
        "low": significant(middle["low"]),
        "high": significant(middle["high"]),
        "margin": cell.margin,
        "p": significant(float(cell.p_values()[0])),
        "surely_above": bool(np.median([r.p_above.flat[0] for r in cell.readings]) <= LEVEL),
        "leak_by_seed": [significant(float(r.leak.flat[0])) for r in cell.readings],
    }
    # Fewer rows than the smallest cell that may be shown are never asked, so the count can be.
    return {"answer": answer, "reason": reason, **found, "rows": judged[0].rows}


def _signature(whole: tuple[Cell, Answer, str | None], usable: list[tuple[Cell, Answer, str | None]], document: Any) -> dict[str, Any]:
    """One signature: all contexts together, then each, those held out apart."""
    cell = whole[0]
    inside = [d for d in usable if d[0].key == cell.key and d[0].context is not None]
    held = dict(zip(document.contexts.names, document.contexts.held_out, strict=True))
    lines = [{"context": d[0].context, **_numbers(d), **_activations(d[0], document)} for d in inside]
    facts = {name: significant(cell.fact(name)) for name in ("alignment", "alignment_held_out", "followed", "moved", "spread")}
    return {
        "level": cell.key[1],
        "regime": cell.key[2],
        "site": cell.key[3],
        **_numbers(whole),
        **facts,
        "fitted_contexts": [line for line in lines if not held[str(line["context"])]],
        "held_out_contexts": [line for line in lines if held[str(line["context"])]],
    }


def _activations(cell: Cell, document: Any) -> dict[str, Any]:
    """Expected and seen activation in a context, in spreads around the mean over all contexts."""
    if not cell.asked:
        return {}
    place = document.contexts.names.index(cell.context) + 1
    mine = [e for e in document.entries if (e.attribute, e.level, e.regime, e.site) == cell.key and e.known]
    whole = [e.readings[0] for e in mine]
    here = [e.readings[place] for e in mine]
    judged = [j for j in cell.judged if j is not None]
    expected = [((h.mean - w.mean) / w.sd, h.sd / w.sd) for h, w in zip(here, whole, strict=True) if w.sd > 0 and h.rows]
    return {
        "expected_activation": [significant(float(v)) for v in np.mean(expected, axis=0)] if expected else None,
        "activation": [significant(float(np.mean([j.mean for j in judged]))), significant(float(np.mean([j.sd for j in judged])))],
    }


def _false_alarms(asked: Sequence[Cell]) -> dict[str, Any]:
    """How many attributes that mean nothing would have raised an alarm in this very scan, over all cells together."""
    if not asked:
        return {"placebos": 0, "alarms": 0, "rate": None, "upper_95": None, "bound": LEVEL}
    names = list(dict.fromkeys(cell.key[0] for cell in asked))
    count = min(len(cell.leaks()) - 1 for cell in asked)
    alarms = 0
    for name in names:
        mine = [cell for cell in asked if cell.key[0] == name]
        raised = np.zeros(count, dtype=bool)
        for cell in mine:
            raised |= (cell.leaks()[1 : count + 1] >= cell.margin) & (cell.p_values()[1 : count + 1] * len(asked) <= LEVEL)
        alarms += int(raised.sum())
    total = count * len(names)
    upper = float(stats.beta.ppf(0.95, alarms + 1, total - alarms)) if total > alarms else 1.0
    return {
        "placebos": total,
        "alarms": alarms,
        "rate": significant(alarms / total) if total else None,
        "upper_95": significant(upper),
        "bound": LEVEL,
    }
