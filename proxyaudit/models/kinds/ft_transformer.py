"""FT-Transformer."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from proxyaudit.models.kinds import ModelKind
from proxyaudit.recipe.models import Depth, TrainingSpec, Width, check_weights


class FtTransformerSpec(TrainingSpec):
    """FT-Transformer (Gorishniy et al. 2021, rtdl_revisiting_models)."""

    kind: Literal["ft_transformer"]
    blocks: Depth = 2
    width: Width = 32
    heads: Width = 4
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.width % self.heads:
            raise ValueError("'width' must be a multiple of 'heads'")
        check_weights(8 * self.blocks * self.width**2)  # four of attention, and about as many behind it
        return self


KIND = ModelKind(FtTransformerSpec, "proxyaudit.models.tabular:FtTransformer", seconds=1.5)
