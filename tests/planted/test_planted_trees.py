"""Planted trees, audited as checkpoints: the attribute is a split that they use, a split that they do not use, or never asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from proxyaudit.models.base import TrainedModel
from proxyaudit.models.build import build_model
from proxyaudit.models.checkpoints import save_weights
from proxyaudit.models.kinds.gradient_boosting import GradientBoostingSpec
from proxyaudit.models.tree_nodes import Nodes
from proxyaudit.pipeline.run import run_audit
from proxyaudit.planted.models import ATTRIBUTE, TARGET
from proxyaudit.recipe.recipe import SitesSpec
from proxyaudit.types import Evidence

SPEC = GradientBoostingSpec(kind="gradient_boosting", max_iter=8, max_leaf_nodes=4)
MARK, WIDTH, ROWS = 0, 7, 6000
# What a perfect audit says, and the states behind it.
TRUTH = {
    "used": ("exposed", {"linear": "present", "expressed": "present", "used": "present"}),
    "unused": ("hidden", {"linear": "present", "elsewhere": "present", "expressed": "absent", "used": "absent"}),
    "absent": ("removed", {"linear": "absent", "nonlinear": "absent", "elsewhere": "absent", "expressed": "absent", "used": "absent"}),
}


def table(rng: np.random.Generator) -> pd.DataFrame:
    """A column that marks the group, numbers that know nothing of it, and labels that follow these."""
    group = rng.integers(0, 2, ROWS)
    x = rng.normal(size=(ROWS, WIDTH)).astype(np.float32)
    x[:, MARK] = group
    label = x[:, 1] + x[:, 2] + rng.logistic(size=ROWS) > 0
    columns = {f"c{i}": x[:, i] for i in range(WIDTH)}
    return pd.DataFrame({**columns, ATTRIBUTE: np.where(group == 1, "b", "a"), TARGET: np.where(label, "yes", "no")})


def planted(kind: str, rng: np.random.Generator) -> TrainedModel:
    """Eight trees of four leaves; where the group is used or cancels, two of them ask for it first, and for the same next on both sides."""
    model = build_model(SPEC, SitesSpec(verdict=("margins",)), n_inputs=WIDTH, n_classes=2, base=Path(), seed=0)
    nodes = Nodes.empty(*model.module.shape)
    for tree in range(SPEC.max_iter):
        asks = kind != "absent" and tree in (0, 5)
        first, then = MARK if asks else 1 + tree % (WIDTH - 1), 1 + (tree + 2) % (WIDTH - 1)
        nodes.feature_gm[tree, :3], nodes.threshold_gm[tree, :3] = (first, then, then), (0.5 if asks else 0.0, 0.0, 0.0)
        nodes.left_gm[tree, :3], nodes.right_gm[tree, :3] = (1, 3, 5), (2, 4, 6)
        step, sign = rng.uniform(0.05, 0.1), -1 if kind == "unused" and tree == 5 else 1
        # Leaves 5 and 6 are of those who went right at first.
        nodes.value_gmv[tree, 3:, 0] = np.array([-step, step, -step, step]) + np.array([0, 0, 1, 1]) * (0.3 * sign if asks else step)
    model.module.fill(nodes, np.zeros(1))
    return model


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """One audit of one ensemble of each kind, on the same rows."""
    folder, rng = tmp_path_factory.mktemp("trees"), np.random.default_rng(7)
    table(rng).to_csv(folder / "rows.csv", index=False)
    for kind in TRUTH:
        save_weights(planted(kind, rng), folder / f"{kind}.safetensors")
    data = {"path": "rows.csv", "target": TARGET, "protected": [ATTRIBUTE], "encode": "none", "discover": 0, "audit_share": 0.8}
    regimes = [{"name": kind, "checkpoints": [f"{kind}.safetensors"]} for kind in TRUTH]
    recipe = {"name": "planted", "data": data, "regimes": regimes, "seeds": 1, "model": SPEC.model_dump(exclude_none=True)}
    recipe |= {"sites": {"verdict": ["margins"]}, "references": {"placebos": 20}, "effort": "decide"}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    result = run_audit(folder / "recipe.yaml", out=folder / "out", jobs=1)
    assert result.status == "complete"
    return result.evidence


@pytest.mark.parametrize("kind", TRUTH)
def test_a_planted_ensemble_is_told_rightly_or_left_open(evidence: Evidence, kind: str) -> None:
    verdict, truth = TRUTH[kind]
    (finding,) = [finding for finding in evidence.findings if finding.regime == kind]
    assert finding.verdict == verdict
    found: dict[str, list[str | None]] = {channel: [] for channel in (*truth, "relearned")}
    for estimate in evidence.estimates:
        if estimate.regime == kind and estimate.channel in found and estimate.state is not None:
            found[estimate.channel].append(estimate.state)
    assert all({*found[channel]} <= {state, "unknown"} for channel, state in truth.items())  # settled elsewhere already, it is not asked
    assert all(state in found[channel] for channel, state in truth.items())
    assert found["relearned"] == ["not_applicable"]
