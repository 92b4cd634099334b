"""How much is measured beyond what a verdict rests on: one table of what each effort leaves out.

Extras are reported and decide nothing; by default one repetition of each regime stands for all. Where a linear reader surely finds an
attribute at a verdict site of a model it cannot be called removed any more, and it is inside whatever stronger readers say: these, the
other places where it may lie and relearning are then left out of that model, unless everything is asked for.
"""

from collections.abc import Mapping
from typing import Final, Literal

Effort = Literal["decide", "standard", "everything"]

EXTRAS: Final[Mapping[str, str]] = {
    "ease": "how easily a linear reader gets an attribute out (codelength, few labelled rows, selectivity)",
    "variants": "relearning with other numbers of rows and by other ways of fine-tuning",
    "unread": "learned subspaces with the directions that nothing reads",
    "attributions": "which inputs feed the sensitive direction and the output",
    "localisation": "which parts of a model carry an effect",
}
SETTLED_AT: Final = 1e-4  # p-value of a linear leak from which on no correction over the numbers of a regime turns it
SETTLED: Final = "a linear reader surely finds it here already, which no other reader can change ('effort: everything' asks them all)"


def measures(effort: Effort, extra: str, repetition: int) -> bool:
    """Whether an extra is measured on a repetition (from 0); ``KeyError`` for what is none."""
    EXTRAS[extra]
    return effort == "everything" or (effort == "standard" and repetition == 0)


def left_out(effort: Effort, repetitions: int) -> list[tuple[str, str]]:
    """What an audit of so many repetitions leaves out, each with why and the option that would measure it."""
    if effort == "everything":
        return []
    all_but = "" if effort == "decide" else "beyond the first repetition: "
    found = [
        (f"{all_but}{what}", "no verdict rests on it; 'effort: everything' measures it on every repetition")
        for what in EXTRAS.values()
        if effort == "decide" or repetitions > 1
    ]
    if repetitions > 1:
        found.append(("beyond the first repetition: models of reweighed data", "they are shown only; 'effort: everything' trains them"))
    stronger = "stronger readers and relearning of a model in which a linear reader surely finds the attribute"
    return [*found, (stronger, "they cannot change a verdict there; 'effort: everything' asks them all")]
