"""Whole audits of texts through the command line, with tiny transformers made in the test: no network and no download."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.numpy import load_file
from text_world import MAX_TOKENS, save_tiny, texts

from proxyaudit.cache import Cache, cache_folder
from proxyaudit.cli.main import main
from proxyaudit.evidence.pack import find_run, read_pack
from proxyaudit.models.build import build_model
from proxyaudit.models.checkpoints import save_weights
from proxyaudit.recipe.recipe import load_recipe
from proxyaudit.types import Evidence

pytestmark = pytest.mark.long

FROZEN = f"""\
name: frozen
data: {{path: t.csv, text: text, target: y, protected: [sex], group: author}}
regimes:
  - real
  - scrub: [pronouns]
  - synthetic: {{name: vendor, path: release.csv}}
  - {{quantise: int8, of: real}}
model: {{kind: huggingface, path: bert, max_length: {MAX_TOKENS}, head_hidden: [6], epochs: 60, learning_rate: 0.02, patience: null}}
sites: {{verdict: penultimate, profile: [layer0, pooled]}}
references: {{placebos: 20, reweighed: false}}
seeds: 1
"""
TUNED = f"""\
name: tuned
data: {{path: t.csv, text: text, target: y, protected: [sex]}}
regimes:
  - {{name: given, checkpoints: [given.safetensors]}}
  - {{scrub: [pronouns, names], name: masked}}
  - {{quantise: bf16, of: given, name: half}}
