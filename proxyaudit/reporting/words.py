"""The words of a report: verdicts, channels and states in plain language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from proxyaudit.reporting.text import DASH, MINUS

__all__ = [
    "CHANGES",
    "CHANNELS_OF_ACTIVATIONS",
    "CHANNEL_WORDS",
    "CONTROL_WORDS",
    "EFFORT_NOTE",
    "GLOSSARY",
    "REFERENCE_WORDS",
    "STATES",
    "VERDICTS",
    "VERDICTS_OF_ACTIVATIONS",
    "WORDS_OF_MODELS",
    "VerdictWord",
    "channel_word",
    "plain_word",
    "state_word",
    "verdict_glossary",
]


class VerdictWord(NamedTuple):
    """A verdict as a reader meets it: a symbol that needs no colour, a word, and what it means."""

    symbol: str
    word: str
    meaning: str
    short: str


VERDICTS: dict[str, VerdictWord] = {
    "exposed": VerdictWord(
        "●", "Exposed", "the attribute shows in the model's outputs, or acts on them", "it shows in the outputs or acts on them"
    ),
    "hidden": VerdictWord(
        "◐",
        "Hidden",
        "the outputs look clean, but the attribute is still inside the model and can be got out",
        "the outputs look clean, it is still inside",
    ),
    "removed": VerdictWord(
        "○",
        "Removed",
        "every check that applies found the attribute absent, and the controls of absence passed",
        "every check that applies found it absent",
    ),
    "inconclusive": VerdictWord("?", "Inconclusive", "these data cannot tell", "these data cannot tell"),
}

# The same verdicts on bare activations: there are no outputs to look at, the activations are what the consumer gets.
VERDICTS_OF_ACTIVATIONS: dict[str, VerdictWord] = {
    **VERDICTS,
    "exposed": VerdictWord("●", "Exposed", "a linear reader gets the attribute out of the activations", "a linear reader gets it out"),
    "hidden": VerdictWord(
        "◐",
        "Hidden",
        "a linear reader finds nothing, but a non-linear one does, or one that knows what was conditioned on",
        "only a stronger reader gets it out",
    ),
    "removed": VerdictWord(
        "○", "Removed", "no reader found it, and each could have found it at its margin", "no reader found it, each could have"
    ),
}
CHANNELS_OF_ACTIVATIONS = ("linear", "nonlinear", "beyond")
# Terms that say nothing where no model was seen.
WORDS_OF_MODELS = ("Output gap", "Output leak", "Interchange effect", "Learned / relayed", "Untrained", "Reweighed", "Placebo", "Inputs")

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

CHANNEL_WORDS: dict[str, tuple[str, str]] = {
    "linear": ("Linear leak", "Can a linear reader get the attribute out at a verdict site?"),
    "nonlinear": ("Non-linear leak", "Can a stronger reader get out more than the linear one?"),
    "elsewhere": ("Elsewhere", "Is it at another place in the model?"),
    "beyond": ("Beyond what is known", "Is there more of it inside than the label, or what else is known of a row, explains?"),
    "expressed": ("Outputs", "Does it show in the model's outputs, by the gap between groups or to a reader of the outputs?"),
    "used": ("Interchange effect", "Do the outputs move when its part of the representation is swapped?"),
    "relearned": ("Relearned", "Does it come back with a little fine-tuning?"),
}

# What a passed control shows.
CONTROL_WORDS: dict[str, str] = {
    "negative": "with shuffled labels nothing is found",
    "positive": "a trace planted on purpose is found",
    "eraser": "an erased trace stays gone on fresh rows",
    "random_subspace": "swapping a random trace moves the outputs less",
    "untrained": "an untrained model does not use it",
    "repetition": "repetitions are not copies of one another",
}

EFFORT_NOTE = (
    "For a linear reader: how much of the attribute's labels the activations save when they are sent one block after the other, how well "
    "a reader separates the groups after a few labelled rows, and how much of that mere memory could do. What only a non-linear reader "
    "finds does not show here. No verdict rests on these."
)

REFERENCE_WORDS: dict[str, str] = {
    "untrained": "the same architecture with random weights",
    "reweighed": "trained on real data, reweighed so that attribute and label are independent",
    "placebo": "invented attributes that the inputs know as well as this one (95th percentile)",
    "inputs": "the same reader on the model's inputs",
    "floor": "the same reader on shuffled labels",
}


def verdict_glossary(verdicts: Mapping[str, VerdictWord]) -> tuple[tuple[str, str], ...]:
    """What the verdicts mean, for the glossary."""
    return tuple((f"{word.symbol} {word.word}", f"{word.meaning[0].upper()}{word.meaning[1:]}.") for word in verdicts.values())


GLOSSARY: tuple[tuple[str, str], ...] = (
    ("At least hidden", "Something of the attribute is certainly inside; whether it also shows or acts is not settled."),
    (
        "Leak inside",
        "How much of the attribute a reader gets from the activations: class-balanced information as a share of all there is "
        "to know (0 = nothing, 1 = everything). For a continuous attribute: explained variance.",
    ),
    ("Output gap", "Difference between groups in the mean predicted probability; largest pair of groups."),
    ("Output leak", "What a reader gets of the attribute from the outputs alone; the outputs are judged by it and by the gap."),
    (
        "Interchange effect",
        "How far the outputs move when the attribute's coordinates inside the model are swapped with those of a person of "
        "another group and the same label, less what random coordinates of equal rank do.",
    ),
    (
        "Verdict site",
        "The place that the verdict rests on; by default the last one before the output layer, or every site given.",
    ),
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
    *((name.capitalize(), f"Reference row: {meaning}. It never gets a verdict of its own.") for name, meaning in REFERENCE_WORDS.items()),
)


def state_word(state: str | None) -> str:
    """Return a state as symbol and word; numbers without one decide nothing."""
    return "reported only" if state is None else " ".join(STATES[state])


def channel_word(name: str) -> str:
    """Return the plain name of a channel or measure."""
    known = CHANNEL_WORDS.get(name)
    return known[0].lower() if known else plain_word(name)


def plain_word(word: str) -> str:
    """Return an identifier as words."""
    return word.replace("_", " ")
