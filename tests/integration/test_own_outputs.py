"""Folders whose own heads say yes or no to several labels, or predict a number: audited as transformers runs them, or refused in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from own_heads import save_own
from safetensors.torch import load_file, save_file
from text_world import MAX_TOKENS, texts, transformers

from proxyaudit.activations.capture import capture
from proxyaudit.errors import InputError
from proxyaudit.pipeline.plan import prepare
from proxyaudit.recipe.recipe import parse_recipe

LABELS = {"id2label": {0: "rude", 1: "late", 2: "loud"}, "label2id": {"rude": 0, "late": 1, "loud": 2}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    transformers()
    root = tmp_path_factory.mktemp("outputs")
    rows, rng = texts(600, seed=3, told=1.0), np.random.default_rng(0)
    for name in ("rude", "late", "loud"):
        rows[name] = rng.integers(0, 2, len(rows))
    rows.to_csv(root / "t.csv", index=False)
    save_own("bert", root / "labels", problem_type="multi_label_classification", **LABELS)
    save_own("distilbert", root / "stars", num_labels=1)
    save_own("bert", root / "classes", **LABELS)
    return root


def prepared(folder: Path, path: str, target: Any, regimes: list[Any] | None = None, **data: Any) -> Any:
    document = {
        "name": "own",
        "data": {"path": "t.csv", "text": "text", "target": target, "protected": ["sex"], "discover": 0, **data},
        "regimes": regimes or [{"name": "deployed", "path": path}],
        "model": {"kind": "huggingface", "path": path, "head": "own", "max_length": MAX_TOKENS},
        "sites": {"profile": ["penultimate"]},
        "seeds": 1,
        "effort": "decide",
    }
    return prepare(parse_recipe(document), folder)


def own(made: Any) -> np.ndarray:
    regime = made.regime("deployed")
    return capture(made.build_of(regime, 0), made.audit_inputs(regime)).outputs


def theirs(folder: Path, lines: pd.Series) -> np.ndarray:
    """Logits of transformers itself, of each text alone."""
    import torch

    t = transformers()
    model = t.AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    tokenizer = t.AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        return np.concatenate([model(input_ids=torch.tensor([tokenizer(line)["input_ids"]])).logits.double().numpy() for line in lines])


@pytest.mark.parametrize("target", [["rude", "late", "loud"], ["loud", "rude"]])
def test_labels_are_those_of_transformers_in_the_order_of_the_recipe(folder: Path, target: list[str]) -> None:
    made = prepared(folder, "labels", target)
    logits = theirs(folder / "labels", made.dataset.audit["text"])
    order = [list(LABELS["label2id"]).index(name) for name in target]
    np.testing.assert_allclose(own(made), 1 / (1 + np.exp(-logits[:, order])), atol=1e-5)
    assert made.plan.target["labels"] == target


def test_a_number_is_that_of_transformers_on_the_scale_of_the_target(folder: Path) -> None:
    made = prepared(folder, "stars", "stars", task="regression")
    mean, sd = made.dataset.read.scale
    np.testing.assert_allclose(own(made), (theirs(folder / "stars", made.dataset.audit["text"]) - mean) / sd, atol=1e-5)
    assert any("in which units" in note["what"] for note in made.plan.notes)


@pytest.mark.parametrize(
    ("path", "target", "more", "said"),
    [
        ("labels", "y", {}, "multi-label"),
        ("labels", "stars", {"task": "regression"}, "multi-label"),
        ("stars", "y", {}, "predicts a number"),
        ("stars", ["rude", "late"], {}, "predicts a number"),
        ("classes", ["rude", "late"], {}, "problem_type: multi_label_classification"),
        ("classes", "stars", {"task": "regression"}, "chooses one of several classes"),
        ("labels", ["rude", "y"], {}, "outputs"),
    ],
)
def test_heads_and_targets_of_two_kinds_are_refused_in_one_line(folder: Path, path: str, target: Any, more: Any, said: str) -> None:
    if isinstance(target, list) and "y" in target:
        more = {"protected": ["sex"]}
    with pytest.raises(InputError) as caught:
        prepared(folder, path, target, **more)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def _in_fp8(folder: Path, block: int = 8) -> dict[str, Any]:
    """Store the layers' weights of a folder in 8 bits, each block with its scale, and return them widened."""
    import torch

    wide, stored = {}, {}
    for name, value in load_file(folder / "model.safetensors").items():
        if ".layer." not in name or value.ndim != 2:
            stored[name] = value
            continue
        rows, columns = (torch.arange(size) // block for size in value.shape)
        most = torch.zeros(int(rows.max()) + 1, int(columns.max()) + 1)
        for (i, j), _ in np.ndenumerate(most.numpy()):
            most[i, j] = value[rows == i][:, columns == j].abs().max() / 448
        scale = most[rows][:, columns]
        stored[name] = (value / scale).to(torch.float8_e4m3fn)
        stored[f"{name}_scale_inv"] = most
        wide[name] = stored[name].float() * scale
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    method = {"quant_method": "fp8", "weight_block_size": [block, block], "activation_scheme": "dynamic"}
    config["quantization_config"] = {**method, "modules_to_not_convert": ["classifier", "pooler"]}
    (folder / "config.json").write_text(json.dumps(config))
    return wide


def test_weights_in_fp8_are_widened_and_it_is_said(folder: Path, tmp_path: Path) -> None:
    import torch

    (tmp_path / "t.csv").write_bytes((folder / "t.csv").read_bytes())
    save_own("bert", tmp_path / "small", id2label={0: "no", 1: "yes"}, label2id={"no": 0, "yes": 1})
    wide = _in_fp8(tmp_path / "small")
    made = prepared(tmp_path, "small", "y")
    read = {name.removeprefix("backbone."): value for name, value in made.model.module.state_dict().items()}
    assert wide
    assert all(torch.equal(read[name], value) for name, value in wide.items())
    assert any("fewer digits" in note["what"] for note in made.plan.notes)
