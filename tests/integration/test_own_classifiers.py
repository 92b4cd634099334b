"""Folders of classifiers with heads of their own: audited as they are, several beside one another, or refused in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from own_heads import KINDS, own_probabilities, save_own
from safetensors.numpy import load_file, save_file
from text_world import MAX_TOKENS, texts, transformers

from proxyaudit.errors import InputError
from proxyaudit.pipeline.plan import prepare
from proxyaudit.pipeline.run import run_audit
from proxyaudit.recipe.recipe import parse_recipe

NAMED = {"id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0, "yes": 1}}
TURNED = {"id2label": {0: "YES", 1: "No"}, "label2id": {"YES": 0, "No": 1}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    transformers()
    root = tmp_path_factory.mktemp("own")
    texts(600, seed=3, told=1.0).to_csv(root / "t.csv", index=False)
    for kind in KINDS:
        save_own(kind, root / kind, says="sex", **NAMED)
    save_own("bert", root / "blind", says="y", **NAMED)
    save_own("bert", root / "unnamed")
    save_own("bert", root / "turned", **TURNED)
    return root


def recipe(path: str, regimes: list[Any] | None = None, **model: Any) -> dict[str, Any]:
    return {
        "name": "own",
        "data": {"path": "t.csv", "text": "text", "target": "y", "protected": ["sex"], "discover": 0},
        "regimes": regimes or [{"name": "deployed", "path": path}],
        "model": {"kind": "huggingface", "path": path, "head": "own", "max_length": MAX_TOKENS, **model},
        "sites": {"profile": ["penultimate"]},
        "seeds": 1,
        "effort": "decide",
        "references": {"placebos": 20},
    }


def prepared(folder: Path, path: str, regimes: list[Any] | None = None, **model: Any) -> Any:
    return prepare(parse_recipe(recipe(path, regimes, **model)), folder)


def refused(folder: Path, path: str, regimes: list[Any] | None = None, **model: Any) -> str:
    with pytest.raises(InputError) as caught:
        prepared(folder, path, regimes, **model)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def outputs(folder: Path, made: Any, name: str = "deployed") -> np.ndarray:
    from proxyaudit.activations.capture import capture

    regime = made.regime(name)
    return capture(made.build_of(regime, 0), made.audit_inputs(regime)).outputs[:, 0]


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_the_outputs_are_those_of_transformers_itself(folder: Path, kind: str) -> None:
    made = prepared(folder, kind)
    theirs = own_probabilities(folder / kind, list(made.dataset.audit["text"]))[:, 1]
    assert np.abs(outputs(folder, made) - theirs).max() < 1e-5
    sex = made.dataset.audit["sex"].to_numpy()
    assert theirs[sex == "m"].mean() - theirs[sex == "f"].mean() > 0.5  # it was trained to say the pronoun
    assert made.model.verdict_sites == ("penultimate",)


def test_labels_are_matched_by_name_in_any_order(folder: Path) -> None:
    made = prepared(folder, "turned")
    theirs = own_probabilities(folder / "turned", list(made.dataset.audit["text"]))
    assert np.abs(outputs(folder, made) - theirs[:, 0]).max() < 1e-5


def test_unnamed_outputs_need_an_order_which_is_then_said(folder: Path) -> None:
    assert "model.labels names the class of each output" in refused(folder, "unnamed")
    theirs = None
    for labels, place in ((["no", "yes"], 1), (["yes", "no"], 0)):
        made = prepared(folder, "unnamed", labels=labels)
        theirs = own_probabilities(folder / "unnamed", list(made.dataset.audit["text"])) if theirs is None else theirs
        assert np.abs(outputs(folder, made) - theirs[:, place]).max() < 1e-5
        assert any(f"LABEL_0 is {labels[0]}" in note["why"] for note in made.plan.notes)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"id2label": {0: "bad", 1: "good"}, "label2id": {"bad": 0, "good": 1}}, "the folder's outputs are 'bad', 'good'"),
        ({"num_labels": 3}, "has 3 outputs"),
        ({"problem_type": "multi_label_classification", **NAMED}, "multi-label"),
        ({"problem_type": "regression", **NAMED}, "predicts a number"),
        ({"num_labels": 1}, "predicts a number"),
    ],
)
def test_other_heads_are_refused_in_words(folder: Path, tmp_path: Path, change: dict[str, Any], told: str) -> None:
    shutil.copy(folder / "t.csv", tmp_path)
    save_own("bert", tmp_path / "m", **change)
    assert told in refused(tmp_path, "m")


def test_what_makes_no_sense_is_refused(folder: Path, tmp_path: Path) -> None:
    assert "leave out 'pooling'" in refused(folder, "bert", pooling="cls")
    assert "another order than the folder" in refused(folder, "bert", labels=["yes", "no"])
    assert "are not the classes of the target" in refused(folder, "unnamed", labels=["a", "b"])
    assert "takes models as they are" in refused(folder, "bert", [{"scrub": ["names"]}])
    assert "write 'head: own'" in refused(folder, "bert", head="new")
    assert "put such a label in quotes" in refused(folder, "bert", labels=[False, True])
    assert "there is no such model" in refused(folder, "bert", [{"name": "v", "path": "nowhere"}])
    body = transformers().AutoModel.from_pretrained(folder / "bert")
    shutil.copytree(folder / "bert", tmp_path / "body")
    shutil.copy(folder / "t.csv", tmp_path)
    body.save_pretrained(tmp_path / "body")
    assert "no classification head of its own" in refused(tmp_path, "body")


def test_shards_and_wrapped_names_are_the_same_model(folder: Path, tmp_path: Path) -> None:
    t = transformers()
    shutil.copy(folder / "t.csv", tmp_path)
    for name in ("plain", "shards", "compiled", "parallel"):
        shutil.copytree(folder / "distilbert", tmp_path / name)
    (tmp_path / "shards" / "model.safetensors").unlink()
    t.AutoModelForSequenceClassification.from_pretrained(folder / "distilbert").save_pretrained(tmp_path / "shards", max_shard_size="8KB")
    weights = load_file(tmp_path / "plain" / "model.safetensors")
    for name, prefix in (("compiled", "_orig_mod."), ("parallel", "module._orig_mod.")):
        save_file({prefix + key: value for key, value in weights.items()}, tmp_path / name / "model.safetensors", metadata={"format": "pt"})
    names = ("shards", "compiled", "parallel")
    made = prepared(tmp_path, "plain", ["real", *({"name": name, "path": name} for name in names)])
    wanted = outputs(tmp_path, made, "real")
    assert all(np.array_equal(outputs(tmp_path, made, name), wanted) for name in names)


def test_every_file_that_is_read_is_in_the_run_id(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "t.csv", tmp_path)
    shutil.copytree(folder / "bert", tmp_path / "bert")
    shutil.copytree(folder / "bert", tmp_path / "v2")
    regimes = ["real", {"name": "v2", "path": "v2"}]
    before = prepared(tmp_path, "bert", regimes).plan
    names = ("config.json", "model.safetensors", "tokenizer.json")
    assert all(f"model {name}" in before.hashes and f"regime v2, model {name}" in before.hashes for name in names)
    weights = load_file(tmp_path / "v2" / "model.safetensors")
    save_file(
        {**weights, "classifier.bias": weights["classifier.bias"] + 1}, tmp_path / "v2" / "model.safetensors", metadata={"format": "pt"}
    )
    after = prepared(tmp_path, "bert", regimes).plan
    assert after.digest != before.digest


def test_a_new_head_says_that_the_folders_own_was_left_out(folder: Path) -> None:
    document = recipe("bert", ["real"], head="new")
    notes = prepare(parse_recipe(document), folder).plan.notes
    assert ["'head: own' audits the folder as it is" in note["why"] for note in notes if "classification head" in note["what"]] == [True]


TEN_LINES = """\
name: versions
data: {path: t.csv, text: text, target: y, protected: [sex], discover: 0}
regimes:
  - {name: v1, path: bert}
  - {name: v2, path: blind}
