"""A whole audit beside the parts that no audit can avoid: synthesizers, training, one forward pass.

Seconds are of the processor, since all of it runs in one process: other work on the machine does not count. The quick start alone:

    python -m pytest tests/benchmarks/test_whole_audit.py -m study -n 0 -k quickstart
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
import pandas as pd
import pytest

import proxyaudit.pipeline.measure
import proxyaudit.pipeline.synthesize
import proxyaudit.pipeline.train
from proxyaudit.audits.plan import plan_audit
from proxyaudit.pipeline.cost import CORES
from proxyaudit.pipeline.run import run_audit

pytestmark = [pytest.mark.study, pytest.mark.timeout(1800)]

PARTS = {
    "synthesize": proxyaudit.pipeline.synthesize,
    "train_model": proxyaudit.pipeline.train,
    "capture": proxyaudit.pipeline.train,
    "plant_placebos": proxyaudit.pipeline.measure,
}
UNAVOIDABLE = ("synthesize", "train_model", "capture")
RECIPE = """\
name: bench
data: {path: real.csv, target: pay, protected: [sex]}
regimes:
  - real
  - synthetic: {sdv: gaussian_copula}
model: {kind: mlp, hidden: [64, 32], epochs: EPOCHS, batch_size: 128, patience: null}
references: {placebos: 20}
seeds: 2
"""


def _table(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    sex = rng.choice(["f", "m"], n)
    age = (rng.normal(40, 10, n) + 6 * (sex == "m")).round(3)
    job = np.where(rng.random(n) < 0.7, np.where(sex == "m", "smith", "nurse"), "clerk")
    pay = np.where(age + 4 * (sex == "m") + rng.normal(0, 8, n) > 45, "high", "low")
    return pd.DataFrame({"age": age, "hours": rng.normal(38, 4, n).round(3), "job": job, "sex": sex, "pay": pay})


@pytest.fixture
def spent(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Seconds of each part, taken where the audit calls it, so that both sides are of one and the same run."""
    seconds: dict[str, float] = defaultdict(float)

    def timed(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            try:
                return call(*args, **kwargs)
            finally:
                seconds[name] += time.process_time() - start

        return run

    for name, place in PARTS.items():
        monkeypatch.setattr(place, name, timed(name, getattr(place, name)))
    monkeypatch.setattr(proxyaudit.pipeline.measure, "resolve_name", lambda path: timed(path.split(".")[2], resolve_name(path)))
    return seconds


def _audit(recipe: Path, spent: dict[str, float], tmp_path: Path, benchmark: Any, say: Any, what: str) -> None:
    def audit() -> None:
        start = time.process_time()
        result = run_audit(recipe, out=tmp_path / "out", jobs=1)
        spent["whole"] = time.process_time() - start
        assert result.status == "complete"

    benchmark.pedantic(audit, rounds=1)
    parts = sum(spent[name] for name in UNAVOIDABLE)
    shown = ", ".join(f"{name} {spent[name]:.1f}" for name in sorted(spent, key=lambda name: -spent[name]) if name != "whole")
    planned = 60 * CORES * plan_audit(recipe)["estimated_minutes"]
    say(
        f"whole audit, {what}, 1 process: {spent['whole'] / parts:.1f} times its unavoidable parts "
        f"({spent['whole']:.1f} s against {parts:.1f} s); the plan said {planned:.0f} s; seconds by part: {shown}",
        times_unavoidable=spent["whole"] / parts,
        planned=planned / spent["whole"],
        seconds=dict(spent),
    )


@pytest.mark.parametrize(("n", "epochs"), [(1000, 5), (8000, 20)])
def test_whole_audit(n: int, epochs: int, spent: dict[str, float], benchmark: Any, say: Any, tmp_path: Path) -> None:
    _table(n).to_csv(tmp_path / "real.csv", index=False)
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("EPOCHS", str(epochs)))
    _audit(tmp_path / "recipe.yaml", spent, tmp_path, benchmark, say, f"{n} rows, {epochs} epochs")


def test_quickstart(spent: dict[str, float], benchmark: Any, say: Any, tmp_path: Path) -> None:
    """Wanted: at most 3 times the unavoidable parts."""
    _audit(Path(__file__).parents[2] / "recipes" / "quickstart.yaml", spent, tmp_path, benchmark, say, "the quick start")
