"""Multilayer perceptron."""

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from proxyaudit.models.kinds import ModelKind
from proxyaudit.recipe.models import TrainingSpec, Width, check_weights


class MlpSpec(TrainingSpec):
    """Plain multilayer perceptron with ReLU."""

    kind: Literal["mlp"]
    hidden: tuple[Width, ...] = Field(default=(128, 64, 32), min_length=1, max_length=1000)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        check_weights(sum(one * other for one, other in pairwise(self.hidden)))
        return self


KIND = ModelKind(MlpSpec, "proxyaudit.models.tabular:Mlp", seconds=0.005)
