"""Words are for people: a pack whose words were dealt among its numbers at random decides the same everywhere."""

from __future__ import annotations

import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from proxyaudit.audits.probe.inputs import ProbeRequest
from proxyaudit.audits.probe.run import probe_arrays
from proxyaudit.estimates.conclude import conclude
from proxyaudit.estimates.scope import Scope, read_scope
from proxyaudit.estimates.states import decide_states
from proxyaudit.evidence.pack import EvidencePack, read_pack
from proxyaudit.verification.checks import (
    completeness_problems,
    control_problems,
    finding_problems,
    number_problems,
    sentence_problems,
    state_problems,
)
from tests.helpers.released_packs import PLAIN_FILES
from tests.helpers.shuffling import shuffled

EXAMPLE = Path(__file__).parents[2] / "reports" / "example"
PACKS = Path(__file__).parents[1] / "fixtures" / "packs"


def of_today(pack: EvidencePack) -> EvidencePack:
    """A pack of schema 1.0, read and called one of today: its figures are in fields now, and its words count for nothing."""
    told = tuple(c for c in pack.evidence.controls if c.figures)
    return replace(pack, evidence=pack.evidence.model_copy(update={"schema_version": "1.1", "controls": told}))


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, EvidencePack]:
    folder = tmp_path_factory.mktemp("packs")
    with tarfile.open(PACKS / "probe-1.0.tar.xz") as tar:
        tar.extractall(folder, **PLAIN_FILES)
    rng = np.random.default_rng(0)
    sex, job = rng.integers(0, 2, 400), rng.integers(0, 3, 400)
    acts = {name: {"pooled": rng.normal(size=(400, 4)) + gap * sex[:, None]} for name, gap in (("real", 0.2), ("vendor", 1.0))}
    labels = pd.DataFrame({"sex": np.array(["f", "m"])[sex], "job": np.array(["a", "b", "c"])[job]})
    fresh = probe_arrays(acts, labels, ProbeRequest(("sex",), real="real", condition_on=("job",)), jobs=1)
    return {"example": of_today(read_pack(EXAMPLE)), "probe": of_today(read_pack(folder / "probe")), "fresh": fresh}


def scope_of(pack: EvidencePack) -> Scope:
    return read_scope(pack.plan, pack.recipe, pack.environment)


def decided(pack: EvidencePack) -> list[dict[str, Any]]:
    """What is concluded from a pack, sentences apart."""
    scope = read_scope(pack.plan, pack.recipe, pack.environment)
    found = conclude(pack.evidence.estimates, pack.evidence.controls, scope)
    return [finding.model_dump(exclude={"sentence", "would_settle"}) for finding in found]


def problems(pack: EvidencePack) -> list[str]:
    """What the checks of states, controls, numbers and verdicts find."""
    scope, evidence = read_scope(pack.plan, pack.recipe, pack.environment), pack.evidence
    found = [*state_problems(evidence, scope.margins, roles=scope.roles), *control_problems(evidence, scope.margins, scope.verdict_sites)]
    found += number_problems(evidence, pack.arrays, pack.plan.get("level"), paired=scope.surface == "outputs")
    return sorted([*found, *completeness_problems(pack, scope), *finding_problems(pack, scope)])


@pytest.mark.long
@pytest.mark.parametrize("name", ["example", "probe", "fresh"])
def test_words_decide_nothing(name: str, packs: dict[str, EvidencePack]) -> None:
    pack = packs[name]
    before = decided(pack)
    assert {finding["verdict"] for finding in before} & {"exposed", "hidden", "inconclusive", "removed"}
    states = {e.id: e.state for e in pack.evidence.estimates}
    for seed in range(3):
        moved = shuffled(pack, seed)
        assert decided(moved) == before
        # The packs of schema 1.0 were decided by its rule.
        roles = None if moved.evidence.schema_version == "1.0" else scope_of(moved).roles
        made = decide_states(moved.evidence.estimates, moved.evidence.controls, roles)
        assert {key: states[key] for key in made} == made
        assert problems(moved) == problems(pack)


def test_a_fresh_pack_has_no_problem_and_its_sentences_are_its_own(packs: dict[str, EvidencePack]) -> None:
    pack = packs["fresh"]
    scope = read_scope(pack.plan, pack.recipe, pack.environment)
    assert problems(pack) == []
    assert list(sentence_problems(pack, scope)) == []
    assert list(sentence_problems(shuffled(pack), scope))
    assert {f.verdict for f in pack.evidence.findings if f.regime == "vendor"} == {"exposed"}
