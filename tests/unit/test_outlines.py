"""What a plan says of a built-in model without making one is what the model itself says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proxyaudit.activations.capture import capture
from proxyaudit.errors import InputError
from proxyaudit.models.build import build_model, outline_of
from proxyaudit.models.kinds import model_kind
from proxyaudit.models.kinds.catboost import CatBoostSpec
from proxyaudit.models.kinds.ft_transformer import FtTransformerSpec
from proxyaudit.models.kinds.gradient_boosting import GradientBoostingSpec
from proxyaudit.models.kinds.lightgbm import LightGBMSpec
from proxyaudit.models.kinds.mlp import MlpSpec
from proxyaudit.models.kinds.module import ModuleSpec
from proxyaudit.models.kinds.random_forest import RandomForestSpec
from proxyaudit.models.kinds.resnet import ResnetSpec
from proxyaudit.models.kinds.xgboost import XGBoostSpec
from proxyaudit.recipe.recipe import SitesSpec

SPECS: list[Any] = [
    MlpSpec(kind="mlp", hidden=(5,)),
    MlpSpec(kind="mlp", hidden=(9, 7, 4), dropout=0.2),
    MlpSpec(kind="mlp", hidden=(3,) * 12),
    ResnetSpec(kind="resnet", blocks=1, width=6),
    ResnetSpec(kind="resnet", blocks=4, width=10),
    FtTransformerSpec(kind="ft_transformer", blocks=1, width=8, heads=2),
    FtTransformerSpec(kind="ft_transformer", blocks=3, width=12, heads=4),
    GradientBoostingSpec(kind="gradient_boosting", max_iter=1, max_leaf_nodes=2),
    GradientBoostingSpec(kind="gradient_boosting", max_iter=7, max_leaf_nodes=8, encoding="one_hot"),
    RandomForestSpec(kind="random_forest", n_estimators=9, max_leaf_nodes=12),
    XGBoostSpec(kind="xgboost", n_estimators=12, max_leaves=8, room=(40, 20)),
    LightGBMSpec(kind="lightgbm", n_estimators=5, num_leaves=8),
    CatBoostSpec(kind="catboost", iterations=6, depth=3),
]
SITES = [SitesSpec(), SitesSpec(profile=("penultimate",)), SitesSpec(profile="everything")]


@pytest.mark.parametrize("n_classes", [1, 2, 4])
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.kind)
def test_it_is_that_of_the_model(spec: Any, n_classes: int) -> None:
    for sites, n_inputs in zip(SITES, (3, 1, 11), strict=True):
        model = build_model(spec, sites, n_inputs=n_inputs, n_classes=n_classes, base=Path(), seed=0)
        told, found = model_kind(spec).outline(spec, sites, n_classes), outline_of(model)
        assert told is not None
        acts = capture(model, np.zeros((5, n_inputs), dtype=np.float32)).acts
        assert dict(told.widths) == {site: values.shape[1] for site, values in acts.items()}
        assert list(told.widths) == list(acts) == list(told.sites)
        for name in ("sites", "verdict_sites", "unprofiled", "unread", "finest"):
            assert getattr(told, name) == getattr(found, name), name


@pytest.mark.parametrize(
    ("spec", "sites"),
    [(SPECS[1], SitesSpec(verdict=("hiden2",))), (SPECS[4], SitesSpec(profile=("block9",))), (SPECS[7], SitesSpec(verdict=("leaves",)))],
)
def test_sites_are_refused_in_the_same_words(spec: Any, sites: SitesSpec) -> None:
    with pytest.raises(InputError) as told:
        model_kind(spec).outline(spec, sites, 2)
    with pytest.raises(InputError) as found:
        build_model(spec, sites, n_inputs=3, n_classes=2, base=Path(), seed=0)
    assert str(told.value) == str(found.value)


def test_of_a_module_of_ones_own_only_the_module_tells() -> None:
    spec = ModuleSpec(kind="module", factory="nets.py:make")
    assert model_kind(spec).outline(spec, SitesSpec(), 2) is None
