"""The words of a report: question, answers, verdicts, states and references. What a check is called, its channel says."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from proxyaudit.estimates.questions import all_questions, deciding_names
from proxyaudit.reporting.text import DASH, MINUS, join_names, join_words, shorten
from proxyaudit.types import Finding


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
    "placebo": "what 95 % of invented attributes reach that the inputs know as well as this one",
    "inputs": "the same reader on the model's inputs",
    "floor": "the same reader on shuffled labels",
}

REAL = "real"
_PLAIN = re.compile(r"\w{2,30}")
# Where something is found: in all regimes, and in those that are named.
_WHERE = {
    "asked": ("in all models asked", "in {}"),
    "bare": ("in all activations given", "in the activations of {}"),
    "trained": ("after every kind of training tried here", "after training on {} data"),
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


def question(names: list[str], *, bare: bool = False, asked: bool = False) -> str:
    """The audit's question in plain words: of ``bare`` activations, of a language model that was ``asked``, or of trained models."""
    what = join_words([named(name) for name in names], "or") if len(names) <= 3 else f"one of these {len(names)} attributes"
    what = what or "the attribute"
    if asked:
        return f"Does the language model treat groups of {what} differently?"
    return f"Is {what} in these activations?" if bare else f"Is {what} still in these models?"


def named(name: str) -> str:
    """A name from data as it stands in a sentence: in quotes unless it is one plain word."""
    return name if _PLAIN.fullmatch(name) else f"“{shorten(name, 40)}”"


def targets(findings: Iterable[Finding]) -> list[Finding]:
    """The findings that the question is about: those of synthetic and mixed data, else all."""
    found = list(findings)
    return [f for f in found if f.regime != REAL] or found


def lead(findings: Sequence[Finding], *, bare: bool = False, asked: bool = False) -> str:
    """The answer to the question in a few words; "no" only where every verdict that was asked for says "removed"."""
    meant = list(findings) if bare or asked else targets(findings)
    kinds = {_kind(f) for f in meant}
    return {
        frozenset(): "No verdict.",
        frozenset({"there"}): "Yes.",
        frozenset({"removed"}): "No.",
        frozenset({"open"}): "These data cannot tell.",
        frozenset({"there", "open"}): "Yes, wherever these data can tell.",
        frozenset({"removed", "open"}): "Not in some; for the rest these data cannot tell.",
        frozenset({"there", "removed"}): "In some, not in all.",
    }.get(frozenset(kinds), "In some, not in all; for the rest these data cannot tell.")


def beside_lead(findings: Sequence[Finding]) -> str:
    """What real rows did, where it is found after them alone: their row would else contradict the lead, which is not about them."""
    there = [f.regime for f in findings if _kind(f) == "there"]
    return "After real: yes." if there == [REAL] and len(findings) > 1 else ""


def _kind(finding: Finding) -> str:
    if finding.verdict == "removed":
        return "removed"
    return "open" if finding.verdict == "inconclusive" and not finding.at_least else "there"


def answer(findings: Iterable[Finding], words: Mapping[str, VerdictWord] = VERDICTS, *, brief: bool = False, asked: bool = False) -> str:
    """One sentence for an attribute over all regimes: worst first, nothing left out; ``brief`` without what the words mean."""
    parts: list[str] = []
    findings = list(findings)
    for verdict in VERDICTS:
        for at_least in ("hidden", None):
            regimes = [f.regime for f in findings if f.verdict == verdict and f.at_least == at_least]
            if regimes:
                alone = len(regimes) == len(findings)
                clause, meaning = _clause(words[verdict], verdict, at_least, regimes, alone=alone, bare=words is not VERDICTS, asked=asked)
                parts.append(clause if brief else f"{clause} ({meaning})")
    text = "; ".join(parts)
    inside = [f for f in findings if f.encoding == "linear"]
    relayed = ""
    if not brief and inside and all(f.origin.encoding == "relayed" for f in inside):
        relayed = " What is inside is no more than such a network passes on of its inputs by itself."
    shown = [f for f in findings if f.verdict == "exposed"]
    if not brief and words is VERDICTS and shown and all(f.basis == "explained_by_label" for f in shown):
        relayed += " What shows is explained by the true label: among people with the same label it was not found."
    return f"{text[0].upper()}{text[1:]}.{relayed}" if text else "No verdict was reached."


def _clause(
    word: VerdictWord, verdict: str, at_least: str | None, regimes: list[str], *, alone: bool, bare: bool, asked: bool
) -> tuple[str, str]:
    """What is said of some regimes, and what it means."""
    everywhere, within = _WHERE["asked" if asked else "bare" if bare else "trained"]
    where = everywhere if alone and len(regimes) > 1 else within.format(join_names(regimes))
    if verdict == "inconclusive" and at_least:
        return f"at least hidden {where}", "something of it is inside; whether it also shows or acts is not settled"
    if verdict == "inconclusive":
        return f"inconclusive {where}", "these data cannot tell"
    return f"{word.word.lower()} {where}", word.short
