"""A whole audit with rows enough to relearn: an attribute that is nowhere, and one that the inputs carry."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from proxyaudit.cli.main import main
from proxyaudit.evidence.pack import find_run, read_pack
from proxyaudit.types import Evidence

pytestmark = pytest.mark.long

RECIPE = """\
name: relearned
data: {path: people.csv, target: pay, protected: [coin, club], exclude: [coin, club], audit_share: 0.5, discover: 0}
regimes: [real]
model: {kind: mlp, hidden: [6, 4], epochs: 3, batch_size: 64, learning_rate: 0.02, patience: null}
references: {reweighed: false}
seeds: 1
effort: everything
cures: false
"""


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    folder = tmp_path_factory.mktemp("relearned")
    rng, n = np.random.default_rng(5), 2000
    u, v, w = rng.standard_normal((3, n))
    people = {
        "u": u,
        "v": v,
        "w": w,
        "coin": rng.choice(["heads", "tails"], n),
        "club": np.where(u + rng.standard_normal(n) > 0, "in", "out"),
    }
    people |= {"pay": np.where(u + v + rng.standard_normal(n) > 0, "high", "low")}
    pd.DataFrame(people).round(4).to_csv(folder / "people.csv", index=False)
    (folder / "recipe.yaml").write_text(RECIPE)
    assert main(["run", str(folder / "recipe.yaml"), "--out", str(folder / "out"), "--jobs", "1"]) == 0
    return read_pack(find_run(folder / "out")).evidence


@pytest.mark.parametrize("attribute", ["coin", "club"])
def test_what_training_did_not_bring_nearer_is_not_relearned(evidence: Evidence, attribute: str) -> None:
    (decided,) = [e for e in evidence.estimates if (e.channel, e.attribute) == ("relearned", attribute) and e.state is not None]
    assert decided.state == "absent", decided.reason
    assert decided.site == "penultimate"
    assert decided.value is not None
    assert decided.value < 0.05 == decided.margin
    # Relayed is there, and says so: within reach of fine-tuning, no more than of any attribute that the inputs know as well.
    assert (decided.raw or 0.0) > 0.1 if attribute == "club" else (decided.raw or 0.0) < 0.02
    (control,) = [c for c in evidence.controls if (c.channel, c.attribute) == ("relearned", attribute)]
    assert control.passed
    curve = {(e.regime, e.context) for e in evidence.estimates if (e.channel, e.attribute, e.state) == ("relearned", attribute, None)}
    assert {("real", "whole model, 64 rows"), ("untrained", "last block, 256 rows")} <= curve


def test_elsewhere_is_asked_linearly_and_non_linearly(evidence: Evidence) -> None:
    states = {(e.attribute, e.context): e for e in evidence.estimates if e.channel == "elsewhere" and e.state is not None}
    assert {e.site for e in states.values()} == {"hidden1"}
    assert states["coin", None].state == "absent"
    assert states["coin", "nonlinear"].p_present is not None
    assert states["club", None].state == "present"
    assert "a linear reader finds it here already" in (states["club", "nonlinear"].reason or "")


def test_removed_is_not_said_while_any_channel_is_unknown(evidence: Evidence) -> None:
    for finding in evidence.findings:
        states = {e.state for e in evidence.estimates if (e.attribute, e.regime) == (finding.attribute, finding.regime) and e.state}
        assert finding.verdict != "removed" or states == {"absent"}
        assert "relearned" not in finding.recoverable
