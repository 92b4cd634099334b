"""Controls of the instrument: what fails here disables the decisions that rest on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from proxyaudit.data.dataset import Attribute
from proxyaudit.estimates.facts import Run
from proxyaudit.estimates.ledger import Drafts
from proxyaudit.estimates.record import OUTPUT_SITE
from proxyaudit.stats.multiplicity import holm

Key = tuple[str, str, str | None]
"""(regime, attribute, site); site is None for the outputs."""


def negative_controls(
    runs: Iterable[Run], attributes: Sequence[Attribute], sites: Sequence[str], *, outputs: bool = True
) -> dict[Key, float]:
    """Holm-adjusted p-values of the permuted attribute at every site of every regime."""
    keys: list[Key] = []
    p_values: list[float] = []
    for run in runs:
        for attribute in attributes:
            for site in (*sites, *((OUTPUT_SITE,) if outputs else ())):
                found = [m.numbers["cells"][attribute.name][site].get("linear", {}).get("negative") for m in run.measured]
                p = [float(value) for value in found if value is not None]
                if p:
                    keys.append((run.regime, attribute.name, None if site == OUTPUT_SITE else site))
                    p_values.append(min(1.0, min(p) * len(p)))
    return dict(zip(keys, (float(p) for p in holm(p_values)), strict=True)) if keys else {}


def add_plants(out: Drafts, run: Run, attribute: Attribute, site: str) -> None:
    """Whether plants at the margin and at twice the margin were found, for each test of a site."""
    for channel in ("linear", "nonlinear", "beyond"):
        found = [m.numbers["cells"][attribute.name][site].get(channel, {}).get("found") for m in run.measured]
        plants = [p for p in found if p]
        if plants:
            once, twice = (min(p[times] for p in plants) for times in ("1", "2"))
            detail = f"plants found at the margin {once:.0%}, at twice the margin {twice:.0%}"
            out.control("positive", channel, attribute.name, run.regime, site, detail, found_once=once, found_twice=twice)


def add_random_subspaces(out: Drafts, run: Run, attribute: Attribute, site: str, margin: float) -> None:
    """Whether the effect, or else the margin, exceeds the 95th percentile of what random subspaces of equal rank do."""
    cells = [m.numbers["interchange"][attribute.name][site] for m in run.measured]
    cells = [cell for cell in cells if not cell["reason"]]
    if not cells:
        return
    size = float(np.mean([max(abs(cell["signed"]), max(0.0, cell["product"]) ** 0.5) for cell in cells]))
    high = float(np.quantile([size for cell in cells for size in cell["random"]], 0.95))
    detail = f"effect {size:.4f}; 95th percentile of random subspaces of equal rank {high:.4f}"
    out.control("random_subspace", "used", attribute.name, run.regime, site, detail, effect=size, random_high=high, margin=margin)


def add_eraser(out: Drafts, run: Run, site: str, margin: float) -> None:
    """Whether the eraser takes a planted signal to nothing on fresh rows."""
    residuals = [m.numbers["eraser"][site] for m in run.measured if m.numbers["eraser"].get(site)]
    if residuals:
        before, after = (float(np.mean([r[key] for r in residuals])) for key in ("before", "after"))
        detail = f"planted leak {before:.3f} on fresh rows, {after:.3f} after LEACE"
        out.control("eraser", "linear", None, run.regime, site, detail, before=before, after=after, margin=margin)
