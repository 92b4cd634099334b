"""Change records in words: what has no value is said, not left to a dash."""

from __future__ import annotations

import pytest

from proxyaudit.evidence.changes import Changed, ChangeRecord, Mechanism, NamedRun, Side
from proxyaudit.reporting.change import change_words, render_change


@pytest.mark.parametrize("after", [None, "inconclusive"])
def test_a_change_record_has_no_dash_for_what_nobody_measured(after: str | None) -> None:
    run = NamedRun(name="q", run_id="a", plan_digest="b")
    of = {"channel": "cure", "attribute": None, "site": None, "unit": "AUROC", "before": None}
    cost = Changed(**of, measure="auroc_cost", what="AUROC of the target, lost", after=Side(value=0.003, low=0.001, high=0.005))
    record = ChangeRecord(
        change_version="1.0",
        id="x",
        kind="cure",
        attribute="sex",
        regime="real",
        changed_regime="real-dropped-1",
        mechanism=Mechanism(name="dropped-1", words="without job", sites=(), columns=("job",)),
        source=run,
        audit=None if after is None else run,
        verdict_before="exposed",
        verdict_after=after,
        measured=(),
        side_effects=(cost,),
        residual_risk=(),
        artefacts={},
    )
    page = render_change(record)
    told = after or "none yet, for what was changed has not been audited"
    assert f"Verdict: exposed before; after it {told}" in page
    assert "| nothing | 0.003" in page
    assert change_words(record).endswith("; AUROC of the target, lost 0.003 (0.001 to 0.005)")
