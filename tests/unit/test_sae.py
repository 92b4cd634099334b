"""Sparse autoencoders: what is read of SAELens' layout, what is refused, and what latents do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from own_heads import save_own
from safetensors.torch import save_file
from sklearn.metrics import roc_auc_score
from text_world import MAX_TOKENS

from proxyaudit.errors import InputError
from proxyaudit.models.base import TrainedModel
from proxyaudit.models.kinds.huggingface import HuggingFaceSpec
from proxyaudit.models.latents import LatentParts
from proxyaudit.models.own_classifier import make_own
from proxyaudit.models.sae import load_sae, sae_hashes
from proxyaudit.models.text_parts import find_saes
from proxyaudit.recipe.circuits import SaeSpec
from proxyaudit.recipe.recipe import parse_recipe
from proxyaudit.stats.auroc import auroc_with_influence

D, M = 16, 40


def tensors(seed: int = 0, d: int = D, m: int = M, **more: torch.Tensor) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    shapes = {"W_enc": (d, m), "b_enc": (m,), "W_dec": (m, d), "b_dec": (d,)}
    return {name: torch.randn(*shape, generator=draw) * 0.5 for name, shape in shapes.items()} | more


def save(folder: Path, config: dict[str, Any], weights: dict[str, torch.Tensor]) -> SaeSpec:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cfg.json").write_text(json.dumps(config), encoding="utf-8")
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / "sae_weights.safetensors")
    return SaeSpec(at="layer.1", path=folder.name)


def written_out(config: dict[str, Any], w: dict[str, np.ndarray], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Latents and reconstruction by the formulas of SAELens, in numpy."""
    norm = config.get("normalize_activations")
    scale, mean = np.ones((len(x), 1)), np.zeros((len(x), 1))
    if norm == "layer_norm":
        mean = x.mean(axis=1, keepdims=True)
        scale = (x - mean).std(axis=1, ddof=1, keepdims=True)
    elif norm == "constant_norm_rescale":
        scale = np.linalg.norm(x, axis=1, keepdims=True) / np.sqrt(x.shape[1])
    read = (x - mean) / (scale + (1e-5 if norm == "layer_norm" else 0.0))
    before = (read - w["b_dec"] * config.get("apply_b_dec_to_input", True)) @ w["W_enc"] + w["b_enc"]
    norms = np.linalg.norm(w["W_dec"], axis=1)
    if config["architecture"] == "topk":
        before = before * norms if config.get("rescale_acts_by_decoder_norm") else before
        kept = np.argsort(-before, axis=1)[:, : config["k"]]
        latents = np.zeros_like(before)
        np.put_along_axis(latents, kept, np.maximum(np.take_along_axis(before, kept, axis=1), 0), axis=1)
    else:
        latents = np.maximum(before, 0) * (before > w.get("threshold", -np.inf))
    written = latents / norms if config.get("rescale_acts_by_decoder_norm") else latents
    return latents, (written @ w["W_dec"] + w["b_dec"]) * scale + mean


CONFIGS = [
    {"architecture": "standard"},
    {"architecture": "standard", "apply_b_dec_to_input": False, "normalize_activations": "layer_norm"},
    {"architecture": "standard", "normalize_activations": "constant_norm_rescale"},
    {"architecture": "topk", "k": 5},
    {"architecture": "topk", "k": 7, "rescale_acts_by_decoder_norm": True, "apply_b_dec_to_input": False},
    {"architecture": "jumprelu", "apply_b_dec_to_input": False},
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: "-".join(map(str, c.values())))
def test_latents_and_reconstruction_are_those_of_the_formulas(tmp_path: Path, config: dict[str, Any]) -> None:
    weights = tensors(threshold=torch.rand(M) * 0.5) if config["architecture"] == "jumprelu" else tensors()
    sae = load_sae(save(tmp_path / "s", {"d_in": D, "d_sae": M, "dtype": "float32", **config}, weights), tmp_path)
    x = np.random.default_rng(1).normal(size=(30, D))
    plain = {name: value.double().numpy() for name, value in weights.items()}
    latents, written = written_out(config, plain, x)
    value = torch.from_numpy(x)
    found = sae.encode(value)
    np.testing.assert_allclose(found.numpy(), latents, atol=1e-4)
    np.testing.assert_allclose(sae.written(value, found).numpy(), written, atol=1e-4)
    # Single latents add up to the reconstruction without its constant part.
    alone = sum(sae.written(value, found, torch.tensor([k])) for k in range(M))
    empty = sae.written(value, torch.zeros_like(found))
    np.testing.assert_allclose((alone + empty).numpy(), written, atol=1e-4)


