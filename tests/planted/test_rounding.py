"""Rounding decides nothing: planted worlds come to the same states, verdicts and words with every digit and as published."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from disclosing import unprotected

from proxyaudit.audits.probe import run as probing
from proxyaudit.audits.probe.inputs import ProbeRequest
from proxyaudit.estimates.ledger import Drafts
from proxyaudit.planted.worlds import World, make_world, sample_case
from proxyaudit.seeding import stream
from proxyaudit.types import Evidence

pytestmark = pytest.mark.long

WORLDS, BY_DEFAULT = 20, 9  # the guide tells of more


def small_world(index: int) -> World:
    """A world of 300 to 1,200 rows and 4 to 16 units: a third absent, a third present, a third exactly at the margin."""
    rng = stream(1, "rounding", index)
    while True:
        case = sample_case(rng, present=index % 3 != 0, at_margin=index % 3 == 2)
        case |= {"n": int(rng.integers(300, 1200)), "d": int(rng.choice([4, 8, 16]))}
        try:
            return make_world(**case, rng=rng)
        except ValueError:
            continue


def decided_twice(world: World) -> tuple[Evidence, Evidence]:
    """Evidence of one measurement, rounded and with every digit; a second regime holds the same with noise."""
    kept: list[Drafts] = []
    plain: list[Evidence] = []
    decide, conclude = probing.decide_ledger, probing.evidence_of
    with pytest.MonkeyPatch.context() as patch:

        def decide_ledger(drafts, *args, **more):
            kept.append(drafts)
            return decide(drafts, *args, **more)

        def evidence_of(ledger, scope, *args):
            with pytest.MonkeyPatch.context() as inner:
                unprotected(inner)
                plain.append(conclude(decide(kept[-1], roles=scope.roles), scope, *args))
            return conclude(ledger, scope, *args)

        patch.setattr(probing, "decide_ledger", decide_ledger)
        patch.setattr(probing, "evidence_of", evidence_of)
        beside = {"group": world.groups_n, "label": world.condition_n}
        table = pd.DataFrame({"attribute": world.labels_n, **{name: values for name, values in beside.items() if values is not None}})
        noisy = world.acts_nd + stream(1, "noise").normal(size=world.acts_nd.shape) * world.acts_nd.std(axis=0) * 0.5
        request = ProbeRequest(
            ("attribute",), real="real", group="group" if "group" in table else None, condition_on=("label",) if "label" in table else ()
        )
        acts = {"real": {"site": np.asarray(world.acts_nd)}, "noisy": {"site": noisy}}
        return probing.probe_arrays(acts, table, request, jobs=1).evidence, plain[0]


def apart(index: int) -> list[str]:
    """What rounding changes of a world: states, outcomes of controls, verdicts and words of change."""
    rounded, plain = decided_twice(small_world(index))
    pairs = [*zip(rounded.estimates, plain.estimates, strict=True)]
    lines = [f"{a.id} {a.channel}: {b.state} became {a.state}" for a, b in pairs if a.state != b.state]
    lines += [f"{a.id}: {a.detail}" for a, b in zip(rounded.controls, plain.controls, strict=True) if a.passed != b.passed]
    for a, b in zip(rounded.findings, plain.findings, strict=True):
        for field in ("verdict", "at_least", "encoding", "use", "recoverable", "mechanisms", "basis", "origin", "change", "training"):
            if getattr(a, field) != getattr(b, field):
                lines.append(f"{a.regime} {field}: {getattr(b, field)} became {getattr(a, field)}")
    assert any(a.value != b.value for a, b in pairs)
    return lines


@pytest.mark.parametrize("index", [pytest.param(i, marks=pytest.mark.study if i >= BY_DEFAULT else ()) for i in range(WORLDS)])
def test_rounding_changes_no_decision(index: int) -> None:
    assert apart(index) == []
