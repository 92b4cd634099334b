"""Which device transformers run on, and that nothing but the last digits depends on it. No test here needs a graphics processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from shifting import shifted_outputs
from text_world import MAX_TOKENS, save_tiny

from proxyaudit.activations.capture import capture
from proxyaudit.activations.frozen import pooled_texts
from proxyaudit.errors import InputError
from proxyaudit.models import text as devices
from proxyaudit.models.base import TrainedModel
from proxyaudit.models.build import build_model
from proxyaudit.models.kinds.huggingface import HuggingFaceSpec
from proxyaudit.models.training import train_model
from proxyaudit.models.versions import versions
from proxyaudit.recipe.recipe import SitesSpec, parse_recipe


@pytest.mark.parametrize(
    ("asked", "there", "expected"),
    [("", 0, "cpu"), ("auto", 0, "cpu"), ("auto", 1, "cuda"), ("CPU", 2, "cpu"), ("cuda", 1, "cuda"), ("cuda:1", 2, "cuda:1")],
)
def test_the_variable_and_what_torch_finds_decide(monkeypatch: pytest.MonkeyPatch, asked: str, there: int, expected: str) -> None:
    monkeypatch.setenv(devices.VARIABLE, asked)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # put back after the test, since asking for CUDA sets it
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"card {device.index}")
    assert str(devices.accelerator()) == expected
    assert versions(text=True).get("device") == {"cpu": None, "cuda": "cuda card None", "cuda:1": "cuda card 1"}[expected]
    assert "device" not in versions()


@pytest.mark.parametrize(("asked", "there", "message"), [("gpu", 1, "no device"), ("cuda", 0, "finds no"), ("cuda:3", 1, "finds no")])
def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch, asked: str, there: int, message: str) -> None:
    monkeypatch.setenv(devices.VARIABLE, asked)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    with pytest.raises(InputError, match=message):
        devices.accelerator()


def make(folder: Path, **more: Any) -> tuple[TrainedModel, HuggingFaceSpec]:
    spec = HuggingFaceSpec(kind="huggingface", path=str(folder), max_length=MAX_TOKENS, head_hidden=(6,), **more)
    model = build_model(spec, SitesSpec(), n_inputs=MAX_TOKENS, n_classes=2, base=folder, seed=0)
    return model, spec


def tokens(n: int = 90) -> np.ndarray[Any, np.dtype[np.float32]]:
    rng = np.random.default_rng(0)
    x = np.full((n, MAX_TOKENS), -1, dtype=np.float32)
    for row in x:
        row[: rng.integers(2, MAX_TOKENS)] = rng.integers(2, 40)
    return x


@pytest.mark.parametrize("tune", ["head", "full"])
def test_a_model_goes_to_the_device_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tune: str) -> None:
    """``cpu:0`` stands in for another device: torch tells it from ``cpu``, and computes the same there."""
    model, spec = make(save_tiny("bert", tmp_path / "bert"), tune=tune, epochs=1, patience=None)
    x, moves = tokens(), []
    y, weight = (x[:, 0] > 20).astype(np.int64), np.ones(len(x), dtype=np.float32)

    def results() -> tuple[Any, ...]:
        seen, trained = capture(model, x), train_model(model, x, y, weight, spec, 3)
        shifted = shifted_outputs(model, x, {"pooled": np.ones((len(x), 16), dtype=np.float32)})
        return seen.acts["layer0"], seen.outputs, pooled_texts(model, x), trained.module.head.weight.detach().numpy(), shifted

    plain = results()
    original = torch.nn.Module.to
    monkeypatch.setattr(devices, "accelerator", lambda: torch.device("cpu:0"))
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, *a, **k: moves.append(str(a[0])) or original(self, *a, **k))
    state = torch.get_rng_state()
    for ours, theirs in zip(results(), plain, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert torch.equal(state, torch.get_rng_state())
    assert moves == ["cpu:0", "cpu"] * 3
    with pytest.raises(RuntimeError, match="stop"), devices.placed(model.module):
        raise RuntimeError("stop")
    assert moves[-1] == "cpu"


def test_a_frozen_transformer_in_bfloat16_gives_float32_values(tmp_path: Path) -> None:
    folder = save_tiny("bert", tmp_path / "bert")
    x = tokens()
    (plain, _), (half, _) = make(folder), make(folder, precision="bfloat16")
    assert {p.dtype for p in half.module.backbone.parameters()} == {torch.bfloat16}
    assert half.module.head.weight.dtype == torch.float32
    wide, narrow = capture(plain, x), capture(half, x)
    assert list(wide.acts) == list(narrow.acts)
    for site, acts in narrow.acts.items():
        assert acts.dtype == np.float32
        scale = float(np.abs(wide.acts[site]).mean())
        assert 0 < float(np.abs(acts - wide.acts[site]).mean()) < 0.03 * scale, site


@pytest.mark.parametrize(
    ("model", "regime", "message"),
    [({"tune": "full"}, "real", "frozen transformer"), ({}, {"quantise": "int8", "of": "real"}, "starts from float32")],
)
def test_bfloat16_is_refused_where_it_would_mislead(model: dict[str, Any], regime: Any, message: str) -> None:
    data = {"path": "t.csv", "text": "t", "target": "y", "protected": ["a"]}
    spec = {"kind": "huggingface", "path": "m", "precision": "bfloat16"} | model
    with pytest.raises(InputError, match=message):
        parse_recipe({"name": "n", "data": data, "regimes": ["real", *([] if regime == "real" else [regime])], "model": spec})
