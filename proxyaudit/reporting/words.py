"""The words of a report: verdicts, states and references in plain language. What a check is called, its channel says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from proxyaudit.estimates.channel import all_channels
from proxyaudit.estimates.questions import all_questions, deciding_names
from proxyaudit.reporting.text import DASH, MINUS, capital


class VerdictWord(NamedTuple):
    """A verdict as a reader meets it: a symbol that needs no colour, a word, what it means, and its class on the page."""

    symbol: str
    word: str
    meaning: str
    short: str
    look: str


VERDICTS: dict[str, VerdictWord] = {
    "exposed": VerdictWord(
        "●", "Exposed", "the attribute shows in the model's outputs, or acts on them", "it shows in the outputs or acts on them", "exposed"
    ),
    "hidden": VerdictWord(
        "◐",
        "Hidden",
        "the outputs look clean, but the attribute is still inside the model and can be got out",
        "the outputs look clean, it is still inside",
        # "hidden" alone would read as the HTML attribute of that name.
        "hidden-inside",
    ),
    "removed": VerdictWord(
        "○",
        "Removed",
        "every check that applies found the attribute absent, and the controls of absence passed",
        "every check that applies found it absent",
        "removed",
    ),
    "inconclusive": VerdictWord("?", "Inconclusive", "these data cannot tell", "these data cannot tell", "inconclusive"),
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

CHANGES: dict[str, str] = {
    "amplified": "▲ amplified",
    "unchanged": "= unchanged",
    "reduced": "▼ reduced",
    "eliminated": "▽ eliminated",
    "unknown": "? unknown",
    "not_applicable": DASH,
}

REFERENCE_WORDS: dict[str, str] = {
    "untrained": "the same architecture with random weights",
    "reweighed": "trained on real data, reweighed so that attribute and label are independent",
    "placebo": "invented attributes that the inputs know as well as this one (95th percentile)",
    "inputs": "the same reader on the model's inputs",
    "floor": "the same reader on shuffled labels",
}

# What a passed control shows; a channel's own stand with the channel.
_CONTROLS = {
    "negative": "with shuffled labels nothing is found",
    "positive": "a trace planted on purpose is found",
    "repetition": "repetitions are not copies of one another",
}
_LEAST = ("At least hidden", "Something of the attribute is certainly inside; whether it also shows or acts is not settled.")
_TERMS = (
    ("Verdict site", "The place that the verdict rests on; by default the last one before the output layer, or every site given."),
    (
        "Margin",
        "The smallest amount that counts. An attribute is called absent only if an amount as large as the margin would have been found.",
    ),
    ("Detection limit", "The smallest planted leak that the reader found in 95 % of trials."),
    ("Interval", "95 % confidence interval unless said otherwise, over audit rows and, where there are several, trained models."),
    ("Protected / proxy", "The attribute that must not matter, and a column that may stand in for it."),
    ("Learned / relayed", "Training put it there, or the model merely passes on what its inputs carry."),
    ("Basis", "Whether what is found remains among people with the same label (beyond label) or is explained by the label."),
    ("Reported only", "A number that is shown for context and that no verdict rests on."),
)


def checks(*, bare: bool) -> tuple[str, ...]:
    """Names of the questions that a verdict rests on; of bare activations those that can be asked of them."""
    questions = all_questions()
    return tuple(name for name in deciding_names() if not bare or questions[name].of_activations)


def glossary(verdicts: Mapping[str, VerdictWord], *, bare: bool) -> tuple[tuple[str, str], ...]:
    """Terms and what they mean; of bare activations none that speak of models."""
    asked: list[tuple[str, str]] = []
    said = [(f"{word.symbol} {word.word}", f"{capital(word.meaning)}.") for word in verdicts.values()]
    for question in map(all_questions().__getitem__, checks(bare=bare)):
        asked += question.terms or [(question.word, question.asks)] if question.word else []
    shown = list(REFERENCE_WORDS.items())[-1 if bare else 0 :]
    references = [(name.capitalize(), f"Reference row: {words}. It never gets a verdict of its own.") for name, words in shown]
    terms = [term for term in _TERMS if not bare or term[0] != "Learned / relayed"]
    return (*said, _LEAST, *asked, *terms, *references)


def control_words(kind: str) -> str:
    """What a passed control of this kind shows; empty where nobody says."""
    own = {kind: words for channel in all_channels() for kind, words in channel.controls.items()}
    return (_CONTROLS | own).get(kind, "")


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
