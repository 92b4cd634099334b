"""What a channel is: the questions it asks, who measures them, and how records become drafts.

A channel is a folder under ``proxyaudit.channels`` and one entry point in the group ``proxyaudit.channels``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from proxyaudit.estimates.facts import Facts
from proxyaudit.estimates.ledger import Drafts, Ledger
from proxyaudit.estimates.questions import Question as Question
from proxyaudit.estimates.questions import registered


@dataclass(frozen=True)
class Channel:
    """A folder of questions."""

    name: str  # of the folder and of the entry point
    order: int  # numbers and sections are given in this order
    questions: tuple[Question, ...]
    estimate: Callable[[Facts], Drafts] | None = None  # from the facts of a run to drafts and controls; pure
    follow_up: Callable[[Facts, Ledger], Drafts] | None = None  # drafts that need the states of the first ones; pure
    measure: str | None = None  # "module:function" that measures one model; imported only to measure, since it may need torch
    margins: Mapping[str, str] = field(default_factory=dict)  # of the recipe, that its questions are decided against, with words
    controls: Mapping[str, str] = field(default_factory=dict)  # kinds of its controls, each with what a passed one shows


all_channels: Callable[[], tuple[Channel, ...]] = registered  # every registered channel, in order