@pytest.mark.parametrize(
    "hook", ["blocks.1.hook_resid_post", "blocks.2.hook_resid_pre", "bert.encoder.layer.1", "model.layers.1", "mine", ""]
)
def test_a_hook_that_is_the_place_or_that_nobody_knows_is_no_fault(tmp_path: Path, hook: str) -> None:
    config = {"architecture": "standard", "metadata": {"hook_name": hook}}
    assert load_sae(save(tmp_path / "s", config, tensors()), tmp_path).at == "layer1"


def test_the_layout_before_version_6_is_read(tmp_path: Path) -> None:
    old = {"d_in": D, "d_sae": M, "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 6}, "hook_point": "blocks.1.hook_resid_post"}
    sae = load_sae(save(tmp_path / "s", old, tensors(scaling_factor=torch.ones(M))), tmp_path)
    assert (sae.architecture, sae.k, sae.centred, sae.at) == ("topk", 6, True, "layer1")


FAULTS: list[tuple[dict[str, Any], dict[str, torch.Tensor], str]] = [
    ({"architecture": "gated"}, tensors(), "architecture 'gated'"),
    ({"architecture": "batchtopk"}, tensors(), "architecture 'batchtopk'"),
    ({"architecture": "jumpReLU"}, tensors(), "jumprelu"),
    ({"architecture": "standard", "activation_fn": "tanh-relu"}, tensors(), "tanh-relu"),
    ({"architecture": "standard", "normalize_activations": "expected_average_only_in"}, tensors(), "expected_average_only_in"),
    ({"architecture": "standard", "reshape_activations": "hook_z"}, tensors(), "hook_z"),
    ({"architecture": "topk"}, tensors(), "(k)"),
    ({"architecture": "topk", "k": M + 1}, tensors(), "(k)"),
    ({"architecture": "jumprelu"}, tensors(), "threshold"),
    ({"architecture": "standard"}, tensors() | {"b_enc": torch.zeros(3)}, "b_enc has shape (3,)"),
    ({"architecture": "standard"}, tensors() | {"W_dec": torch.full((M, D), float("nan"))}, "W_dec holds NaN"),
    ({"architecture": "standard"}, tensors(scaling_factor=torch.full((M,), 2.0)), "scaling_factor"),
    ({"architecture": "standard", "apply_b_dec_to_input": "false"}, tensors(), "apply_b_dec_to_input: 'false', which is no truth value"),
    ({"architecture": "topk", "k": 5, "rescale_acts_by_decoder_norm": 0}, tensors(), "which is no truth value"),
    ({"architecture": "standard"}, tensors() | {"W_enc": torch.zeros((D, M), dtype=torch.complex64)}, "W_enc holds complex numbers"),
    (
        {"architecture": "topk", "k": 5, "rescale_acts_by_decoder_norm": True},
        tensors() | {"W_dec": torch.cat([torch.zeros(1, D), torch.ones(M - 1, D)])},
        "W_dec has 1 rows of zeros",
    ),
    ({"architecture": "standard", "hook_name": "blocks.0.hook_resid_post"}, tensors(), "names the place 'blocks.0.hook_resid_post'"),
    ({"architecture": "standard", "hook_point": "blocks.1.hook_resid_pre"}, tensors(), "write 'at: layer.0'"),
    ({"architecture": "standard", "metadata": {"hook_name": "blocks.1.hook_mlp_out"}}, tensors(), "write 'at: layer.1.mlp'"),
    ({"architecture": "standard", "metadata": {"hook_name": "blocks.1.attn.hook_z"}}, tensors(), "hook_z"),
    # Places that no place here is, and layers as transformers calls them.
    ({"architecture": "standard", "hook_name": "blocks.1.hook_resid_mid"}, tensors(), "names the place 'blocks.1.hook_resid_mid'"),
    ({"architecture": "standard", "hook_name": "blocks.1.mlp.hook_post"}, tensors(), "names the place 'blocks.1.mlp.hook_post'"),
    ({"architecture": "standard", "hook_name": "blocks.1.ln2.hook_normalized"}, tensors(), "names the place 'blocks.1.ln2"),
    ({"architecture": "standard", "hook_name": "hook_embed"}, tensors(), "names the place 'hook_embed'"),
    ({"architecture": "standard", "metadata": {"hook_name": "model.layers.5"}}, tensors(), "write 'at: layer.5'"),
    ({"architecture": "standard", "metadata": {"hook_name": "bert.encoder.layer.0.output"}}, tensors(), "names the place 'bert.encoder"),
    ({"architecture": "standard", "metadata": {"hook_name": "transformer.h.1.mlp"}}, tensors(), "names the place 'transformer.h.1.mlp'"),
    ({"architecture": "standard", "metadata": {"hook_head_index": 3}}, tensors(), "reads head 3 alone"),
    # Weights of another architecture, or of another autoencoder, than the configuration says.
    ({"architecture": "standard"}, tensors(threshold=torch.ones(M)), "holds 'threshold'"),
    ({"architecture": "standard"}, tensors(W_skip=torch.ones(D, D)), "holds 'W_skip'"),
    ({"architecture": "topk", "k": 5}, tensors(finetuning_scaling_factor=torch.ones(M)), "holds 'finetuning_scaling_factor'"),
    ({"architecture": "standard", "d_in": 2 * D}, tensors(), "says d_in: 32, and W_enc has shape (16, 40)"),
    ({"architecture": "topk", "k": 5, "d_sae": M + 1}, tensors(), "says d_sae: 41"),
    ({"architecture": "standard", "d_in": "16"}, tensors(), "says d_in: 16"),
    ({"architecture": "standard"}, tensors() | {"W_enc": torch.ones((D, M), dtype=torch.int8)}, "W_enc holds int8"),
    ({"architecture": "standard", "model_from_pretrained_kwargs": {"center_writing_weights": True}}, tensors(), "centred"),
]


@pytest.mark.parametrize(("config", "weights", "said"), FAULTS, ids=lambda one: str(one)[:40])
def test_what_is_not_read_is_refused_in_one_line(tmp_path: Path, config: dict[str, Any], weights: dict, said: str) -> None:
    spec = save(tmp_path / "s", config, weights)
    with pytest.raises(InputError) as raised:
        load_sae(spec, tmp_path)
    assert said in str(raised.value)
    assert str(tmp_path) not in str(raised.value)


@pytest.mark.parametrize("spoil", ["no folder", "no weights", "pickle", "no json", "a list"])
def test_broken_folders_are_refused(tmp_path: Path, spoil: str) -> None:
    spec = save(tmp_path / "s", {"architecture": "standard"}, tensors())
    if spoil == "no folder":
        spec = SaeSpec(at="layer1", path="elsewhere")
    elif spoil == "no weights":
        (tmp_path / "s" / "sae_weights.safetensors").unlink()
    elif spoil == "pickle":
        torch.save(tensors(), tmp_path / "s" / "sae_weights.safetensors")
    else:
        (tmp_path / "s" / "cfg.json").write_text("[1]" if spoil == "a list" else "{", encoding="utf-8")
    with pytest.raises(InputError):
        load_sae(spec, tmp_path)


def model(folder: Path) -> TrainedModel:
    save_own("bert", folder, initializer_range=0.5)
    spec = HuggingFaceSpec(kind="huggingface", path=str(folder), head="own", max_length=MAX_TOKENS)
    module = make_own(spec, folder).ordered((0, 1))
    return TrainedModel(module, 2, ("penultimate",), ("penultimate",), module.fine_taps())


def test_an_autoencoder_must_fit_the_place(tmp_path: Path) -> None:
    trained = model(tmp_path / "m")
    spec = save(tmp_path / "s", {"architecture": "standard"}, tensors())
    assert find_saes(trained.module, (spec,), tmp_path)[0].latents == M  # type: ignore[arg-type]
    narrow = save(tmp_path / "n", {"architecture": "standard"}, tensors(d=12))
    with pytest.raises(InputError, match="values of width 12, the model has 16 there"):
        find_saes(trained.module, (narrow,), tmp_path)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="the model has no such place"):
        find_saes(trained.module, (SaeSpec(at="layer.7", path="s"),), tmp_path)  # type: ignore[arg-type]