model: {kind: huggingface, path: bert, head: own, max_length: 16}
sites: {profile: penultimate}
references: {placebos: 20}
effort: decide
seeds: 1
"""


@pytest.mark.long
def test_two_versions_go_from_folder_to_verdict_in_a_recipe_of_ten_lines(folder: Path) -> None:
    path = folder / "versions.yaml"
    path.write_text(TEN_LINES, encoding="utf-8")
    assert len(TEN_LINES.splitlines()) == 10
    runs = [run_audit(path, out=folder / f"out{number}", jobs=1, fresh=number == 2).folder for number in (1, 2)]
    written = [(run / "evidence.json").read_bytes() for run in runs]
    assert written[0] == written[1]
    evidence, plan = json.loads(written[0]), json.loads((runs[0] / "plan.json").read_text(encoding="utf-8"))
    made = prepare(parse_recipe(yaml.safe_load(TEN_LINES)), folder)
    sex = made.dataset.audit["sex"].to_numpy()
    for name, version in (("v1", "bert"), ("v2", "blind")):
        theirs = own_probabilities(folder / version, list(made.dataset.audit["text"]))[:, 1]
        gap = abs(float(theirs[sex == "m"].mean() - theirs[sex == "f"].mean()))
        found = [e for e in evidence["estimates"] if e["channel"] == "expressed" and e["regime"] == name and e["measure"] == "gap"]
        assert [abs(e["value"] - gap) < 1e-3 for e in found] == [True], (name, gap, found)
    verdicts = {finding["regime"]: finding["verdict"] for finding in evidence["findings"]}
    assert verdicts["v1"] == "exposed"
    assert verdicts["v2"] != "exposed"
    assert [entry["training_rows"] for entry in plan["regimes"]] == [None, None]
    report = (runs[0] / "report.md").read_text(encoding="utf-8")
    assert "the same architecture with random weights" in report
    assert "trained elsewhere" in report


def test_a_quantised_version_and_another_architecture(folder: Path) -> None:
    made = prepared(folder, "bert", ["real", {"quantise": "int8", "of": "real"}])
    assert made.regime("int8-real").kind == "quantised"
    assert "audit it in a recipe of its own" in refused_sites(folder)


@pytest.mark.parametrize("digits", ["bf16", "int8"])
def test_a_version_in_fewer_digits_runs_under_its_own_head(folder: Path, digits: str) -> None:
    from proxyaudit.models.quantise import quantise

    made = prepared(folder, "bert", ["real", {"quantise": digits, "of": "real"}])
    regime = made.regime(f"{digits}-real")
    whole, fewer = (capture_of(model, made.audit_inputs(regime)) for model in (made.model, quantise(made.model, digits)))
    assert fewer.shape == whole.shape
    assert 0 < np.abs(fewer - whole).max() < 0.2


def capture_of(model: Any, x: np.ndarray) -> np.ndarray:
    from proxyaudit.activations.capture import capture

    return capture(model, x[:50]).outputs


def changed(folder: Path, place: Path, **config: Any) -> Path:
    """A copy of a classifier with other entries in its config."""
    shutil.copytree(folder / "bert", place)
    shutil.copy(folder / "t.csv", place.parent)
    held = json.loads((place / "config.json").read_text(encoding="utf-8"))
    (place / "config.json").write_text(json.dumps(held | config), encoding="utf-8")
    return place


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"id2label": {"1": "no", "2": "yes"}, "label2id": {"no": 1, "yes": 2}}, "they are numbered from 0"),
        ({"id2label": {"0": "no", "7": "yes"}}, "they are numbered from 0"),
        ({"label2id": {"yes": 0, "no": 1}}, "one order in id2label and another one in label2id"),
    ],
)
def test_outputs_that_a_config_names_in_no_order_are_one_line(folder: Path, tmp_path: Path, config: dict[str, Any], told: str) -> None:
    changed(folder, tmp_path / "m", **config)
    assert told in refused(tmp_path, "m")


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.bool_])
def test_weights_that_are_codes_are_refused(folder: Path, tmp_path: Path, kind: Any) -> None:
    path = changed(folder, tmp_path / "m") / "model.safetensors"
    held = load_file(path)
    name = next(name for name in held if name.endswith("query.weight"))
    save_file({**held, name: (held[name] * 100).astype(kind)}, path, metadata={"format": "pt"})
    assert "no weights but codes for them" in refused(tmp_path, "m")
    held.pop("bert.embeddings.position_ids", None)
    save_file({**held, "bert.embeddings.position_ids": np.arange(MAX_TOKENS)[None]}, path, metadata={"format": "pt"})
    assert prepared(tmp_path, "m").model.module.own.outputs == ("no", "yes"), "a table of places is none of them"


def test_tensors_without_a_place_are_told(folder: Path, tmp_path: Path) -> None:
    path = changed(folder, tmp_path / "m") / "model.safetensors"
    save_file({**load_file(path), "query.weight_scale": np.ones(3, dtype=np.float32)}, path, metadata={"format": "pt"})
    notes = {note["what"]: note["why"] for note in prepared(tmp_path, "m").plan.notes}
    assert "query.weight_scale" in notes["1 tensors of the model's files"]


def test_a_tokenizer_that_marks_types_is_refused(folder: Path, tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    place = changed(folder, tmp_path / "m")
    held = tokenizers.Tokenizer.from_file(str(place / "tokenizer.json"))
    held.post_processor = tokenizers.processors.TemplateProcessing(single="$A:1", pair="$A:0 $B:1", special_tokens=[])
    held.save(str(place / "tokenizer.json"))
    told = json.loads((place / "tokenizer_config.json").read_text(encoding="utf-8"))
    told["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
    (place / "tokenizer_config.json").write_text(json.dumps(told), encoding="utf-8")
    assert "marks tokens as of type 1" in refused(tmp_path, "m")


@pytest.mark.parametrize("tokens", [3, MAX_TOKENS])
def test_where_texts_are_cut_that_the_model_reads_whole_absence_is_not_claimed(folder: Path, tokens: int) -> None:
    """A deployed model reads on: what stands behind the cut is not shown to be absent."""
    made = prepared(folder, "bert", max_length=tokens)
    assert bool(made.plan.no_absence) == (tokens == 3)
    told = [note["why"] for note in made.plan.notes if note["what"].endswith(f"the first {tokens} tokens")]
    assert any("absence is not claimed; raise model.max_length" in why for why in told) == (tokens == 3)


def refused_sites(folder: Path) -> str:
    document = recipe("bert", [{"name": "v1", "path": "bert"}, {"name": "other", "path": "three"}])
    document["sites"] = {"profile": "all"}
    if not (folder / "three").exists():
        save_own("bert", folder / "three", num_hidden_layers=3, **NAMED)
    with pytest.raises(InputError) as caught:
        prepare(parse_recipe(document), folder)
    return str(caught.value)
