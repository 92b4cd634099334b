"""FT-Transformer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from proxyaudit.models.kinds import ModelKind
from proxyaudit.recipe.models import Positive, TrainingSpec


class FtTransformerSpec(TrainingSpec):
    """FT-Transformer (Gorishniy et al. 2021, rtdl_revisiting_models)."""

    kind: Literal["ft_transformer"]
    blocks: Positive = 2
    width: Positive = 32
    heads: Positive = 4
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1

    @model_validator(mode="after")
    def _heads_divide(self) -> FtTransformerSpec:
        if self.width % self.heads:
            raise ValueError("'width' must be a multiple of 'heads'")
        return self


KIND = ModelKind(FtTransformerSpec, "proxyaudit.models.tabular:FtTransformer", seconds=1.5)
