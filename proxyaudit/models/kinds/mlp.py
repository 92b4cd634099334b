"""Multilayer perceptron."""

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from proxyaudit.models.kinds import ModelKind
from proxyaudit.models.places import Candidates, Tap
from proxyaudit.recipe.models import TrainingSpec, Width, check_weights
from proxyaudit.types import PENULTIMATE


class MlpSpec(TrainingSpec):
    """Plain multilayer perceptron with ReLU."""

    kind: Literal["mlp"]
    hidden: tuple[Width, ...] = Field(default=(128, 64, 32), min_length=1, max_length=1000)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        check_weights(sum(one * other for one, other in pairwise(self.hidden)))
        return self


def places(spec: MlpSpec, n_classes: int) -> Candidates:
    """The blocks in forward order; the last one is the penultimate site."""
    last = len(spec.hidden)
    taps = {f"hidden{i}": Tap(f"hidden{i}", "output", "method") for i in range(1, last)}
    taps[PENULTIMATE] = Tap("head", "input", "method")
    return Candidates(taps, {f"hidden{last}": PENULTIMATE}, widths=dict(zip(taps, spec.hidden, strict=True)))


KIND = ModelKind(MlpSpec, "proxyaudit.models.tabular:Mlp", seconds=0.005, places=places)
