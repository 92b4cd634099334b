"""Tabular ResNet."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from proxyaudit.models.kinds import ModelKind
from proxyaudit.models.places import Candidates, Tap
from proxyaudit.recipe.models import Depth, TrainingSpec, Width, check_weights
from proxyaudit.types import PENULTIMATE


class ResnetSpec(TrainingSpec):
    """Tabular ResNet (Gorishniy et al. 2021, rtdl_revisiting_models)."""

    kind: Literal["resnet"]
    blocks: Depth = 2
    width: Width = 128
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        if self.batch_size < 2:
            raise ValueError("batch_size should be at least 2: each block is normalised over the rows of a batch")
        check_weights(4 * self.blocks * self.width**2)  # a block is twice as wide inside
        return self


def places(spec: ResnetSpec, n_classes: int) -> Candidates:
    """The residual stream after each block, and the input of the last linear layer."""
    taps = {f"block{i + 1}": Tap(f"streams.{i}", "output", "method") for i in range(spec.blocks)}
    taps[PENULTIMATE] = Tap("net.output.linear", "input", "method")
    return Candidates(taps, widths=dict.fromkeys(taps, spec.width))


KIND = ModelKind(ResnetSpec, "proxyaudit.models.tabular:TabularResnet", seconds=0.03, places=places)
