"""The words of a report: verdicts, states and references in plain language. What a check is called, its channel says."""

from __future__ import annotations

from typing import NamedTuple

from proxyaudit.estimates.questions import all_questions, deciding_names
from proxyaudit.reporting.text import DASH, MINUS


class VerdictWord(NamedTuple):
    """A verdict as a reader meets it: a symbol that needs no colour, a word, what it means, and its class on the page."""

    symbol: str
    word: str
    meaning: str
    short: str
    look: str


_MEANINGS = {
    "exposed": ("●", "the attribute shows in the model's outputs, or acts on them", "it shows in the outputs or acts on them"),
    "hidden": (
        "◐",
        "the outputs look clean, but the attribute is still inside the model and can be got out",
        "the outputs look clean, it is still inside",
    ),
    "removed": (
        "○",
        "every check that applies found the attribute absent, and the controls of absence passed",
        "every check that applies found it absent",
    ),
    "inconclusive": ("?", "these data cannot tell", "these data cannot tell"),
}
# "hidden" alone would read as the HTML attribute of that name.
VERDICTS: dict[str, VerdictWord] = {
    verdict: VerdictWord(symbol, verdict.capitalize(), meaning, short, "hidden-inside" if verdict == "hidden" else verdict)
    for verdict, (symbol, meaning, short) in _MEANINGS.items()
}

# The same verdicts on bare activations: there are no outputs to look at, the activations are what the consumer gets.
_OF_ACTIVATIONS = {
    "exposed": ("a linear reader gets the attribute out of the activations", "a linear reader gets it out"),
    "hidden": (
        "a linear reader finds nothing, but a non-linear one does, or one that knows what was conditioned on",
        "only a stronger reader gets it out",
    ),
    "removed": ("no reader found it, and each could have found it at its margin", "no reader found it, each could have"),
}
VERDICTS_OF_ACTIVATIONS = VERDICTS | {
    verdict: VERDICTS[verdict]._replace(meaning=meaning, short=short) for verdict, (meaning, short) in _OF_ACTIVATIONS.items()
}

# Symbol and word; the symbols differ in shape so that they survive print and colour blindness.
STATES: dict[str, tuple[str, str]] = {
    "present": ("✚", "present"),
    "absent": (MINUS, "absent"),
    "unknown": ("?", "unknown"),
    "not_applicable": ("·", "does not apply"),
    "not_measured": ("◌", "not measured"),
}

_DIRECTIONS = {"amplified": "▲", "unchanged": "=", "reduced": "▼", "eliminated": "▽", "unknown": "?"}
CHANGES: dict[str, str] = {word: f"{symbol} {word}" for word, symbol in _DIRECTIONS.items()} | {"not_applicable": DASH}

REFERENCE_WORDS: dict[str, str] = {
    "untrained": "the same architecture with random weights",
    "reweighed": "trained on real data, reweighed so that attribute and label are independent",
    "placebo": "invented attributes that the inputs know as well as this one (95th percentile)",
    "inputs": "the same reader on the model's inputs",
    "floor": "the same reader on shuffled labels",
}


def checks(*, bare: bool) -> tuple[str, ...]:
    """Names of the questions that a verdict rests on; of bare activations those that can be asked of them."""
    questions = all_questions()
    return tuple(name for name in deciding_names() if not bare or questions[name].of_activations)


def verdict_text(verdict: str | None, at_least: str | None) -> str:
    """A verdict as symbol and word."""
    if verdict is None:
        return DASH
    return f"{VERDICTS[verdict].symbol} {VERDICTS[verdict].word}" + (f", at least {at_least}" if at_least else "")


def state_word(state: str | None) -> str:
    """A state as symbol and word; numbers without one decide nothing."""
    return "reported only" if state is None else " ".join(STATES[state])


def plain_word(word: str) -> str:
    """An identifier as words."""
    return word.replace("_", " ")
