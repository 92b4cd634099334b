"""Tiny pretrained transformers: what is read where, against transformers' own hidden states; tuning, quantising, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from shifting import shifted_outputs
from text_world import MAX_TOKENS, WORDS, save_tiny, tiny_config, transformers

from proxyaudit.activations.capture import Captured, capture
from proxyaudit.activations.frozen import Features, capture_head, row_keys, train_head
from proxyaudit.activations.replay import differentiable, outputs_with, replayer
from proxyaudit.causal.relearning import Problem, Relearner, Rotation
from proxyaudit.errors import InputError
from proxyaudit.models.base import TrainedModel
from proxyaudit.models.blocks import NoBlockError, last_block
from proxyaudit.models.build import build_model
from proxyaudit.models.checkpoints import load_weights, save_weights
from proxyaudit.models.huggingface import make_tokenizer
from proxyaudit.models.kinds.huggingface import HuggingFaceSpec
from proxyaudit.models.quantise import Int8Linear, quantise
from proxyaudit.models.text import TextClassifier, pool
from proxyaudit.models.training import train_model
from proxyaudit.recipe.patterns import check_span, compile_spans
from proxyaudit.recipe.recipe import SitesSpec
from proxyaudit.regimes import TrainingData

KINDS = ("bert", "gpt2", "llama", "t5")
FINE = SitesSpec(profile=("all", "layer*"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    transformers()
    root = tmp_path_factory.mktemp("models")
    for kind in KINDS:
        save_tiny(kind, root / kind)
    return root


def build(folders: Path, kind: str, *, sites: SitesSpec | None = None, classes: int = 2, **more: Any) -> TrainedModel:
    spec = HuggingFaceSpec(kind="huggingface", path=kind, max_length=MAX_TOKENS, **more)
    return build_model(spec, sites or SitesSpec(), n_inputs=MAX_TOKENS, n_classes=classes, base=folders, seed=1)


def tokens(n: int = 37, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    table = np.full((n, MAX_TOKENS), -1, dtype=np.float32)
    for row, length in enumerate(rng.integers(1, MAX_TOKENS + 1, n)):
        table[row, :length] = rng.integers(2, len(WORDS), length)
    return table


def module_of(model: TrainedModel) -> TextClassifier:
    assert isinstance(model.module, TextClassifier)
    return model.module


@pytest.mark.parametrize("kind", KINDS)
def test_every_site_is_what_transformers_itself_gives(folders: Path, kind: str) -> None:
    model, x = build(folders, kind, sites=FINE), tokens()
    got, module = capture(model, x), module_of(model)
    assert list(got.acts) == [site for site in module.fine_taps() if site in model.sites]
    theirs = transformers().AutoModel.from_pretrained(folders / kind, attn_implementation="eager").eval()
    body = theirs.get_encoder() if kind == "t5" else theirs
    heads: dict[int, torch.Tensor] = {}
    for number, layer in enumerate(module.layers):
        body.get_submodule(str(layer.attention)).register_forward_pre_hook(lambda _, args, n=number: heads.update({n: args[0]}))
    for row in range(0, len(x), 6):
        ids = torch.tensor(x[row][x[row] >= 0], dtype=torch.int64)[None]  # alone and unpadded: a mask that were ignored would show
        with torch.no_grad():
            out = body(input_ids=ids, output_hidden_states=True)
        wanted = {"embeddings": out.hidden_states[0], "layer0": out.hidden_states[1]}
        for site, value in wanted.items():
            np.testing.assert_allclose(got.acts[site][row], value[0].mean(0).numpy(), rtol=1e-4, atol=1e-5, err_msg=site)
        np.testing.assert_allclose(got.acts["penultimate"][row], out.last_hidden_state[0].mean(0).numpy(), rtol=1e-4, atol=1e-5)
        for number in range(2):
            parts = np.concatenate([got.acts[f"layer{number}.head{h}"][row] for h in range(2)])
            np.testing.assert_allclose(parts, heads[number][0].mean(0).numpy(), rtol=1e-4, atol=1e-5)
    with_norm = kind != "bert"
    assert ("layer1" in model.sites) == with_norm
    assert model.aliases == ({} if with_norm else {"layer1": "penultimate"})


def test_default_sites_hold_one_of_each_block(folders: Path) -> None:
    assert build(folders, "bert").sites == ("embeddings", "layer0", "penultimate")
    assert build(folders, "gpt2", head_hidden=(8, 4)).sites == ("embeddings", "layer0", "layer1", "pooled", "dense0", "penultimate")
    assert build(folders, "bert", pooling="cls").sites == ("embeddings", "layer0", "layer1", "penultimate")
    with pytest.raises(InputError, match="nearest sites"):
        build(folders, "bert", sites=SitesSpec(profile=("layer7",)))
    for verdict in (("layer0",), ("pooled", "penultimate")):
        with pytest.raises(InputError, match="one verdict site"):
            build(folders, "bert", sites=SitesSpec(verdict=verdict), head_hidden=(6,))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_read_is_one_phrase_and_bars_nothing(folders: Path, kind: str) -> None:
    default, wide = build(folders, kind), build(folders, kind, sites=SitesSpec(profile=("everything",)))
    assert default.unread == "attention heads, attention outputs and MLP outputs of 2 layers"
    assert (default.unprofiled, wide.unprofiled, wide.unread) == ((), (), "")
    assert set(wide.sites) == set(module_of(wide).fine_taps()) > set(default.sites)
    # A head of a layer is not the layer.
    some = build(folders, kind, sites=SitesSpec(profile=("layer0.head*", "layer?.mlp", "layer1.head0", "layer1.attention")))
    assert some.unprofiled[:2] == ("embeddings", "layer0")
    assert some.unread == "attention heads and attention outputs of 2 layers"


def test_pooling_reads_the_tokens_of_the_mask_alone() -> None:
    value = torch.arange(24, dtype=torch.float32).reshape(2, 4, 3)
    mask = torch.tensor([[True, True, False, False], [True, True, True, True]])
    assert pool(value, mask, "mean").tolist() == [[1.5, 2.5, 3.5], [16.5, 17.5, 18.5]]
    assert pool(value, mask, "cls").tolist() == [[0, 1, 2], [12, 13, 14]]
    assert pool(value, mask, "last").tolist() == [[3, 4, 5], [21, 22, 23]]
    assert pool(value.to(torch.bfloat16), mask, "mean").dtype == torch.float32


@pytest.mark.parametrize(("kind", "pooling"), [("bert", "mean"), ("bert", "cls"), ("gpt2", "last")])
def test_a_text_stands_alone_and_replays_agree(folders: Path, kind: str, pooling: str) -> None:
    model, x = build(folders, kind, pooling=pooling, head_hidden=(6,)), tokens()
    whole, order = capture(model, x), np.random.default_rng(1).permutation(len(x))
    shuffled = capture(model, x[order], batch_size=5)
    for site in model.sites:
        np.testing.assert_allclose(shuffled.acts[site], whole.acts[site][order], rtol=1e-4, atol=1e-5, err_msg=site)
    np.testing.assert_allclose(shuffled.outputs, whole.outputs[order], atol=1e-6)
    rng = np.random.default_rng(2)
    rows = np.arange(0, len(x), 2)
    for site in ("pooled", "penultimate", "layer0"):
        shift = rng.normal(size=(len(rows), whole.acts[site].shape[1]))
        direct = shifted_outputs(model, x[rows], {site: shift})
        assert np.abs(direct - whole.outputs[rows]).max() > 1e-3
        np.testing.assert_allclose(replayer(model, x, site)(shift, rows), direct, atol=1e-5, err_msg=site)
        np.testing.assert_allclose(replayer(model, x, site, whole.acts[site])(shift, rows), direct, atol=1e-5, err_msg=site)
        moved = torch.tensor(shift, dtype=torch.float32, requires_grad=True)
        logits = differentiable(model, x, (site,), whole.acts[site])(moved, torch.tensor(rows))
        np.testing.assert_allclose(torch.sigmoid(logits).detach().numpy(), direct, atol=1e-5)
        assert torch.autograd.grad(logits.sum(), moved)[0].abs().max() > 0
    width = whole.acts["layer0"].shape[1]
    swap = {"layer0": (np.eye(width), np.eye(width), whole.acts["layer0"][::-1].astype(np.float64))}
    wanted = shifted_outputs(model, x, {"layer0": whole.acts["layer0"][::-1] - whole.acts["layer0"]})
    if pooling != "cls":  # a swap of the mean moves every token alike
        np.testing.assert_allclose(outputs_with(model, x, swap), wanted, atol=1e-5)


SPANS = {"pronoun": r"\b(?:she|he)\b", "verdict": r"good|bad w1"}


def test_a_span_is_pooled_over_its_own_tokens(folders: Path) -> None:
    spec = HuggingFaceSpec(kind="huggingface", path="gpt2", max_length=MAX_TOKENS, spans=SPANS)
    given = ["w1 she w2 bad w1 he", "w3 w4", "good bad", "w5 he"]
    marked = make_tokenizer(spec, folders)(given)
    digits = [[round(number % 1 * 16) for number in row] for row in marked]
    assert digits == [[0, 1, 0, 2, 2, 1], [0, 0], [2, 0], [0, 1]]
    plain = make_tokenizer(spec.model_copy(update={"spans": {}}), folders)(given)
    assert [[int(number) for number in row] for row in marked] == plain
    x = np.full((len(given), MAX_TOKENS), -1, dtype=np.float32)
    for row, numbers in enumerate(marked):
        x[row, : len(numbers)] = numbers
    model = build(folders, "gpt2", spans=SPANS, pooling="pronoun", site_pooling="verdict")
    got = capture(model, x)
    theirs = transformers().AutoModel.from_pretrained(folders / "gpt2", attn_implementation="eager").eval()
    for row, ids in enumerate(plain):
        with torch.no_grad():
            out = theirs(input_ids=torch.tensor(ids)[None], output_hidden_states=True)
        for site, value, digit in (("penultimate", out.last_hidden_state[0], 1), ("layer0", out.hidden_states[1][0], 2)):
            inside = [place for place, mark in enumerate(digits[row]) if mark & digit] or list(range(len(ids)))
            np.testing.assert_allclose(got.acts[site][row], value[inside].mean(0).numpy(), rtol=1e-4, atol=1e-5, err_msg=site)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"pooling": "name"}, "one of mean, cls, last, pronoun, verdict"),
        ({"spans": {"cls": "a"}}, "a way of pooling"),
        ({"spans": {"a": "("}}, "cannot be read"),
        ({"spans": {"a": "x*"}}, "matches everywhere"),
        ({"spans": {"a": "a{99999999999}"}}, "cannot be read"),
        *(({"spans": {"a": pattern}}, "a place between letters") for pattern in ("(?=she)", r"\b", r"(?<=x)y*")),
        ({"spans": {f"s{i}": "x" for i in range(5)}}, "at most 4"),
    ],
)
def test_spans_that_cannot_be(more: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        HuggingFaceSpec.model_validate({"kind": "huggingface", "path": "x", "spans": SPANS, **more})


@pytest.mark.parametrize(
    "pattern", [r"(?:she|he)(?:\s\w+)*", r"(?:ab+)+", r"(?:a{3})+", r"(?:a+){2}", r"[A-Z]\w*(?:, \w+)*", "x+y+", "((a+))+"]
)
def test_spans_that_can_be(pattern: str) -> None:
    assert HuggingFaceSpec.model_validate({"kind": "huggingface", "path": "x", "spans": {"a": pattern}}).spans["a"] == pattern


@pytest.mark.parametrize("pattern", ["(a+)+$", "(?:(a*)b*?)*c", r"x(y|\w+)+!", "(a{1,3})+b", "(?=(a+)+$)a"])
def test_repeats_of_repeats_take_no_time(pattern: str) -> None:
    check_span("a", pattern)
    found = compile_spans({"a": pattern})["a"]
    for text in ("a" * 60 + "!", "x" + "y" * 60, "ab" * 30):
        found.find(text)


def test_a_pattern_that_takes_for_ever_is_refused_when_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxyaudit.recipe.patterns.SPAN_SECONDS", 0.3)
    found = compile_spans({"a": "(a|aa)+c"})["a"]
    with pytest.raises(InputError, match=r"more than 0\.3 seconds"):
        found.find("a" * 60)


def test_a_span_found_between_letters_is_refused_when_it_is() -> None:
    found = compile_spans({"a": "(?<=q)(?=u)"})["a"]
    with pytest.raises(InputError, match="a place between letters"):
        found.find("quite")


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_batches_by_length_are_the_texts_one_by_one(folders: Path, kind: str) -> None:
    model, x = build(folders, kind, sites=FINE), tokens(75)
    module, lengths = module_of(model), (x >= 0).sum(axis=1)
    batches = list(module.batches(x, 4096))
    assert sorted(np.concatenate(batches)) == list(range(len(x)))
    assert max(map(len, batches)) == 64  # the limit of rows; that of tokens asks for more than these texts have
    assert all(lengths[a].min() >= lengths[b].max() for a, b in pairwise(batches))
    wide = np.where(np.arange(4096) < 2000, 2.0, -1.0).astype(np.float32)[None].repeat(9, axis=0)
    assert [len(rows) for rows in module.batches(wide, 4096)] == [3, 3, 3]  # 6 144 tokens at once
    together, alone = capture(model, x), [capture(model, x[row : row + 1]) for row in range(len(x))]
    for site in model.sites:
        each = np.concatenate([one.acts[site] for one in alone])
        np.testing.assert_allclose(together.acts[site], each, rtol=1e-4, atol=2e-5, err_msg=site)
    np.testing.assert_allclose(together.outputs, np.concatenate([one.outputs for one in alone]), atol=1e-6)


def test_a_shift_of_one_head_reaches_that_head_alone(folders: Path) -> None:
    model, x = build(folders, "gpt2", sites=FINE), tokens()
    seen: dict[str, np.ndarray] = {}
    shift = np.ones((len(x), 8))
    with_shift = replace(model, sites=("layer0.head1", "layer0.head0"))
    before = capture(with_shift, x).acts
    from proxyaudit.models.hooks import tapped

    with tapped(model, lambda _, value: value + 1.0, ("layer0.head1",)):
        seen = dict(capture(with_shift, x).acts)
    np.testing.assert_array_equal(seen["layer0.head0"], before["layer0.head0"])
    np.testing.assert_allclose(seen["layer0.head1"], before["layer0.head1"] + 1, atol=1e-5)
    assert np.abs(shifted_outputs(model, x, {"layer0.head1": shift}) - capture(model, x).outputs).max() > 1e-4


def labelled(n: int = 160) -> TrainingData:
    x = tokens(n)
    y = np.array([int((row == WORDS.index("w3")).any()) for row in x], dtype=np.int64)
    return TrainingData(x, y, np.ones(n, dtype=np.float32), {})


@pytest.mark.parametrize("hidden", [(), (6,)])
def test_a_head_on_looked_up_values_is_the_head_trained_through_the_transformer(folders: Path, hidden: tuple[int, ...]) -> None:
    spec = HuggingFaceSpec(kind="huggingface", path="bert", max_length=MAX_TOKENS, epochs=2, head_hidden=hidden)
    model, data, audit = build(folders, "bert", head_hidden=hidden), labelled(), tokens(30, seed=5)
    first = "pooled" if hidden else "penultimate"
    acts = {site: value for site, value in capture(model, audit).acts.items() if site == first or site.startswith(("layer", "emb"))}
    features = Features({key.tobytes(): i for i, key in enumerate(row_keys(data.x))}, capture(model, data.x).acts[first], acts)
    quick = train_head(model, data, features, spec, 3)
    slow = train_model(model, data.x, data.y, data.weight, spec, 3)
    assert quick.details["best_epoch"] == slow.details["best_epoch"]
    for one, two in zip(module_of(quick).head.parameters(), module_of(slow).head.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-5)
    looked_up, run = capture_head(quick, features.audit), capture(quick, audit)
    assert list(looked_up.acts) == list(run.acts)
    np.testing.assert_allclose(looked_up.outputs, run.outputs, atol=1e-6)
    np.testing.assert_allclose(looked_up.acts["penultimate"], run.acts["penultimate"], atol=1e-5)
    with pytest.raises(KeyError):
        features.of(tokens(3, seed=77))


@pytest.mark.parametrize(("kind", "tune"), [("bert", "head"), ("bert", "lora"), ("gpt2", "lora"), ("gpt2", "full")])
def test_what_is_tuned_changes_and_nothing_else(folders: Path, tmp_path: Path, kind: str, tune: str) -> None:
    spec = HuggingFaceSpec(kind="huggingface", path=kind, max_length=MAX_TOKENS, tune=tune, epochs=2, learning_rate=0.01)
    model, data = build(folders, kind, tune=tune), labelled(96)
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    trained = train_model(model, data.x, data.y, data.weight, spec, 4)
    again = train_model(model, data.x, data.y, data.weight, spec, 4)
    after = trained.module.state_dict()
    assert set(after) == set(before)  # adapters are merged and leave no names behind
    assert all(torch.equal(model.module.state_dict()[name], value) for name, value in before.items())
    assert all(torch.equal(value, again.module.state_dict()[name]) for name, value in after.items())
    body = [not torch.equal(after[name], before[name]) for name in before if name.startswith("backbone.")]
    assert not torch.equal(after["head.weight"], before["head.weight"])
    assert any(body) == (tune != "head")
    save_weights(trained, tmp_path / "w.safetensors")
    back = load_weights(model, tmp_path / "w.safetensors", what="weights")
    np.testing.assert_array_equal(capture(back, data.x).outputs, capture(trained, data.x).outputs)
    assert (tmp_path / "w.safetensors").stat().st_size < 2000 or tune != "head"  # a frozen transformer is not written again


def test_the_last_block_is_the_heads_or_the_transformers(folders: Path) -> None:
    x = tokens(90)
    with_hidden = build(folders, "bert", head_hidden=(8,))
    acts = capture(with_hidden, x).acts
    block = last_block(with_hidden, x, acts)
    assert block.text == "the head's last hidden layer"
    np.testing.assert_allclose(block.module(block.values).detach().numpy(), acts["penultimate"], atol=1e-5)
    with pytest.raises(NoBlockError, match="'pooled'"):
        last_block(with_hidden, x, {})
    with pytest.raises(NoBlockError, match="no more can come back than from the untrained model") as frozen:
        last_block(build(folders, "bert"), x, acts)
    assert not frozen.value.applies  # a frozen transformer under a linear head: nothing before the head was trained
    linear = build(folders, "gpt2", tune="full")
    acts = capture(linear, x).acts
    block = last_block(linear, x, acts)
    assert block.text == "the transformer's last layer"
    assert block.free
    assert all(".h.1." in name for name in block.free)
    np.testing.assert_array_equal(block.vectors(), acts["layer0"])
    labels = (x == WORDS.index("w3")).any(axis=1).astype(np.int64)
    labels[:45] = 1 - labels[45:]
    rotation = Rotation(np.arange(30), np.arange(30, 60), np.arange(60, 90))
    (found,) = Relearner(block.module, block.values, block.free, (1, 2)).solve([Problem(labels, np.arange(30), 0)], [rotation], 2)
    assert np.isfinite(found.leak)
    assert found.influence.shape == (30,)


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_quantised_models_stay_close_but_not_equal(folders: Path, kind: str) -> None:
    model, x = build(folders, kind), tokens()
    plain = capture(model, x)
    for how, most in (("int8", 0.15), ("bf16", 0.1)):
        made = quantise(model, how)
        got: Captured = capture(made, x)
        error = np.abs(got.acts["penultimate"] - plain.acts["penultimate"]) / plain.acts["penultimate"].std()
        assert 0 < error.max() < most * 10
        assert 0 < np.sqrt((error**2).mean()) < most
        alone = capture(made, x[5:6]).acts["penultimate"]
        np.testing.assert_allclose(alone, got.acts["penultimate"][5:6], atol=0.05 if how == "bf16" else 1e-3)
        shift = torch.zeros(3, plain.acts["layer0"].shape[1], requires_grad=True)
        logits = differentiable(made, x, ("layer0",))(shift, torch.arange(3))
        assert torch.autograd.grad(logits.sum(), shift)[0].abs().max() > 0
    assert np.array_equal(capture(model, x).outputs, plain.outputs)  # the argument itself is not changed
    with pytest.raises(ValueError, match="int3"):
        quantise(model, "int3")


def test_int8_products_are_products_of_integers() -> None:
    rng = torch.Generator().manual_seed(0)
    weight, value, bias = torch.randn(5, 7, generator=rng), torch.randn(3, 7, generator=rng), torch.randn(5, generator=rng)
    layer = Int8Linear(weight, bias)
    scale_w, scale_x = weight.abs().amax(1) / 127, value.abs().amax(1) / 127
    w8, x8 = torch.round(weight / scale_w[:, None]).to(torch.int32), torch.round(value / scale_x[:, None]).to(torch.int32)
    wanted = (x8 @ w8.T).float() * scale_x[:, None] * scale_w + bias
    torch.testing.assert_close(layer(value), wanted, rtol=1e-4, atol=1e-5)
    assert layer.codes.dtype == torch.int8


def test_what_cannot_be_loaded_is_refused_in_one_line(folders: Path, tmp_path: Path) -> None:
    t = transformers()
    with pytest.raises(InputError, match="takes 16 tokens"):
        build_model(
            HuggingFaceSpec(kind="huggingface", path="bert", max_length=64), SitesSpec(), n_inputs=64, n_classes=2, base=folders, seed=0
        )
    with pytest.raises(InputError, match="no such model"):
        build(folders, "nowhere")
    with pytest.raises(InputError, match="no such model"):
        build(folders / "bert", "../gpt2")  # escapes the recipe's folder
    with pytest.raises(InputError, match="no such package"):
        build(folders, "bert", package="no_such_package_here")
    with pytest.raises(InputError, match="leads out of the package"):
        build(folders, "../..", package="proxyaudit.models")
    save_tiny("albert", tmp_path / "albert")
    with pytest.raises(InputError, match="shared weights"):
        build(tmp_path, "albert")
    pickled = tmp_path / "pickled"
    t.AutoConfig.from_pretrained(folders / "bert").save_pretrained(pickled)
    torch.save(t.AutoModel.from_config(tiny_config("bert")).state_dict(), pickled / "pytorch_model.bin")
    with pytest.raises(InputError, match="no safetensors"):
        build(tmp_path, "pickled")


def test_code_that_comes_with_a_model_is_not_run(folders: Path, tmp_path: Path) -> None:
    import json
    import shutil

    folder = tmp_path / "own"
    shutil.copytree(folders / "bert", folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).write_text('x')\n")
    with pytest.raises(InputError) as caught:
        build(tmp_path, "own")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()
