"""Every path of a model of texts through a whole audit, in the corners that the other tests leave out, then a scan of its own model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.numpy import save_file
from text_world import MAX_TOKENS, save_tiny, texts

from proxyaudit.cli.main import main
from proxyaudit.evidence.pack import find_run, read_pack
from proxyaudit.evidence.signatures import read_signatures

pytestmark = pytest.mark.long

DATA = """\
data: {path: t.csv, text: text, target: y, protected: [sex], discover: 0}
references: {placebos: 20, reweighed: false}
seeds: 1
signatures: true
"""
# A BERT that is fine-tuned whole on scrubbed texts and read at its first token; one of every kind of site; bfloat16.
FULL = f"""\
name: paths
{DATA}regimes: [{{scrub: [pronouns]}}, {{quantise: bf16, of: scrub-pronouns}}]
model: {{kind: huggingface, path: tiny, max_length: {MAX_TOKENS}, tune: full, pooling: cls, epochs: 4, learning_rate: 0.01, patience: null}}
sites: {{profile: [layer0.head0, layer0.attention, layer0.mlp]}}
"""
# A frozen GPT-2 whose head reads the tokens of a named span; int8.
SPAN = f"""\
name: paths
{DATA}regimes: [real, {{quantise: int8, of: real}}]
model:
  {{kind: huggingface, path: tiny, max_length: {MAX_TOKENS}, head_hidden: [6], epochs: 40, learning_rate: 0.02, patience: null,
    spans: {{who: '\\b(?:she|he)\\b'}}, pooling: who, site_pooling: who}}
sites: {{verdict: pooled, profile: [pooled, penultimate]}}
"""


@pytest.mark.parametrize(("kind", "recipe"), [("bert", FULL), ("gpt2", SPAN)])
def test_a_whole_audit_and_a_scan(kind: str, recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_tiny(kind, tmp_path / "tiny")
    texts(600).to_csv(tmp_path / "t.csv", index=False)
    texts(400, seed=3).to_csv(tmp_path / "fresh.csv", index=False)
    (tmp_path / "recipe.yaml").write_text(recipe, encoding="utf-8")
    assert main(["run", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "out"), "--jobs", "1"]) == 0
    run = find_run(tmp_path / "out")
    evidence, plan = read_pack(run).evidence, read_pack(run).plan
    assert evidence.run.status == "complete"
    regimes = [finding.regime for finding in evidence.findings]
    verdict = plan["sites"]["verdict"][0]
    estimates = [e for e in evidence.estimates if e.attribute == "sex"]
    leak = {e.regime: e.value for e in estimates if (e.channel, e.site, e.context) == ("linear", verdict, None) and e.value is not None}
    for regime in regimes:
        used = [e for e in estimates if (e.regime, e.channel, e.site) == (regime, "used", verdict) and e.value is not None]
        assert used, regime
        sites = {e.site for e in estimates if (e.regime, e.channel) == (regime, "elsewhere") and e.state is not None}
        assert sites >= set(plan["sites"]["profile"]) - {verdict, "penultimate"}
    signatures = read_signatures(run)
    assert [(r.regime, r.kept) for r in signatures.document.references] == [(regime, True) for regime in regimes]
    names = set(signatures.weights[0])
    if kind == "bert":
        assert max(leak.values()) < 0.1  # nothing tells the sex where the pronouns are masked
        assert any(name.startswith("backbone.") for name in names)
    else:
        # The span is the pronoun itself.
        assert leak["real"] > 0.3
        assert leak["int8-real"] == pytest.approx(leak["real"], abs=0.1)
        assert not any(name.startswith("backbone.") for name in names)
        assert any("span 'who'" in note.why for note in evidence.not_tested)
    how = [("pronouns",), "bf16"] if kind == "bert" else [(), "int8"]
    assert [(r.scrub, r.quantise) for r in signatures.document.references] == [(how[0], None), (how[0], how[1])]
    save_file(signatures.weights[0], tmp_path / "own.safetensors")
    capsys.readouterr()
    given = ["scan", "--signatures", str(run), "--model", str(tmp_path / "own.safetensors"), "--inputs", str(tmp_path / "fresh.csv")]
    code = main([*given, "--json"])
    (found,) = json.loads(capsys.readouterr().out)["attributes"]
    own = {line["regime"]: line for line in found["signatures"]}
    assert list(own) == regimes
    if kind == "gpt2":
        assert (code, own["real"]["answer"]) == (1, "in the state")
        assert own["real"]["alignment"] > 0.99
    else:
        assert (code, {line["answer"] for line in own.values()}) == (3, {"cannot be told"})  # what was never in a state has no signature
