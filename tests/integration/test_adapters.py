"""Adapters in folders of their own: merged over their base, which is hashed; nothing is loaded from where nobody looked."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from text_world import MAX_TOKENS, save_tiny, texts, transformers

from proxyaudit.activations.capture import capture
from proxyaudit.errors import InputError
from proxyaudit.language.causal_model import load_causal, same_base, settings_digests, weights_digest
from proxyaudit.models.huggingface import make_text, model_hashes
from proxyaudit.models.kinds.huggingface import HuggingFaceSpec
from proxyaudit.models.own_classifier import make_own
from proxyaudit.pipeline.plan import prepare
from proxyaudit.recipe.models import PretrainedSpec
from proxyaudit.recipe.recipe import parse_recipe

peft = pytest.importorskip("peft", reason="the extra 'text' is not installed")
AUTO = {"CAUSAL_LM": "AutoModelForCausalLM", "SEQ_CLS": "AutoModelForSequenceClassification", "FEATURE_EXTRACTION": "AutoModel"}


def save_adapter(folder: Path, base: Path, task: str, seed: int = 0, **settings: Any) -> Any:
    """Write an adapter that does something; returns the base with it merged in."""
    t = transformers()
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.default_generator.manual_seed(seed)
        model = getattr(t, AUTO[task]).from_pretrained(base, attn_implementation="eager")
        asked = {"r": 4, "target_modules": "all-linear"} | settings
        wrapped = peft.get_peft_model(model, peft.LoraConfig(task_type=task, **asked))
        for name, value in wrapped.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                torch.nn.init.normal_(value, std=0.5)
        wrapped.save_pretrained(folder)
        return wrapped.merge_and_unload().eval()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    root = tmp_path_factory.mktemp("adapters")
    for kind in ("bert", "llama", "gpt2"):
        save_tiny(kind, root / kind)
    t = transformers()
    for kind in ("llama", "gpt2"):
        with torch.random.fork_rng(devices=[]):
            t.AutoModelForCausalLM.from_config(t.AutoConfig.from_pretrained(root / kind)).save_pretrained(root / kind)
    texts(600, seed=3, told=1.0).to_csv(root / "t.csv", index=False)
    made = {
        "lora": save_adapter(root / "lora", root / "llama", "CAUSAL_LM"),
        "turned": save_adapter(root / "turned", root / "gpt2", "CAUSAL_LM", use_rslora=True),
        "body": save_adapter(root / "body", root / "bert", "FEATURE_EXTRACTION", use_dora=True),
        "v1": save_adapter(root / "v1", root / "bert", "SEQ_CLS", seed=1),
        "v2": save_adapter(root / "v2", root / "bert", "SEQ_CLS", seed=2),
    }
    return root, made


@pytest.fixture
def root(saved: tuple[Path, dict[str, Any]], tmp_path: Path) -> Path:
    """A copy, whose adapters name bases by what they are called: a folder that was moved."""
    for path in saved[0].iterdir():
        (shutil.copytree if path.is_dir() else shutil.copy)(path, tmp_path / path.name)
        _change(tmp_path / path.name, base_model_name_or_path=lambda said: Path(said).name)
    return tmp_path


def _change(folder: Path, **changes: Callable[[Any], Any]) -> None:
    path = folder / "adapter_config.json"
    if path.exists():
        said = json.loads(path.read_text())
        path.write_text(json.dumps(said | {key: how(said.get(key)) for key, how in changes.items()}))


def load(root: Path, name: str, **more: Any) -> Any:
    spec = HuggingFaceSpec(kind="huggingface", path=name, max_length=8, **more)
    return make_text(spec, n_inputs=8, n_classes=2, base=root)


def refused(root: Path, name: str, **more: Any) -> str:
    with pytest.raises(InputError) as caught:
        load(root, name, **more)
    assert "\n" not in str(caught.value)
    assert caught.value.mend
    return str(caught.value)


@pytest.mark.parametrize("name", ["lora", "turned", "body", "v1"])
def test_an_adapter_does_over_its_base_what_peft_does(name: str, root: Path, saved: tuple[Path, dict[str, Any]]) -> None:
    body = load(root, name).backbone
    model = saved[1][name]
    theirs = model if name == "body" else getattr(model, model.base_model_prefix)
    ids = torch.tensor([[3, 4, 5, 6], [7, 8, 9, 3]])
    with torch.no_grad():
        assert torch.allclose(body(input_ids=ids).last_hidden_state, theirs(input_ids=ids).last_hidden_state, atol=1e-5)


def test_the_base_is_part_of_the_digest(root: Path) -> None:
    spec, source = HuggingFaceSpec(kind="huggingface", path="lora", max_length=8), PretrainedSpec(path="lora")
    before = (model_hashes(spec, root), weights_digest(source, root), load_causal(source, root).digest)
    assert {"model adapter_model.safetensors", "model base model.safetensors", "model base config.json"} <= before[0].keys()
    assert same_base(source, PretrainedSpec(path="llama"), root) is not True
    first = load(root, "lora").backbone.state_dict()
    tensors = load_file(root / "llama" / "model.safetensors")
    save_file({name: value + 0.5 for name, value in tensors.items()}, root / "llama" / "model.safetensors", metadata={"format": "pt"})
    after = (model_hashes(spec, root), weights_digest(source, root), load_causal(source, root).digest)
    assert [name for name in before[0] if before[0][name] != after[0][name]] == ["model base model.safetensors"]
    assert before[1] != after[1]
    assert before[2] != after[2]
    again = load(root, "lora").backbone.state_dict()  # nothing of the old base is kept
    assert all(not torch.equal(first[name], again[name]) for name in first if "norm" not in name)
    settings = settings_digests(source, root, "m")
    (root / "llama" / "generation_config.json").write_text("{ }")
    assert settings_digests(source, root, "m") != settings


def test_two_adapters_of_one_base_are_audited_with_their_own_heads(root: Path, saved: tuple[Path, dict[str, Any]]) -> None:
    document = {
        "name": "pair",
        "data": {"path": "t.csv", "text": "text", "target": "y", "protected": ["sex"], "discover": 0},
        "regimes": [{"name": "v1", "path": "v1"}, {"name": "v2", "path": "v2"}],
        "model": {"kind": "huggingface", "path": "v1", "head": "own", "labels": ["no", "yes"], "max_length": MAX_TOKENS, "base": "bert"},
        "seeds": 1,
        "references": {"placebos": 20},
    }
    made = prepare(parse_recipe(document), root)
    tokenizer = transformers().AutoTokenizer.from_pretrained(root / "bert")
    tokens = tokenizer(list(made.dataset.audit["text"]), padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
    for name in ("v1", "v2"):
        regime = made.regime(name)
        ours = capture(made.build_of(regime, 0), made.audit_inputs(regime)).outputs[:, 0]
        with torch.no_grad():
            logits = saved[1][name](input_ids=tokens.input_ids, attention_mask=tokens.attention_mask).logits
        assert np.abs(ours - logits.softmax(1)[:, 1].numpy()).max() < 1e-5
    assert "regime v2, model base model.safetensors" in made.plan.hashes
    assert "base" in parse_recipe(document).published()["model"]


def test_a_base_is_found_where_the_recipe_says(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    away = tmp_path_factory.mktemp("away")
    shutil.move(root / "bert", away / "renamed")
    assert "name the base in the recipe: model: {base: DIR}" in refused(root, "body")
    _change(root / "body", base_model_name_or_path=lambda _: str(away / "renamed"))
    assert "is no folder here" in refused(root, "body")  # an adapter does not send a loader elsewhere
    load(root, "body", base=str(away / "renamed"))
    assert "there is no such folder" in refused(root, "body", base="nowhere")
    assert "is no model's folder" in refused(root, "body", base="lora")


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("body", {"peft_type": lambda _: "IA3"}, "of kind 'IA3', and only LORA"),
        ("body", {"megatron_config": lambda _: {"a": 1}, "megatron_core": lambda _: "os"}, "sets 'megatron_con"),
        ("body", {"init_lora_weights": lambda _: "pissa"}, "sets 'init_lora_weights'"),
        ("body", {"layer_replication": lambda _: [[0, 1]]}, "sets 'layer_replication'"),
        ("body", {"task_type": lambda _: "SEQ_2_SEQ_LM"}, "the task 'SEQ_2_SEQ_LM'"),
        ("body", {"base_model_name_or_path": lambda _: None}, "names no base model"),
        ("body", {"base_model_name_or_path": lambda _: "someone/on-a-hub"}, "'on-a-hub' is no folder here"),
        ("body", {"target_modules": lambda _: ["query"]}, "holds tensor"),
        ("body", {"r": lambda _: 2}, "size mismatch"),
        ("body", {"r": lambda _: 0}, "positive integer"),
        ("body", {"r": lambda _: None}, "does not say its 'r'"),
        ("body", {"lora_alpha": lambda _: None}, "does not say its 'lora_alpha'"),
        ("v1", {"base_model_name_or_path": lambda _: "llama"}, "lack tensor 'score.weight'"),
    ],
)
def test_adapters_that_ask_for_more_are_refused(name: str, changes: dict[str, Any], words: str, root: Path) -> None:
    _change(root / name, **changes)
    assert words in refused(root, name)


def test_adapters_without_plain_weights_are_refused(root: Path) -> None:
    (root / "v1" / "adapter_config.json").write_text("[")
    assert "settings cannot be read" in refused(root, "v1")
    (root / "body" / "adapter_model.safetensors").rename(root / "body" / "adapter_model.bin")
    assert "can run code" in refused(root, "body")
    assert "read without code of its own" in refused(root, "lora", trust_remote_code=True)
    with pytest.raises(InputError, match="what is asked"):
        make_own(HuggingFaceSpec(kind="huggingface", path="lora", max_length=8, head="own"), root)
    tensors = load_file(root / "turned" / "adapter_model.safetensors")
    first = sorted(tensors)[0]
    tensors[first][0, 0] = torch.nan
    save_file(tensors, root / "turned" / "adapter_model.safetensors")
    assert "NaN" in refused(root, "turned")
    del tensors[first]
    save_file(tensors, root / "turned" / "adapter_model.safetensors")
    assert "lacks tensor" in refused(root, "turned")


@pytest.mark.parametrize("method", ["bitsandbytes", "gptq", "awq", "torchao", "of-ones-own", None])
def test_a_quantised_folder_is_told_what_helps(method: str, root: Path) -> None:
    config = json.loads((root / "bert" / "config.json").read_text())
    config["quantization_config"] = {"quant_method": method, "load_in_4bit": True, "bits": 4, "group_size": 16}
    (root / "bert" / "config.json").write_text(json.dumps(config))
    line = refused(root, "bert")
    assert "pip install '.[text]'" not in line
    assert "save it in full precision" in line
