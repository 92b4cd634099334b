"""Circuits of transformers in a recipe: whether they are looked for, and what a circuit must carry."""

from typing import Annotated

from pydantic import Field

from proxyaudit.recipe.effort import Effort
from proxyaudit.recipe.models import Strict


class CircuitsSpec(Strict):
    """How circuits are looked for: the ``share`` of the effect that one must carry, and ``texts`` that parts are exchanged in."""

    share: Annotated[float, Field(ge=0.5, le=0.99)] = 0.8
    texts: Annotated[int, Field(ge=32, le=2000, strict=True)] = 128


def circuits_of(asked: CircuitsSpec | bool | None, effort: Effort, repetition: int = 0) -> CircuitsSpec | None:
    """How circuits are looked for in a repetition (from 0); ``None`` where they are not.

    What is asked is asked of the first one, and with ``effort: everything``, which asks it by itself, of all.
    """
    everything = effort == "everything"
    if asked is False or (asked is None and not everything) or (repetition and not everything):
        return None
    return asked if isinstance(asked, CircuitsSpec) else CircuitsSpec()
