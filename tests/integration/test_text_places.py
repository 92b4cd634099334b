"""Whole audits of texts: which places inside a transformer the verdict speaks of, and a trace that lies in attention heads alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from text_world import MAX_TOKENS, save_tiny, texts, transformers

from proxyaudit.cli.main import main
from proxyaudit.evidence.pack import find_run, read_pack
from proxyaudit.types import Evidence

pytestmark = pytest.mark.long

RECIPE = f"""\
name: places
data: {{path: t.csv, text: text, target: y, protected: [sex], group: author, audit_share: 0.75}}
regimes: [real]
model: {{kind: huggingface, path: KIND, max_length: {MAX_TOKENS}, HEAD epochs: 30, learning_rate: 0.02}}
references: {{placebos: 20, reweighed: false}}
seeds: 1
"""


def audit(folder: Path, kind: str, frame: pd.DataFrame, head: str = "", more: str = "") -> tuple[Evidence, Path]:
    frame.to_csv(folder / "t.csv", index=False)
    recipe = RECIPE.replace("KIND", kind).replace("HEAD", head) + more
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    assert main(["run", str(folder / "recipe.yaml"), "--out", str(folder / "out"), "--jobs", "1"]) == 0
    run = find_run(folder / "out")
    return read_pack(run).evidence, run


def elsewhere(evidence: Evidence) -> dict[str, set[str]]:
    """States of the check of other places, by place."""
    found: dict[str, set[str]] = {}
    for e in evidence.estimates:
        if (e.attribute, e.regime, e.channel) == ("sex", "real", "elsewhere") and e.state is not None:
            found.setdefault(str(e.site), set()).add(e.state)
    return found


def without_sex(rows: int) -> pd.DataFrame:
    frame = texts(rows)
    return frame.assign(text=frame["text"].str.replace(r"\b(?:she|he)\b", "w0", regex=True))


def test_an_attribute_that_is_nowhere_is_removed_with_default_sites(tmp_path: Path) -> None:
    save_tiny("bert", tmp_path / "bert")
    evidence, run = audit(tmp_path, "bert", without_sex(3500), "head_hidden: [6],")
    (finding,) = evidence.findings
    assert finding.verdict == "removed"
    assert "Inside, 4 places were read, each by itself: embeddings, layer0, pooled and penultimate." in finding.sentence
    (note,) = [n for n in evidence.not_tested if "attention" in n.what]
    assert note.what == "attention heads, attention outputs and MLP outputs of 2 layers"
    assert "'sites: {profile: everything}' asks them (8 more places, about " in note.why
    told = (run / "report.md").read_text(encoding="utf-8")
    assert "embeddings before the transformer's first layer, layer0 and so on after each layer" in told
    assert "or more by other readers or at other places" in told
    assert main(["verify", str(run)]) == 0


def test_a_frozen_transformer_under_a_linear_head_has_nothing_to_relearn(tmp_path: Path) -> None:
    save_tiny("gpt2", tmp_path / "gpt2")
    evidence, run = audit(tmp_path, "gpt2", without_sex(600))
    (relearned,) = [e for e in evidence.estimates if (e.channel, e.regime, e.measure) == ("relearned", "real", "excess")]
    assert relearned.state == "not_applicable"
    assert "no weight before the head was trained" in (relearned.reason or "")
    assert "relearned" not in (evidence.findings[0].would_settle or "")
    assert "unprofiled" not in {e.measure for e in evidence.estimates}
    assert main(["verify", str(run)]) == 0


def in_heads_alone(folder: Path) -> Path:
    """A GPT-2 without positions whose attention is never written on: the order of words is in the values of its heads and nowhere else."""
    import torch

    model = transformers().AutoModel.from_pretrained(save_tiny("gpt2", folder))
    with torch.no_grad():
        model.wpe.weight.zero_()
        for block in model.h:
            block.attn.c_proj.weight.zero_()
            block.attn.c_proj.bias.zero_()
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("profile", ["everything", "layer0.head*"])
def test_a_trace_in_attention_heads_alone_is_found_where_they_are_read(tmp_path: Path, profile: str) -> None:
    in_heads_alone(tmp_path / "gpt2")
    frame, rng = texts(1200, told=0.9), np.random.default_rng(0)
    bare = frame["text"].str.replace(r"\b(?:she|he)\b", "w0", regex=True)
    first = np.where(frame["sex"] == "f", "she", "he")
    last = np.where(frame["sex"] == "f", "he", "she")
    turned = rng.random(len(frame)) < 0.1
    first, last = np.where(turned, last, first), np.where(turned, first, last)
    frame["text"] = [f"{a} {words} {b}" for a, words, b in zip(first, bare, last, strict=True)]
    evidence, _ = audit(tmp_path, "gpt2", frame, "head_hidden: [6],", f"sites: {{profile: [{profile}]}}\n")
    states = elsewhere(evidence)
    inside = {site: found for site, found in states.items() if "head" in site}
    rest = {site: found for site, found in states.items() if "head" not in site and site != "None"}
    assert not any("present" in found for found in rest.values()), rest
    assert inside
    assert all("present" in found for found in inside.values()), inside
    (finding,) = evidence.findings
    assert "hidden" in (finding.at_least, finding.verdict), finding
