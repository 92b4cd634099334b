"""What channels measure and what estimates are made from, out of what a test has of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from proxyaudit.activations.capture import Captured
from proxyaudit.channels.base import ModelView
from proxyaudit.channels.proxy_plan import ProxyPlan
from proxyaudit.data.attributes import Attribute
from proxyaudit.data.dataset import Dataset
from proxyaudit.data.encoding import Encoder
from proxyaudit.estimates.facts import Facts, Followed, Run
from proxyaudit.estimates.record import Measurement
from proxyaudit.models.base import TrainedModel
from proxyaudit.recipe.recipe import Margins, Recipe, parse_recipe
from proxyaudit.regimes import Regime


def dataset_of(attributes: tuple[Attribute, ...], parts: Any) -> Dataset:
    """A data set whose audit rows are known by their attributes and parts alone; each row is one person's."""
    encoder = Encoder((), (), ())
    frame = pd.DataFrame(index=range(len(parts)))
    return Dataset("t", frame, frame, (), "y", ("no", "yes"), attributes, np.asarray(parts), np.arange(len(parts)), encoder, {}, (), False)


def facts_of(attributes: tuple[Attribute, ...], runs: tuple[Run, ...], followed: Mapping[str, Followed], **more: Any) -> Facts:
    """Facts of a run about rows that are one person's each, in a model of one site."""
    n = len(attributes[0].codes)
    given: dict[str, Any] = {
        "people_n": np.arange(n),
        "labels_n": np.arange(n) % 2,
        "classes": ("no", "yes"),
        "sites": ("penultimate",),
        "verdict_sites": ("penultimate",),
        "unprofiled": (),
        "margins": Margins(),
        "inputs": Measurement(),
        **more,
    }
    return Facts(attributes=attributes, clusters_n=np.arange(n), runs=runs, followed=followed, **given)


def view_of(
    model: TrainedModel,
    captured: Captured | None,
    x: Any,
    dataset: Dataset,
    followed: Mapping[str, Followed],
    *,
    recipe: Recipe | None = None,
    plan: ProxyPlan | None = None,
    labels: Any = None,
    seed: int = 0,
    repetition: int = 0,
    table: pd.DataFrame | None = None,
    regime: Regime | None = None,
) -> ModelView:
    """A view of a model of one regime; what is not given is as in a small recipe."""
    data = {"path": "t.csv", "target": "y", "protected": ["sex"]}
    small = {"name": "t", "seed": seed, "data": data, "regimes": ["real"], "model": {"kind": "mlp"}}
    return ModelView(
        recipe=parse_recipe(small) if recipe is None else recipe,
        regime=Regime("real", "real") if regime is None else regime,
        repetition=repetition,
        model=model,
        captured=Captured({}, np.zeros((len(x), 1))) if captured is None else captured,
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
