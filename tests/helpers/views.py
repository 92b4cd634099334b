"""One trained model as channels see it, from what a test has of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from proxyaudit.activations.capture import Captured
from proxyaudit.channels.base import ModelView
from proxyaudit.channels.proxy_plan import ProxyPlan
from proxyaudit.data.dataset import Dataset
from proxyaudit.estimates.facts import Followed
from proxyaudit.models.base import TrainedModel
from proxyaudit.recipe.recipe import Recipe, parse_recipe
from proxyaudit.regimes import Regime


def view_of(
    model: TrainedModel,
    captured: Captured,
    x: Any,
    dataset: Dataset,
    followed: Mapping[str, Followed],
    *,
    recipe: Recipe | None = None,
    plan: ProxyPlan | None = None,
    labels: Any = None,
    repetition: int = 0,
    table: pd.DataFrame | None = None,
    regime: Regime | None = None,
) -> ModelView:
    """A view of a model of one regime; what is not given is as in a small recipe."""
    small = {"name": "t", "data": {"path": "t.csv", "target": "y"}, "regimes": ["real"], "model": {"kind": "mlp"}}
    return ModelView(
        recipe=parse_recipe(small) if recipe is None else recipe,
        regime=Regime("real", "real") if regime is None else regime,
        repetition=repetition,
        model=model,
        captured=captured,
        x=x,
        dataset=dataset,
        labels_n=np.zeros(len(x), dtype=np.int64) if labels is None else labels,
        placebos={},
        followed=followed,
        proxies=ProxyPlan(()) if plan is None else plan,
        permutations=99,
        rows_trained=0,
        table=table,
        forward=None,
        frozen=False,
        shared_sites=frozenset(),
        remember=lambda _, make: make(),
    )
