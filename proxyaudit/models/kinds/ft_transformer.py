"""FT-Transformer."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from proxyaudit.models.kinds import ModelKind
from proxyaudit.models.places import Candidates, Tap
from proxyaudit.recipe.models import Depth, TrainingSpec, Width, check_weights
from proxyaudit.types import PENULTIMATE


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


def places(spec: FtTransformerSpec, n_classes: int) -> Candidates:
    """The tokens after each block, and the input of the last linear layer."""
    taps = {f"block{i + 1}": Tap(f"net.backbone.blocks.{i}.output", "output", "method") for i in range(spec.blocks)}
    taps[PENULTIMATE] = Tap("net.backbone.output.linear", "input", "method")
    return Candidates(taps, widths=dict.fromkeys(taps, spec.width))


KIND = ModelKind(FtTransformerSpec, "proxyaudit.models.tabular:FtTransformer", seconds=1.5, places=places)
