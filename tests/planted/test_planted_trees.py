"""Planted trees, audited as checkpoints; in large: ``python -m tests.studies trees``."""

from __future__ import annotations

import pytest

from proxyaudit.types import Evidence
from tests.studies.trees import TRUTH, audit, outcomes, states

pytestmark = pytest.mark.long

KINDS = ("used", "leaves", "absent")


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return audit(17_000, tmp_path_factory.mktemp("trees"), KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_ensemble_is_told_rightly_or_left_open(evidence: Evidence, kind: str) -> None:
    verdict, truth = TRUTH[kind]
    (finding,) = [finding for finding in evidence.findings if finding.regime == kind]
    assert finding.verdict == verdict
    found = states(evidence, kind)
    assert all({*found[channel]} <= {state, "unknown"} for channel, state in truth.items() if channel != "elsewhere")
    assert all(state in found[channel] for channel, state in truth.items())
    assert truth.get("elsewhere") != "absent" or {*found["elsewhere"]} <= {"absent", "unknown"}
    assert found["relearned"] == (["absent"] if kind == "absent" else ["unknown"])  # what only leaves tell has no placebo to exceed


def test_what_only_leaves_tell_is_found_there_alone(evidence: Evidence) -> None:
    present = {e.site for e in evidence.estimates if e.regime == "leaves" and e.state == "present"}
    assert present == {"leaves"}


def test_outcomes_are_counted() -> None:
    line = {"kind": "used", "truth": "exposed", "verdict": "exposed", "wrong_channels": []}
    found = outcomes([line, {**line, "verdict": "inconclusive"}, {**line, "verdict": "removed", "wrong_channels": ["linear", "used"]}])
    assert found == {"used": {"right": 1, "inconclusive": 1, "wrong": 1, "wrong_channels": 2}}
