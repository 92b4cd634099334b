"""Tabular ResNet."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from proxyaudit.models.kinds import ModelKind
from proxyaudit.recipe.models import Depth, TrainingSpec, Width, check_weights


class ResnetSpec(TrainingSpec):
    """Tabular ResNet (Gorishniy et al. 2021, rtdl_revisiting_models)."""

    kind: Literal["resnet"]
    blocks: Depth = 2
    width: Width = 128
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        check_weights(4 * self.blocks * self.width**2)  # a block is twice as wide inside
        return self


KIND = ModelKind(ResnetSpec, "proxyaudit.models.tabular:TabularResnet", seconds=0.03)
