"""Capture beside a bare forward pass over the same batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from proxyaudit.activations import capture
from proxyaudit.models import build_model
from proxyaudit.recipe import MlpSpec, SitesSpec

pytestmark = [pytest.mark.study, pytest.mark.timeout(1800)]

N, INPUTS, BATCH = 20_000, 100, 4096


@pytest.mark.parametrize("hidden", [(128, 64, 32), (512, 256, 128)], ids=str)
def test_capture(hidden: tuple[int, ...], in_turns: Any, threads: Any, say: Any, tmp_path: Path) -> None:
    spec = MlpSpec(kind="mlp", hidden=hidden)
    model = build_model(spec, SitesSpec(), n_inputs=INPUTS, n_classes=2, base=tmp_path, seed=0)
    x = np.random.default_rng(0).standard_normal((N, INPUTS)).astype(np.float32)
    table = torch.as_tensor(x)

    def bare() -> None:
        with torch.no_grad():
            for start in range(0, N, BATCH):
                model.module(table[start : start + BATCH])

    with threads(2):
        turns = in_turns(lambda: capture(model, x), bare, rounds=40)
    seen = capture(model, x)
    with torch.no_grad():
        logits = model.module(table).double().reshape(N, -1)
    truth = torch.sigmoid(logits) if logits.shape[1] == 1 else torch.softmax(logits, dim=1)
    np.testing.assert_allclose(seen.outputs[:, -1], truth[:, -1].numpy(), atol=1e-6)
    assert {site: acts.shape for site, acts in seen.acts.items()} == {s: (N, w) for s, w in zip(model.sites, hidden, strict=True)}
    say(
        f"capture, MLP {hidden}, {N} x {INPUTS}, all {len(model.sites)} sites: {1 / turns.ratio:.2f} times a bare forward pass "
        f"({1e3 * turns.ours:.1f} ms against {1e3 * turns.theirs:.1f})",
        times_bare=1 / turns.ratio,
    )
