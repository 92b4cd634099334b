"""What interventions ask of one model, whichever channel makes them."""

from __future__ import annotations

from dataclasses import dataclass

from proxyaudit.arrays import Floats, Ints
from proxyaudit.channels.base import ModelView
from proxyaudit.recipe.recipe import Margins

TOO_FEW = "no label has enough rows of both groups"


@dataclass(frozen=True)
class UseTask:
    """What is asked of one model.

    Attributes:
        root: Root seed.
        margins: Effects that matter.
        followed: For each attribute the groups compared and the output column followed.
        concepts: For each attribute the columns its subspace is fitted to.
        decides: Whether a verdict rests on the numbers; of a reference only the effects are needed.
    """

    root: int
    margins: Margins
    followed: dict[str, tuple[Ints, int]]
    concepts: dict[str, Floats]
    decides: bool


def task_of(view: ModelView) -> UseTask:
    """What is asked of a model."""
    followed = {name: (one.groups_n, one.output) for name, one in view.followed.items()}
    concepts = {attribute.name: attribute.concept_columns() for attribute in view.dataset.attributes}
    return UseTask(view.recipe.seed, view.recipe.margins, followed, concepts, decides=view.decides)
