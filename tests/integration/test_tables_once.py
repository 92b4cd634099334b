"""Tables are read before the first worker starts, and never again: each of eight workers once read 300,000 rows of CSV for itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from proxyaudit.pipeline.run import run_audit

RECIPE = """\
name: once
data: {path: real.csv, target: pay, protected: [sex], discover: 0, holdout: held.parquet}
regimes: [real, {synthetic: {name: vendor, path: release.csv.gz}}]
effort: decide
model: {kind: mlp, hidden: [4], epochs: 1, batch_size: 64}
references: {placebos: 20, reweighed: false}
seeds: 1
cures: false
"""


def people(seed: int, rows: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    sex = rng.choice(["f", "m"], rows)
    age = (rng.normal(40, 10, rows) + 6 * (sex == "m")).round(3)
    pay = np.where(age + rng.normal(0, 8, rows) > 43, "high", "low")
    return pd.DataFrame({"age": age, "hours": rng.normal(38, 4, rows).round(3), "sex": sex, "pay": pay})


def test_no_worker_reads_a_table_again(tmp_path: Path) -> None:
    """Of three formats: the table, a holdout and a release are gone as soon as the plan stands."""
    people(0, 600).to_csv(tmp_path / "real.csv", index=False)
    people(1, 400).to_parquet(tmp_path / "held.parquet")
    people(2, 600).to_csv(tmp_path / "release.csv.gz", index=False)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    taken: list[str] = []

    def take_tables(plan: dict[str, Any]) -> dict[str, Any]:
        for name in ("real.csv", "held.parquet", "release.csv.gz"):
            (tmp_path / name).unlink()
            taken.append(name)
        return {}

    result = run_audit(tmp_path / "recipe.yaml", out=tmp_path / "out", cache_root=tmp_path / "cache", jobs=2, beside=take_tables)
    assert len(taken) == 3
    assert result.status == "complete"
    assert {finding.regime for finding in result.evidence.findings} == {"real", "vendor"}
