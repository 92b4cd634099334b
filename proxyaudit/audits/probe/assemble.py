"""Evidence about bare activations: the activations themselves are the surface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from proxyaudit.audits.probe.inputs import ProbeInputs
from proxyaudit.channels.leak.estimate import estimate
from proxyaudit.estimates.conclude import evidence_of
from proxyaudit.estimates.facts import Facts, Run
from proxyaudit.estimates.ledger import decide_ledger
from proxyaudit.estimates.record import Measurement
from proxyaudit.estimates.row_sums import row_parts
from proxyaudit.estimates.scope import read_scope
from proxyaudit.recipe.recipe import Margins
from proxyaudit.types import Evidence, NotTested

_NOT_TESTED = (
    ("outputs, use and relearning", "bare activations were given, no model; 'proxyaudit run' audits a model"),
    ("sites that were not given", "what is not in the files was not looked at"),
    ("where the feature comes from (learned, or relayed from the inputs)", "it takes an untrained model and placebo attributes"),
)


def facts_of(inputs: ProbeInputs, runs: Sequence[Run], plan: Mapping[str, Any]) -> Facts:
    """What was measured of bare activations, as the leak tests read it."""
    sites = tuple(plan["sites"]["verdict"])
    return Facts(
        attributes=inputs.attributes,
        clusters_n=inputs.clusters,
        people_n=inputs.clusters,
        labels_n=np.zeros(0, dtype=np.int64),
        classes=(),
        followed={},
        sites=sites,
        verdict_sites=sites,
        unprofiled=(),
        margins=Margins(**plan["margins"]),
        runs=tuple(runs),
        inputs=Measurement(),
        bare=True,
        beyond=", ".join(inputs.conditions),
        doubts=inputs.doubts,
    )


def assemble_probe(inputs: ProbeInputs, runs: Sequence[Run], plan: dict[str, Any], real: str | None) -> tuple[Evidence, dict[str, Any]]:
    """Evidence of all regimes, and the arrays beside it."""
    ledger = decide_ledger(estimate(facts_of(inputs, runs, plan)))
    beyond = () if inputs.conditions else (("leakage beyond what a label explains", "no --condition-on column was named"),)
    notes = [NotTested(what=what, why=why) for what, why in (*_NOT_TESTED, *beyond)]
    evidence = evidence_of(ledger, read_scope(plan, {"real": real}, {}), plan, (*notes, *inputs.notes))
    return evidence, row_parts(ledger, inputs.places)
