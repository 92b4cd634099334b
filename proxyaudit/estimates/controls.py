"""Controls of the instrument: what fails here disables the decisions that rest on it."""

from __future__ import annotations

import numpy as np

from proxyaudit.data.dataset import Attribute
from proxyaudit.estimates.facts import Run
from proxyaudit.estimates.ledger import Drafts


def random_subspaces(run: Run, attribute: Attribute, site: str) -> tuple[float, float] | None:
    """Size of the attribute's effect and the 95th percentile of that of random subspaces of equal rank."""
    cells = [m.numbers["interchange"][attribute.name][site] for m in run.measured]
    cells = [cell for cell in cells if not cell["reason"]]
    if not cells:
        return None
    sizes = [max(abs(cell["signed"]), max(0.0, cell["product"]) ** 0.5) for cell in cells]
    return float(np.mean(sizes)), float(np.quantile([size for cell in cells for size in cell["random"]], 0.95))


def add_random_subspaces(out: Drafts, run: Run, attribute: Attribute, site: str, margin: float) -> None:
    """Whether the effect, or else the margin, exceeds what random subspaces of equal rank do."""
    found = random_subspaces(run, attribute, site)
    if found is not None:
        size, high = found
        detail = f"effect {size:.4f}; 95th percentile of random subspaces of equal rank {high:.4f}"
        out.control(
            "random_subspace", "used", attribute.name, run.regime, site, high < max(size, margin), detail, effect=size, random_high=high
        )