def test_a_latent_is_taken_out_of_every_token_and_nothing_else_changes(tmp_path: Path) -> None:
    trained = model(tmp_path / "m")
    sae = load_sae(save(tmp_path / "s", {"architecture": "standard"}, tensors()), tmp_path)
    rng = np.random.default_rng(0)
    x = np.full((20, MAX_TOKENS), -1.0, dtype=np.float32)
    for row in range(20):
        x[row, : 4 + row % 8] = rng.integers(2, 40, 4 + row % 8)
    parts = LatentParts(trained, x, sae)
    rows, kept = np.arange(5, 15), dict[str, torch.Tensor]()
    layer = trained.module.get_submodule(f"backbone.{trained.module.layers[1].name}")  # type: ignore[union-attr]

    def by_hand(_: Any, __: Any, output: Any) -> Any:
        value = output[0] if isinstance(output, tuple) else output
        z = torch.relu((value - sae.decoder_bias_d) @ sae.encoder_dm + sae.encoder_bias_m)
        kept["z"] = z
        changed = value - z[..., 3:4] * sae.decoder_md[3]
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    for row in rows:
        with layer.register_forward_hook(by_hand), torch.no_grad():
            alone = torch.sigmoid(trained.module(torch.from_numpy(x[row : row + 1])))
        np.testing.assert_allclose(parts.without(np.array([row]), 3, 0), alone[:, 0].numpy(), atol=1e-6)
        np.testing.assert_allclose(parts.latents_nm[row], kept["z"][0].mean(dim=0).numpy(), atol=1e-5)
    assert parts.explained < 1.0


