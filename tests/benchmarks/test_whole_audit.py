"""A whole small audit beside the parts that no audit can avoid: synthesizers, training, one forward pass."""

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
import proxyaudit.pipeline.stages
import proxyaudit.pipeline.synthesize
import proxyaudit.pipeline.train
from proxyaudit.pipeline.run import run_audit

pytestmark = [pytest.mark.study, pytest.mark.timeout(1800)]

PARTS = {
    "synthesize": proxyaudit.pipeline.synthesize,
    "train_model": proxyaudit.pipeline.train,
    "capture": proxyaudit.pipeline.train,
    "plant_placebos": proxyaudit.pipeline.measure,
    "prepared_again": proxyaudit.pipeline.stages,
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


@pytest.mark.parametrize(("n", "epochs"), [(1000, 5), (8000, 20)])
def test_whole_audit(n: int, epochs: int, benchmark: Any, say: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts are timed where the audit calls them, so both sides are of one and the same run."""
    _table(n).to_csv(tmp_path / "real.csv", index=False)
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("EPOCHS", str(epochs)))
    spent: dict[str, float] = defaultdict(float)

    def timed(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                spent[name] += time.perf_counter() - start

        return run

    for name, place in PARTS.items():
        monkeypatch.setattr(place, name, timed(name, getattr(place, name)))
    monkeypatch.setattr(proxyaudit.pipeline.measure, "resolve_name", lambda path: timed(path.split(".")[2], resolve_name(path)))

    def audit() -> None:
        start = time.perf_counter()
        result = run_audit(tmp_path / "recipe.yaml", out=tmp_path / "out", jobs=1)
        spent["whole"] = time.perf_counter() - start
        assert result.status == "complete"

    benchmark.pedantic(audit, rounds=1)
    parts = sum(spent[name] for name in UNAVOIDABLE)
    shown = ", ".join(f"{name} {seconds:.1f}" for name, seconds in spent.items() if name != "whole")
    say(
        f"whole audit, {n} rows, {epochs} epochs, 1 process: {spent['whole'] / parts:.1f} times its unavoidable parts "
        f"({spent['whole']:.1f} s against {parts:.1f} s); seconds by part: {shown}",
        times_unavoidable=spent["whole"] / parts,
        seconds=dict(spent),
    )