model: {{kind: huggingface, path: gpt2, max_length: {MAX_TOKENS}, tune: lora, pooling: last, epochs: 1, learning_rate: 0.01}}
sites: {{verdict: penultimate, profile: [layer1.head1, layer1.attention, layer1.mlp]}}
references: {{placebos: 20, reweighed: false}}
seeds: 1
"""


def world(folder: Path, rows: int) -> Path:
    frame = texts(rows)
    # Ten people write the canary: what so few write is never named.
    frame.loc[:19, "text"] += " canaryxyz"
    frame.to_csv(folder / "t.csv", index=False)
    release = texts(rows, seed=5)
    release["text"] = release["text"].str.replace(r"\b(?:she|he)\b", "w0", regex=True)
    release.to_csv(folder / "release.csv", index=False)
    return folder


def audit(folder: Path, recipe: str, *more: str) -> tuple[Evidence, Path]:
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    assert main(["run", str(folder / "recipe.yaml"), "--out", str(folder / "out"), "--jobs", "1", *more]) == 0
    run = find_run(folder / "out")
    return read_pack(run).evidence, run


def value(evidence: Evidence, regime: str, channel: str, site: str | None, context: str | None = None) -> float:
    (found,) = [
        e.value
        for e in evidence.estimates
        if (e.attribute, e.regime, e.channel, e.site, e.context) == ("sex", regime, channel, site, context)
    ]
    assert found is not None
    return found


def test_a_frozen_bert_on_real_scrubbed_released_and_quantised_texts(tmp_path: Path) -> None:
    save_tiny("bert", world(tmp_path, 700) / "bert")
    evidence, run = audit(tmp_path, FROZEN)
    assert evidence.run.status == "complete"
    regimes = ["real", "scrub-pronouns", "vendor", "int8-real"]
    assert [f.regime for f in evidence.findings if f.attribute == "sex"] == regimes
    assert all(f.verdict != "removed" for f in evidence.findings)  # relearning needs more rows than there are: nothing is claimed
    # The pronouns are in the transformer's values for real texts and not for scrubbed ones; a release changes training, not the inputs.
    assert value(evidence, "real", "elsewhere", "pooled") > 0.1
    assert value(evidence, "vendor", "elsewhere", "pooled") == pytest.approx(value(evidence, "real", "elsewhere", "pooled"))
    assert value(evidence, "scrub-pronouns", "elsewhere", "pooled") < 0.02
    assert value(evidence, "inputs", "linear", "inputs") > 0.3
    elsewhere = [e for e in evidence.estimates if (e.attribute, e.regime, e.channel, e.context) == ("sex", "real", "elsewhere", None)]
    assert {e.site: e.state for e in elsewhere if e.value is not None} == {"layer0": "present", "pooled": "present"}
    assert any("nothing of embeddings" in (e.reason or "") for e in elsewhere)
    near, real = (value(evidence, name, "linear", "penultimate") for name in ("int8-real", "real"))
    assert near == pytest.approx(real, abs=0.02)
    task = {e.regime: e.value or 0.0 for e in evidence.estimates if e.channel == "task"}
    assert min(task[name] for name in regimes) > task["untrained"] + 0.03
    relearned = [e for e in evidence.estimates if e.channel == "relearned" and e.state is not None and e.attribute == "sex"]
    assert {e.state for e in relearned} == {"unknown"}
    assert all("too few audit rows" in (e.reason or "") for e in relearned)
    said = " ".join(f"{n.what}: {n.why}" for n in evidence.not_tested)
    for words in (
        "words that fewer than eleven people use",
        "what single tokens carry",
        "lower bound",
        "whether the maker of release vendor",
    ):
        assert words in said
    # No word of a few people leaves the machine with the pack, and no text lies in the cache either.
    for path in (*run.rglob("*"), *cache_folder().rglob("*")):
        assert not path.is_file() or b"canaryxyz" not in path.read_bytes(), path
    plan = json.loads((run / "plan.json").read_text())
    assert plan["columns"] == ["text"]
    assert set(plan["proxies"]["columns"][:2]) <= {"word \u201cshe\u201d", "word \u201che\u201d", "gendered words"}
    assert {"model config.json", "model model.safetensors", "model tokenizer.json"} <= set(plan["hashes"])
    assert "transformers" in plan["versions"]
    encoded = [path for path in Cache(cache_folder()).used(run.name) if path.parent.name == "encode"]
    assert len(encoded) == 4  # real, scrubbed, quantised, release: once each, not once a repetition
    # The training texts or the release, and the audit texts written without each word or habit; a quantised model trains on nothing.
    sizes = sorted(len(load_file(folder / "features.safetensors")["keys"]) for folder in encoded)
    assert 700 in sizes
    assert plan["rows"]["train"] < sizes[-1] < plan["rows"]["train"] + 24 * 350


def test_a_gpt2_with_adapters_checkpoints_and_single_heads(tmp_path: Path) -> None:
    save_tiny("gpt2", world(tmp_path, 500) / "gpt2")
    (tmp_path / "recipe.yaml").write_text(TUNED, encoding="utf-8")
    recipe = load_recipe(tmp_path / "recipe.yaml")
    given = build_model(recipe.model, recipe.sites, n_inputs=MAX_TOKENS, n_classes=2, base=tmp_path, seed=9)
    with torch.no_grad():
        given.module.get_parameter("head.weight").mul_(3.0)
    save_weights(given, tmp_path / "given.safetensors")
    evidence, _ = audit(tmp_path, TUNED)
    assert evidence.run.status == "complete"
    assert [f.regime for f in evidence.findings] == ["given", "masked", "half"]
    sites = {e.site for e in evidence.estimates if e.regime == "masked" and e.channel == "elsewhere"}
    assert {"layer1.head1", "layer1.attention", "layer1.mlp"} <= sites
    used = [e for e in evidence.estimates if e.regime == "masked" and e.channel == "used"]
    assert "penultimate" in {e.site for e in used}
    assert any(e.value is not None for e in used)
    # bfloat16 is another model: near, not equal.
    near, other = (value(evidence, name, "linear", "penultimate") for name in ("given", "half"))
    assert near == pytest.approx(other, abs=0.05)
    channels = {e.channel for e in evidence.estimates if e.regime == "masked" and e.state is not None and e.attribute == "sex"}
    assert channels >= {"linear", "nonlinear", "elsewhere", "beyond", "expressed", "used", "relearned"}
    assert all(f.verdict != "removed" for f in evidence.findings)