def test_the_area_and_its_influence_are_those_of_the_pairs() -> None:
    rng = np.random.default_rng(0)
    positive = rng.random(200) < 0.4
    scores = np.round(rng.normal(size=200) + positive, 1)  # with ties
    area, influence = auroc_with_influence(scores, positive)
    assert area == pytest.approx(roc_auc_score(positive, scores))
    assert influence.sum() == pytest.approx(0.0, abs=1e-12)
    drawn = []
    for _ in range(400):
        rows = np.concatenate([rng.choice(np.flatnonzero(positive == kind), int((positive == kind).sum())) for kind in (True, False)])
        drawn.append(roc_auc_score(positive[rows], scores[rows]))
    assert np.sqrt((influence**2).sum()) == pytest.approx(np.std(drawn), rel=0.15)
    with pytest.raises(ValueError, match="both kinds"):
        auroc_with_influence(scores, np.ones(200, dtype=bool))


def test_recipes_name_autoencoders_and_their_files_are_hashed(tmp_path: Path) -> None:
    spec = save(tmp_path / "s", {"architecture": "standard"}, tensors())
    assert set(sae_hashes(spec, tmp_path)) == {"sae at layer1, cfg.json", "sae at layer1, sae_weights.safetensors"}
    text = {"path": "t.csv", "text": "text", "target": "y", "protected": ["sex"]}
    asked = {"name": "t", "data": text, "regimes": ["real"], "model": {"kind": "huggingface", "path": "m"}}
    recipe = parse_recipe({**asked, "sites": {"sae": [{"at": "layer.1", "path": "/home/someone/s"}]}})
    assert recipe.published()["sites"]["sae"] == [{"at": "layer.1", "path": "s"}]
    for wrong in ({"at": "layer.1.head0", "path": "s"}, {"at": "layer.1"}, {"at": "layer.1", "path": "s", "k": 3}):
        with pytest.raises(InputError):
            parse_recipe({**asked, "sites": {"sae": [wrong]}})
    with pytest.raises(InputError, match="two autoencoders read one place"):
        parse_recipe({**asked, "sites": {"sae": [{"at": "layer.1", "path": "s"}, {"at": "layer1", "path": "other"}]}})
    plain = {"path": "t.csv", "target": "y", "protected": ["sex"]}
    with pytest.raises(InputError, match=r"sites\.sae"):
        parse_recipe({**asked, "data": plain, "model": {"kind": "mlp"}, "sites": {"sae": [{"at": "layer.1", "path": "s"}]}})
