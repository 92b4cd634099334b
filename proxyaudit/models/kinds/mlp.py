"""Multilayer perceptron."""

from typing import Annotated, Literal

from pydantic import Field

from proxyaudit.models.kinds import ModelKind
from proxyaudit.recipe.models import Positive, TrainingSpec


class MlpSpec(TrainingSpec):
    """Plain multilayer perceptron with ReLU."""

    kind: Literal["mlp"]
    hidden: tuple[Positive, ...] = Field(default=(128, 64, 32), min_length=1)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


KIND = ModelKind(MlpSpec, "proxyaudit.models.tabular:Mlp", seconds=0.005)
