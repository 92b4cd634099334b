"""Planted trees, audited as checkpoints: the attribute is a split that they use, one whose effects cancel, or known to leaves alone."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
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
MARK, WIDTH, ROWS = 0, 7, 4000
# What a perfect audit says, and the states behind it.
TRUTH = {
    "used": ("exposed", {"linear": "present", "expressed": "present", "used": "present"}),
    "unused": ("hidden", {"linear": "present", "elsewhere": "present", "expressed": "absent", "used": "absent"}),
    "leaves": ("hidden", {"linear": "absent", "nonlinear": "absent", "elsewhere": "present", "expressed": "absent", "used": "absent"}),
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
    """Eight trees of four leaves; but for ``absent`` two of them ask for the group first, and for the same next on both sides.

    What the group adds is the same in both trees (``used``), cancels (``unused``), or is nothing: then leaves differ and say the same.
    """
    model = build_model(SPEC, SitesSpec(verdict=("margins",)), n_inputs=WIDTH, n_classes=2, base=Path(), seed=0)
    nodes = Nodes.empty(*model.module.shape)
    for tree in range(SPEC.max_iter):
        asks = kind != "absent" and tree in (0, 5)
        first, then = MARK if asks else 1 + tree % (WIDTH - 1), 1 + (tree + 2) % (WIDTH - 1)
        low, high = rng.normal(0, 0.7, 2)
        nodes.feature_gm[tree, :3], nodes.threshold_gm[tree, :3] = (first, then, then), (0.5 if asks else low, high, high)
        nodes.left_gm[tree, :3], nodes.right_gm[tree, :3] = (1, 3, 5), (2, 4, 6)
        # Sixteenths and the like add up without rounding, which would else tell the group in the last digits of the output.
        step, sign = rng.integers(51, 103) / 1024, -1 if kind == "unused" and tree == 5 else 1
        added = step if not asks else 0.0 if kind == "leaves" else 5 / 16 * sign
        # Leaves 5 and 6 are of those who went right at first.
        nodes.value_gmv[tree, 3:, 0] = np.array([-step, step, -step, step]) + np.array([0, 0, 1, 1]) * added
    model.module.fill(nodes, np.zeros(1))
    return model


def audit(seed: int, folder: Path, kinds: Sequence[str] = tuple(TRUTH)) -> Evidence:
    """One audit of one ensemble of each kind, on the same rows."""
    table(np.random.default_rng(seed)).to_csv(folder / "rows.csv", index=False)
    for kind in kinds:
        save_weights(planted(kind, np.random.default_rng([seed, list(TRUTH).index(kind)])), folder / f"{kind}.safetensors")
    data = {"path": "rows.csv", "target": TARGET, "protected": [ATTRIBUTE], "encode": "none", "discover": 0, "audit_share": 0.8}
    regimes = [{"name": kind, "checkpoints": [f"{kind}.safetensors"]} for kind in kinds]
    recipe = {"name": "planted", "data": data, "regimes": regimes, "seeds": 1, "model": SPEC.model_dump(exclude_none=True)}
    recipe |= {"sites": {"verdict": ["margins"]}, "references": {"placebos": 20}, "effort": "decide", "seed": seed}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    result = run_audit(folder / "recipe.yaml", out=folder / "out", jobs=1, cache_root=folder / "cache")
    assert result.status == "complete"
    return result.evidence


def states(evidence: Evidence, kind: str) -> dict[str, list[str]]:
    """States that the audit gives each channel of a kind."""
    found: dict[str, list[str]] = {}
    for estimate in evidence.estimates:
        if estimate.regime == kind and estimate.state is not None:
            found.setdefault(estimate.channel, []).append(estimate.state)
    return found


def run_case(seed: int, index: int) -> list[dict[str, Any]]:
    """A line for each kind: the verdict, and the channels whose state is the opposite of the truth."""
    with tempfile.TemporaryDirectory() as folder:
        evidence = audit(seed * 1000 + index, Path(folder))
    lines = []
    for kind, (verdict, truth) in TRUTH.items():
        (finding,) = [finding for finding in evidence.findings if finding.regime == kind]
        found = states(evidence, kind)
        wrong = sorted(channel for channel, state in truth.items() if _opposite(channel, state, found.get(channel, [])))
        lines.append({"kind": kind, "truth": verdict, "verdict": finding.verdict, "wrong_channels": wrong})
    return lines


def _opposite(channel: str, truth: str, found: list[str]) -> bool:
    """Whether a channel says the opposite of the truth; ``elsewhere`` asks several sites, of which one will do."""
    if truth == "present" and channel == "elsewhere":
        return {*found} == {"absent"}
    return {"present": "absent", "absent": "present"}[truth] in found


def outcomes(lines: list[dict[str, Any]]) -> dict[str, Counter[str]]:
    """By kind, how many were told right, left open, or told wrong; and how many channels say the opposite of the truth."""
    found: dict[str, Counter[str]] = {}
    for line in lines:
        said = "right" if line["verdict"] == line["truth"] else "inconclusive" if line["verdict"] == "inconclusive" else "wrong"
        counts = found.setdefault(line["kind"], Counter(right=0, inconclusive=0, wrong=0, wrong_channels=0))
        counts.update({said: 1, "wrong_channels": len(line["wrong_channels"])})
    return found
