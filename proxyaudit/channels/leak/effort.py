"""How easily a linear reader gets an attribute out, as estimates beside the deciding ones: no verdict rests on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from proxyaudit.estimates.draft import Draft
from proxyaudit.estimates.ledger import Drafts
from proxyaudit.probes.effort import SHOTS

CHANNEL = "effort"


def add_effort(out: Drafts, attribute: str, regime: str, site: str, per_seed: Sequence[dict[str, Any]]) -> None:
    """Report what :func:`~proxyaudit.probes.effort.measure_effort` found in each model of a regime."""
    found = [cell["effort"] for cell in per_seed if cell.get("effort")]
    if not found or len(found) < len(per_seed):
        return
    base = Draft(CHANNEL, attribute, regime, site, decides=False)

    def add(cell: Draft, values: Sequence[float]) -> None:
        out.add(replace(cell, seed_values=values), value=float(np.mean(values)))

    if all("codelength" in one for one in found):
        rows = min(one["codelength"]["rows"] for one in found)
        cell = replace(base, context="online codelength", unit="share of the labels' own code that the activations save", n=rows)
        add(replace(cell, method="prequential code, ridge-logistic (Voita & Titov 2020)"), [one["codelength"]["saved"] for one in found])
    for index, m in enumerate(SHOTS):
        if not all(len(one["shots"]) > index and one["shots"][index][0] == m for one in found):
            continue
        leak = float(np.mean([one["shots"][index][1] for one in found]))
        cell = replace(base, context=f"few-shot, {m} labelled rows", unit="AUROC", raw=leak)
        method = "ridge-logistic on equally many rows of each class, mean of 5 draws, scored on a third of the rows; raw is the leak"
        add(replace(cell, method=method), [one["shots"][index][2] for one in found])
    if all("selectivity" in one for one in found):
        control = float(np.mean([one["selectivity"]["control"] for one in found]))
        cell = replace(base, context=f"selectivity; control task {control:.3f}", unit="difference in class-balanced accuracy")
        cell = replace(cell, method="accuracy on the attribute minus that on random labels by group (Hewitt & Liang 2019)")
        add(cell, [one["selectivity"]["accuracy"] - one["selectivity"]["control"] for one in found])
