"""How easily a linear reader gets an attribute out, as estimates beside the deciding ones: no verdict rests on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from proxyaudit.channels.leak.record import SiteRecord
from proxyaudit.estimates.draft import Draft
from proxyaudit.estimates.ledger import Drafts


def add_effort(out: Drafts, attribute: str, regime: str, site: str, records: Sequence[SiteRecord]) -> None:
    """Report what :func:`~proxyaudit.probes.effort.measure_effort` found in each model of a regime."""
    found = [record.effort for record in records if record.effort is not None]
    if not found or len(found) < len(records):
        return
    base = Draft("effort", attribute, regime, site, decides=False)

    def add(draft: Draft, values: Sequence[float]) -> None:
        out.add(replace(draft, seed_values=values), value=float(np.mean(values)))

    saved = [one.saved for one in found if one.saved is not None]
    if len(saved) == len(found):
        rows = min(one.rows for one in found if one.rows is not None)
        draft = replace(base, measure="codelength", context="online codelength", n=rows)
        unit = "share of the labels' own code that the activations save"
        add(replace(draft, unit=unit, method="prequential code, ridge-logistic (Voita & Titov 2020)"), saved)
    method = "ridge-logistic on equally many rows of each class, mean of 5 draws, scored on a third of the rows; raw is the leak"
    for shots in zip(*(one.shots for one in found), strict=False):
        m = shots[0][0]
        if all(rows == m for rows, _, _ in shots):
            draft = replace(base, measure="few_shot", subject=str(m), context=f"few-shot, {m} labelled rows", unit="AUROC", method=method)
            add(replace(draft, raw=float(np.mean([leak for _, leak, _ in shots]))), [area for _, _, area in shots])
    pairs = [(one.accuracy, one.control) for one in found if one.accuracy is not None and one.control is not None]
    if len(pairs) == len(found):
        context = f"selectivity; control task {float(np.mean([control for _, control in pairs])):.3f}"
        draft = replace(base, measure="selectivity", context=context, unit="difference in class-balanced accuracy")
        draft = replace(draft, method="accuracy on the attribute minus that on random labels by group (Hewitt & Liang 2019)")
        add(draft, [accuracy - control for accuracy, control in pairs])
