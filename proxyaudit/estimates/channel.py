"""What a channel is: the questions it asks, who measures them, and how records become drafts.

A channel is a folder under ``proxyaudit.channels`` and one entry point in the group ``proxyaudit.channels``. Rooms below the channels
reach them through :func:`all_channels`, so that no verdict, sentence or report names a channel that is not registered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Literal

from proxyaudit.registry import load_plugin, plugin_names

if TYPE_CHECKING:
    from proxyaudit.estimates.facts import Facts
    from proxyaudit.estimates.ledger import Drafts, Ledger

Part = Literal["encoding", "use", "recoverable", "reported"]

GROUP = "channels"


@dataclass(frozen=True)
class Question:
    """One name that stands under ``channel`` in the evidence, and its words.

    Attributes:
        name: The name in the evidence.
        part: What of a verdict it decides; ``reported``: nothing.
        margins: Names of the recipe's margins that it is decided against.
        word: What a report calls it.
        asks: The question it answers, as a sentence for the glossary.
        shows: How a sentence says that it was found, after the attribute's name ("shows in the outputs").
        measures: The measures that decide it, each with the words that tell it apart; without any for the plain one.
        terms: Terms of the glossary that explain it, each with its text; ``asks`` where there are none.
        of_activations: Whether it can be asked of bare activations.
    """

    name: str
    part: Part = "reported"
    margins: tuple[str, ...] = ()
    word: str = ""
    asks: str = ""
    shows: str = ""
    measures: Mapping[str, str] = field(default_factory=dict)
    terms: tuple[tuple[str, str], ...] = ()
    of_activations: bool = False


@dataclass(frozen=True)
class Channel:
    """A folder of questions.

    Attributes:
        name: Name of the folder and of the entry point.
        order: Place among the channels: numbers and sections are given in this order.
        questions: What it asks.
        estimate: From the facts of a run to drafts and controls; pure.
        follow_up: Drafts that need the states of the first ones; pure.
        measure: ``module:function`` that measures one model; imported only where something is measured, since it may need torch.
        margins: The recipe's margins that its questions are decided against, each with its words.
        controls: Kinds of its controls, each with what a passed one shows.
    """

    name: str
    order: int
    questions: tuple[Question, ...]
    estimate: Callable[[Facts], Drafts] | None = None
    follow_up: Callable[[Facts, Ledger], Drafts] | None = None
    measure: str | None = None
    margins: Mapping[str, str] = field(default_factory=dict)
    controls: Mapping[str, str] = field(default_factory=dict)


@cache
def all_channels() -> tuple[Channel, ...]:
    """Every registered channel, in order."""
    found: list[Channel] = [load_plugin(GROUP, name) for name in plugin_names(GROUP)]
    return tuple(sorted(found, key=lambda channel: (channel.order, channel.name)))


@cache
def all_questions() -> dict[str, Question]:
    """Every question by its name in the evidence."""
    return {question.name: question for channel in all_channels() for question in channel.questions}


def names_of(*parts: Part) -> tuple[str, ...]:
    """Names of the questions that decide these parts of a verdict, in order."""
    return tuple(name for name, question in all_questions().items() if question.part in parts)


def deciding_names() -> tuple[str, ...]:
    """Names of all questions that a verdict rests on."""
    return names_of("encoding", "use", "recoverable")


def word_of(name: str) -> str:
    """What a report calls a question; a name that is none as it is, in words."""
    question = all_questions().get(name)
    return question.word.lower() if question and question.word else name.replace("_", " ")


def kind_of(channel: str, measure: str, subject: str | None = None) -> str:
    """What tells a number from others of its question, in words; empty for the plain one."""
    question = all_questions().get(channel)
    words = question.measures.get(measure) if question else None
    return ", ".join(part for part in (measure.replace("_", " ") if words is None else words, subject) if part)
