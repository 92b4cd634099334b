"""Whole audits that look into a transformer: the planted circuit and the planted latents, from a folder to the report."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from planted_circuits import TOKENS, WIDTH, plant
from safetensors.torch import save_file
from text_world import WORDS

from proxyaudit.cli.main import main
from proxyaudit.evidence.pack import find_run, read_pack
from proxyaudit.reporting.sections.circuits import circuit_views
from proxyaudit.reporting.sections.features import feature_views

pytestmark = pytest.mark.long

SEED, LATENTS = 3, 24
RECIPE = f"""\
name: inside
data: {{path: t.csv, text: text, target: y, protected: [sex], audit_share: 0.8}}
regimes: [real]
model: {{kind: huggingface, path: m, head: own, labels: ["no", "yes"], max_length: {TOKENS}}}
sites: {{sae: [{{at: layer.1, path: sae}}]}}
references: {{placebos: 20, reweighed: false}}
seeds: 1
effort: decide
circuits: {{texts: 48}}
"""


def write(folder: Path) -> None:
    """The planted classifier, its texts, and an autoencoder two of whose latents read what the planted head writes."""
    world = plant("bert", folder / "m", SEED, n=600)
    lines = [" ".join(WORDS[int(token)] for token in row if token >= 0) for row in world.x]
    frame = {"text": lines, "sex": np.where(world.groups == 1, "m", "f"), "y": np.where(world.labels == 1, "yes", "no")}
    pd.DataFrame(frame).to_csv(folder / "t.csv", index=False)
    draw = torch.Generator().manual_seed(0)
    decoder = torch.nn.functional.normalize(torch.randn(LATENTS, WIDTH, generator=draw), dim=1)
    reads = world.dims[4]
    decoder[:, [reads, world.dims[7]]] = 0.0  # the planted head writes there, and to the opposite at the other
    for latent, sign in ((0, 1.0), (1, -1.0)):
        decoder[latent] = 0.0
        decoder[latent, reads] = sign
    bias = torch.full((LATENTS,), -0.1)
    weights = {"W_enc": decoder.T.contiguous(), "b_enc": bias, "W_dec": decoder, "b_dec": torch.zeros(WIDTH)}
    (folder / "sae").mkdir()
    save_file(weights, folder / "sae" / "sae_weights.safetensors")
    config = {"architecture": "standard", "d_in": WIDTH, "d_sae": LATENTS, "dtype": "float32", "apply_b_dec_to_input": True}
    (folder / "sae" / "cfg.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")


def test_a_planted_circuit_and_its_latents_go_from_a_folder_to_the_report(tmp_path: Path) -> None:
    write(tmp_path)
    assert main(["run", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "out"), "--jobs", "1"]) == 0
    run = find_run(tmp_path / "out")
    pack = read_pack(run)
    assert main(["verify", str(run)]) == 0
    (view,) = circuit_views(pack)
    assert view.answer.startswith("After training on real data: confirmed are head 0 in layer1 and MLP units 18, 24, 25")
    assert "The smallest circuit has 2 of 21 parts" in view.answer
    assert re.search(r"On people it was not found on it carries (?:9\d|10\d) %", view.answer)
    told = (run / "report.md").read_text(encoding="utf-8")
    assert view.answer in told
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Parts of the transformer that carry the effect of sex, after training on real data" in page
    assert "Confirmed: " in page
    assert "layer1, head 0: 100 % of the effect" in page
    latents = {str(e.subject): e for e in pack.evidence.estimates if e.channel == "feature"}
    assert {name for name, e in latents.items() if e.reason is None} >= {"latent 0", "latent 1"}
    assert latents["latent 0"].low > 0.8
    off = {str(e.subject): e for e in pack.evidence.estimates if e.channel == "feature_switched_off"}
    assert off["latent 0"].low > 0.1
    assert max(abs(e.value) for name, e in off.items() if name not in ("latent 0", "latent 1")) < off["latent 0"].low
    (features,) = feature_views(pack)
    assert "at layer1 " in features.answer
    assert "of the gap. The autoencoder gives " in features.answer
    assert features.answer in told
    assert {"sae at layer1, cfg.json", "sae at layer1, sae_weights.safetensors"} <= set(pack.plan["hashes"])
    # No row of anybody, no path of this machine.
    assert not {name for name in pack.arrays if not name.endswith(".seed_values")}
    assert str(tmp_path) not in page + told + (run / "recipe.yaml").read_text(encoding="utf-8")
