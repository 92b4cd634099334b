"""The questions that channels ask: which names stand in the evidence, and what of a verdict each decides.

Rooms below the channels reach them through the registry, so that no verdict, sentence or report names a channel that is not registered.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from proxyaudit.errors import InputError
from proxyaudit.registry import load_plugin, plugin_names

Part = Literal["encoding", "use", "recoverable", "reported"]

GROUP = "channels"
LINEAR_READER = "linear probe"
READERS = ("quadratic", "mlp", "trees", "neighbours")  # stronger readers, as they stand in evidence
# What every verdict rests on, whatever else is registered: an installation that lacks one of these would call removed what nobody asked.
FLOOR: Mapping[str, Part] = {
    "linear": "encoding",
    "nonlinear": "encoding",
    "elsewhere": "recoverable",
    "beyond": "recoverable",
    "expressed": "use",
    "used": "use",
    "relearned": "recoverable",
}


@dataclass(frozen=True)
class Question:
    """One name that stands under ``channel`` in the evidence, and its words."""

    name: str  # in the evidence
    part: Part = "reported"  # what of a verdict it decides; reported: nothing
    margins: tuple[str, ...] = ()  # names of the recipe's margins that it is decided against
    word: str = ""  # what a report calls it
    asks: str = ""  # the question it answers, as a sentence for the glossary
    shows: str = ""  # how a sentence says that it was found, after the attribute's name ("shows in the outputs")
    measures: Mapping[str, str] = field(default_factory=dict)  # that decide it, with the words that tell them apart; none for the plain one
    terms: tuple[tuple[str, str], ...] = ()  # terms of the glossary that explain it, each with its text; asks where there are none
    of_activations: bool = False  # whether it can be asked of bare activations
    readers: tuple[str, ...] = ()  # stronger readers whose gain may show it
    place: int = 0  # among the questions of its part, where a list is in another order than that of the channels
    may_lack: bool = False  # a model may have nothing to ask it of: without a number it does not apply then, and was not forgotten


@cache
def registered() -> tuple[Any, ...]:
    """What is registered as a channel, in order."""
    found = [load_plugin(GROUP, name) for name in plugin_names(GROUP)]
    return tuple(sorted(found, key=lambda channel: (channel.order, channel.name)))


@cache
def all_questions() -> dict[str, Question]:
    """Every question by its name in the evidence; ``InputError`` if one that all verdicts rest on is missing, or two channels ask one."""
    found: dict[str, Question] = {}
    for channel in registered():
        for question in channel.questions:
            if question.name in found:
                mend = "uninstall the package that asks it a second time"
                raise InputError(f"two channels ask '{question.name}'", where=f"channel '{channel.name}'", mend=mend)
            found[question.name] = question
    lacking = [name for name, part in FLOOR.items() if name not in found or found[name].part != part]
    if lacking:
        mend = "install proxyaudit again from its clone (pip install .)"
        raise InputError(f"the installation lacks the channel of '{lacking[0]}', without which no verdict is given", mend=mend)
    return found


def names_of(*parts: Part) -> tuple[str, ...]:
    """Names of the questions that decide these parts of a verdict, in the order in which evidence lists them."""
    found = [question for part in parts for question in sorted(all_questions().values(), key=lambda q: q.place) if question.part == part]
    return tuple(question.name for question in found)


def deciding_names() -> tuple[str, ...]:
    """Names of all questions that a verdict rests on, in the order of the channels."""
    return tuple(name for name, question in all_questions().items() if question.part != "reported")


def word_of(name: str) -> str:
    """What a report calls a question; a name that is none as it is, in words."""
    question = all_questions().get(name)
    return question.word.lower() if question and question.word else name.replace("_", " ")


def kind_of(channel: str, measure: str, subject: str | None = None) -> str:
    """What tells a number from others of its question, in words; empty for the plain one."""
    question = all_questions().get(channel)
    words = question.measures.get(measure) if question else None
    return ", ".join(part for part in (measure.replace("_", " ") if words is None else words, subject) if part)
