"""What is asked inside a transformer: whether circuits are looked for and what they must carry, and sparse autoencoders at places."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from proxyaudit.recipe.effort import Effort
from proxyaudit.recipe.models import Strict, refuse


class CircuitsSpec(Strict):
    """How circuits are looked for: the ``share`` of the effect that one must carry, and ``texts`` that parts are exchanged in."""

    share: Annotated[float, Field(ge=0.5, le=0.99)] = 0.8
    texts: Annotated[int, Field(ge=32, le=2000, strict=True)] = 128


class SaeSpec(Strict):
    """A sparse autoencoder, a folder as SAELens saves it, and the place whose values it reads."""

    at: Annotated[str, Field(pattern=r"^(?:embeddings|layer\.?\d{1,3}(?:\.(?:attention|mlp))?)$")]
    path: Annotated[str, Field(min_length=1, max_length=1000)]

    @property
    def site(self) -> str:
        """The place as sites are called: ``layer.6`` and ``layer6`` are the same."""
        return re.sub(r"^layer\.", "layer", self.at)


def _one_each(specs: tuple[SaeSpec, ...]) -> tuple[SaeSpec, ...]:
    sites = [spec.site for spec in specs]
    refuse(len(set(sites)) < len(sites), "two autoencoders read one place: audit them in recipes of their own")
    return specs


Saes = Annotated[tuple[SaeSpec, ...], Field(min_length=1, max_length=20), AfterValidator(_one_each)]


def circuits_of(asked: CircuitsSpec | bool | None, effort: Effort, repetition: int = 0) -> CircuitsSpec | None:
    """How circuits are looked for in a repetition (from 0); ``None`` where they are not.

    What is asked is asked of the first one, and with ``effort: everything``, which asks it by itself, of all.
    """
    everything = effort == "everything"
    if asked is False or (asked is None and not everything) or (repetition and not everything):
        return None
    return asked if isinstance(asked, CircuitsSpec) else CircuitsSpec()
