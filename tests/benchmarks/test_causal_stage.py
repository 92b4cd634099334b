"""What the causal stage (use, relearning, proxies, localisation) costs beside training, and how it grows with sites and rows.

Seconds are of the processor, since all of it runs in one process: other work on the machine does not count.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
import pytest
import yaml

import proxyaudit.pipeline.measure
import proxyaudit.pipeline.train
from proxyaudit.channels.base import ModelView
from proxyaudit.models.build import build_model
from proxyaudit.models.kinds.mlp import MlpSpec
from proxyaudit.models.training import train_model
from proxyaudit.pipeline.run import run_audit
from proxyaudit.recipe.recipe import SitesSpec

pytestmark = [pytest.mark.study, pytest.mark.timeout(3600)]

CAUSAL = ("use", "relearning", "proxies", "localisation")
ROWS = (6000, 12000, 25000)
HIDDEN = {1: [64], 2: [64, 64], 4: [64, 64, 64, 64], 6: [64, 64, 64, 64, 64, 64]}
ADULT: dict[str, Any] = {
    "name": "bench",
    "data": {"card": "adult", "protected": ["sex", "race"], "proxies": ["hours_per_week"], "exclude": ["sex", "race"], "discover": 0},
    "regimes": ["real"],
    "references": {"reweighed": False},
    "seeds": 1,
}


@pytest.fixture
def spent(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Processor seconds of the parts; the untrained model, measured in the same run, is told apart."""
    # The first training of a process loads what later ones find loaded.
    warm = build_model(MlpSpec(kind="mlp", hidden=(4,), epochs=1), SitesSpec(), n_inputs=2, n_classes=2, base=Path(), seed=0)
    ones = np.ones((64, 2), dtype=np.float32)
    train_model(warm, ones, np.arange(64) % 2, ones[:, 0], MlpSpec(kind="mlp", hidden=(4,), epochs=1), 0)
    seconds: dict[str, float] = defaultdict(float)

    def timed(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            regime = args[0].regime.name if isinstance(args[0], ModelView) else "real"
            start = time.process_time()
            try:
                return call(*args, **kwargs)
            finally:
                seconds[name if regime == "real" else f"{name}, {regime}"] += time.process_time() - start

        return run

    def channel(path: str) -> Callable[..., Any]:
        return timed(path.split(".")[2], resolve_name(path))

    monkeypatch.setattr(proxyaudit.pipeline.measure, "resolve_name", channel)
    monkeypatch.setattr(proxyaudit.pipeline.train, "train_model", timed("train_model", train_model))
    return seconds


def _audit(folder: Path, rows: int, model: dict[str, Any], sites: dict[str, Any]) -> None:
    folder.mkdir()
    recipe = {**ADULT, "data": {**ADULT["data"], "max_rows": rows, "audit_share": 0.25}, "model": model, "sites": sites}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert run_audit(folder / "recipe.yaml", out=folder / "out", jobs=1).status == "complete"


def _shown(spent: dict[str, float]) -> str:
    return ", ".join(f"{name} {spent[name]:.2f}" for name in sorted(spent, key=lambda name: -spent[name]))


@pytest.mark.parametrize("rows", ROWS)
def test_beside_training(rows: int, spent: dict[str, float], tmp_path: Path, benchmark: Any, say: Any) -> None:
    """The quick start's model on Adult, one trained model."""
    model = {"kind": "mlp", "hidden": [128, 64, 32], "epochs": 8, "patience": None}
    benchmark.pedantic(lambda: _audit(tmp_path / "run", rows, model, {"verdict": ["penultimate"], "profile": "all"}), rounds=1)
    causal, training = sum(spent[name] for name in CAUSAL), spent["train_model"]
    say(
        f"causal stage, Adult, {rows} rows, 3 attributes, quick start's network, 1 process: {causal / training:.2f} times its training "
        f"({causal:.1f} s against {training:.1f} s for one model); localisation alone {spent['localisation'] / training:.2f}; "
        f"seconds by part: {_shown(spent)}",
        ratio=causal / training,
        seconds=dict(spent),
    )


@pytest.mark.parametrize("sites", list(HIDDEN))
def test_growth_with_sites(sites: int, spent: dict[str, float], tmp_path: Path, benchmark: Any, say: Any) -> None:
    """Equal layers, all of them verdict sites: the most that can be asked of them."""
    model = {"kind": "mlp", "hidden": HIDDEN[sites], "epochs": 8, "patience": None}
    benchmark.pedantic(lambda: _audit(tmp_path / "run", 6000, model, {"verdict": ["all"], "profile": "all"}), rounds=1)
    causal, training = sum(spent[name] for name in CAUSAL), spent["train_model"]
    say(
        f"causal stage, {sites} verdict sites, 6000 rows: {causal / training:.2f} times training; seconds by part: {_shown(spent)}",
        ratio=causal / training,
        seconds=dict(spent),
    )
