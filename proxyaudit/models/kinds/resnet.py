"""Tabular ResNet."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from proxyaudit.models.kinds import ModelKind
from proxyaudit.recipe.models import Positive, TrainingSpec


class ResnetSpec(TrainingSpec):
    """Tabular ResNet (Gorishniy et al. 2021, rtdl_revisiting_models)."""

    kind: Literal["resnet"]
    blocks: Positive = 2
    width: Positive = 128
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1


KIND = ModelKind(ResnetSpec, "proxyaudit.models.tabular:TabularResnet", seconds=0.03)
