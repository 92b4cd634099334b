"""The questions of a scan: what every repetition's direction shows, and whether it is an alarm.

An alarm is a leak above its margin that nothing at all would not give (Holm over every question of the scan, 5 %); one context alone must
lie above beyond doubt, since a slice of few rows strays far. "Not" asks that a leak of the margin would hardly ever have looked as low.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from proxyaudit.arrays import Floats
from proxyaudit.evidence.signatures import Entry
from proxyaudit.probes.attribute_direction import Reading

Answer = Literal["in the state", "not in the state", "cannot be told"]

LEVEL = 0.05
ABSENCE = 0.01
IN: Answer = "in the state"
NOT: Answer = "not in the state"
OPEN: Answer = "cannot be told"
FEWEST_ALIGNED = 0.5
LARGEST_MOVE = 0.5
SPREADS = (0.5, 2.0)


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
        """Take name and margin from the entry."""
        if self.entry is not None:
            object.__setattr__(self, "key", (self.entry.attribute, self.entry.level, self.entry.regime, self.entry.site))
            object.__setattr__(self, "margin", self.entry.margin)

    @staticmethod
    def anywhere(attribute: str, level: str | None, regime: str | None, site: str, margin: float, judged: Judged) -> Question:
        """The leak in whatever direction; with a regime where regimes use models in different ways."""
        return Question(None, None, (judged,), 1, measured=True, key=(attribute, level, regime, site), margin=margin)

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

    def decide(self, adjusted: float) -> Decided:
        """Answer, with the p-value after Holm's correction over all questions of the scan."""
        return Decided(self, *self._answer(adjusted))

    def _answer(self, adjusted: float) -> tuple[Answer, str | None]:
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
