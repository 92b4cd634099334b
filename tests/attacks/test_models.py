"""Model folders that lie: weights that are not there, weights from elsewhere, files that nobody hashed. Refused, or said in the report."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from text_world import save_tiny, texts, transformers

from proxyaudit.cli.main import main
from proxyaudit.errors import InputError
from proxyaudit.language.causal_model import load_causal, settings_digests, weights_digest
from proxyaudit.models.huggingface import make_text, model_hashes
from proxyaudit.models.kinds.huggingface import HuggingFaceSpec
from proxyaudit.recipe.models import PretrainedSpec

pytest.importorskip("transformers", reason="the extra 'text' is not installed")
KINDS = ("bert", "gpt2", "llama", "t5")
INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: save_tiny(kind, tmp_path_factory.mktemp(kind)) for kind in KINDS}


@pytest.fixture
def model(saved: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    return lambda kind: Path(shutil.copytree(saved[kind], tmp_path / "model"))


def load(folder: Path) -> Any:
    return make_text(HuggingFaceSpec(kind="huggingface", path=str(folder), max_length=8), n_inputs=8, n_classes=2, base=folder.parent)


def refused(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    assert caught.value.mend
    return str(caught.value)


def change(folder: Path, how: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(folder / "model.safetensors")
    how(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def shard(folder: Path, name: str, to: Path) -> None:
    """The weights under another name, and an index that leads there."""
    (folder / "model.safetensors").rename(to)
    names = dict.fromkeys(load_file(to), name)
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": names}))


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_model_loads(kind: str, model: Callable[[str], Path]) -> None:
    assert load(model(kind)).backbone.unread == ()


def _some(tensors: dict[str, torch.Tensor], share: float) -> None:
    for name in sorted(tensors)[: max(1, round(share * len(tensors)))]:
        del tensors[name]


def _renamed(tensors: dict[str, torch.Tensor]) -> None:
    name = max(name for name in tensors if "pooler" not in name)
    tensors[f"{name}x"] = tensors.pop(name)


@pytest.mark.parametrize("how", [lambda t: _some(t, 0.0), lambda t: _some(t, 0.4), _renamed], ids=["one", "ten of 23", "renamed"])
@pytest.mark.parametrize("kind", KINDS)
def test_weights_that_are_missing_are_never_random(kind: str, how: Callable[..., None], model: Callable[[str], Path]) -> None:
    folder = model(kind)
    change(folder, how)
    assert "which would be random" in refused(folder)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_nor_are_those_of_a_language_model(kind: str, model: Callable[[str], Path]) -> None:
    folder = model(kind)
    with torch.random.fork_rng(devices=[]):
        transformers().AutoModelForCausalLM.from_pretrained(folder).save_pretrained(folder)
    assert load_causal(PretrainedSpec(path=str(folder)), folder.parent).vocabulary > 10
    change(folder, lambda tensors: _some(tensors, 0.4))
    with pytest.raises(InputError, match="which would be random"):
        load_causal(PretrainedSpec(path=str(folder)), folder.parent)


@pytest.mark.parametrize("key", ["hidden_size", "intermediate_size", "vocab_size"])
def test_weights_of_another_shape_are_refused(key: str, model: Callable[[str], Path]) -> None:
    folder = model("bert")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, key: 2 * config[key]}))
    assert refused(folder)


# Weights from elsewhere ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "way", ["../evil.safetensors", "sub/evil.safetensors", "{absolute}", "..\\evil.safetensors", "gone.safetensors", "w.bin"]
)
def test_a_list_of_shards_stays_in_its_folder(way: str, model: Callable[[str], Path], tmp_path: Path) -> None:
    folder = model("bert")
    (folder / "sub").mkdir()
    places = {"../evil.safetensors": tmp_path / "evil.safetensors", "sub/evil.safetensors": folder / "sub" / "evil.safetensors"}
    elsewhere = places.get(way, tmp_path / "elsewhere.safetensors")
    shard(folder, way.format(absolute=elsewhere), elsewhere)
    save_file({"a": torch.zeros(1)}, folder / "model-00001.safetensors")  # so that the folder has weights of its own
    assert "the list of shards names" in refused(folder)


@pytest.mark.parametrize("text", ["{", "[]", '{"weight_map": []}', '{"weight_map": {"a": 1}}', "[" * 100_000])
def test_a_list_of_shards_that_is_none_is_one_line(text: str, model: Callable[[str], Path]) -> None:
    folder = model("bert")
    (folder / INDEX).write_text(text)
    assert "list of shards" in refused(folder)


def test_shards_are_hashed_like_one_file(model: Callable[[str], Path]) -> None:
    folder = model("bert")
    shard(folder, "model-00001-of-00001.safetensors", folder / "model-00001-of-00001.safetensors")
    load(folder)
    spec = HuggingFaceSpec(kind="huggingface", path=str(folder))
    before = model_hashes(spec, folder.parent)
    assert {f"model {INDEX}", "model model-00001-of-00001.safetensors"} <= set(before)
    (folder / INDEX).write_text((folder / INDEX).read_text() + " ")
    assert [name for name, digest in model_hashes(spec, folder.parent).items() if digest != before[name]] == [f"model {INDEX}"]


def test_an_adapter_names_no_base_of_its_own(model: Callable[[str], Path], saved: dict[str, Path]) -> None:
    folder = model("bert")
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(saved["bert"]), "peft_type": "LORA"}))
    assert "merge" in refused(folder)


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "chat_template.jinja"])
def test_what_is_no_weight_is_part_of_the_digest_too(file: str, model: Callable[[str], Path]) -> None:
    folder = model("gpt2")
    source = PretrainedSpec(path=str(folder))
    before = (weights_digest(source, folder.parent), settings_digests(source, folder.parent, "m"))
    with (folder / file).open("a") as stream:
        stream.write(" ")
    after = (weights_digest(source, folder.parent), settings_digests(source, folder.parent, "m"))
    assert before[0] == after[0]
    assert before[1] != after[1]


# What is told -------------------------------------------------------------------------------------------------------


def test_weights_that_the_body_has_no_place_for_are_named_in_the_plan(
    model: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = model("bert")
    change(folder, lambda tensors: tensors.update({"classifier.weight": torch.zeros(2, 16), "classifier.bias": torch.zeros(2)}))
    texts(300).to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "r.yaml").write_text(
        "name: t\ndata: {path: t.csv, text: text, target: y, protected: [sex], group: author}\nregimes: [real]\n"
        "model: {kind: huggingface, path: model, max_length: 12}\nseeds: 1\n"
    )
    assert main(["plan", str(tmp_path / "r.yaml"), "--json"]) == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    told = next(note for note in notes if note["what"] == "2 tensors of the model's files")
    assert "classifier.bias, classifier.weight" in told["why"]


@pytest.mark.parametrize("how", ["trust_remote_code: true", "trust_remote_code: true, hub: true"])
def test_code_that_comes_with_a_model_waits_for_consent(
    how: str, model: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PROXYAUDIT_RUN_CODE")
    folder = model("bert")
    config = json.loads((folder / "config.json").read_text())
    auto = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "evil", "auto_map": auto}))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    texts(300).to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "r.yaml").write_text(
        "name: t\ndata: {path: t.csv, text: text, target: y, protected: [sex], group: author}\nregimes: [real]\n"
        f"model: {{kind: huggingface, path: model, max_length: 12, {how}}}\nseeds: 1\n"
    )
    for command in ("plan", "run"):
        assert main([command, str(tmp_path / "r.yaml")]) == 2
        assert "--run-code" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()
