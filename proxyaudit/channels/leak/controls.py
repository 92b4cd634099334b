"""Controls of the leak tests: what fails here disables the decisions that rest on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from proxyaudit.channels.leak.record import SiteRecord, read_eraser
from proxyaudit.estimates.facts import Run
from proxyaudit.estimates.ledger import Drafts
from proxyaudit.stats.multiplicity import holm

Key = tuple[str, str, str]
"""(regime, attribute, site)"""


def negative_controls(records: Mapping[Key, Sequence[SiteRecord]]) -> dict[Key, float]:
    """Holm-adjusted p-values of the permuted attribute at every site of every regime."""
    raw: dict[Key, float] = {}
    for key, of_models in records.items():
        p = [one.linear.negative for one in of_models if one.linear is not None and one.linear.negative is not None]
        if p:
            raw[key] = min(1.0, min(p) * len(p))
    return dict(zip(raw, (float(p) for p in holm(list(raw.values()))), strict=True)) if raw else {}


def add_plants(out: Drafts, records: Sequence[SiteRecord], key: Key, tests: Mapping[str, str]) -> None:
    """Whether plants at the margin and at twice the margin were found in each test, with the channel that it stands under."""
    regime, attribute, site = key
    for test, channel in tests.items():
        found = [one.tests[test] for one in records if test in one.tests and one.tests[test].asked]
        if found:
            once, twice = min(one.found_once for one in found), min(one.found_twice for one in found)
            detail = f"plants found at the margin {once:.0%}, at twice the margin {twice:.0%}"
            out.control("positive", channel, attribute, regime, site, detail, found_once=once, found_twice=twice)


def add_baselines(out: Drafts, records: Sequence[SiteRecord], key: Key, margin: float) -> None:
    """Whether random features of what is conditioned on show nothing beyond it."""
    regime, attribute, site = key
    for record in records:
        test = record.tests.get("beyond")
        if test is not None and test.control is not None:
            detail = f"random features of what is conditioned on: leak {test.control:.3f}"
            out.control("baseline", "beyond", attribute, regime, site, detail, leak=test.control, margin=margin)


def add_eraser(out: Drafts, run: Run, site: str, margin: float) -> None:
    """Whether the eraser takes a planted signal to nothing on fresh rows."""
    found = [one for one in (read_eraser(m, site) for m in run.measured) if one is not None]
    if found:
        before, after = float(np.mean([one.before for one in found])), float(np.mean([one.after for one in found]))
        detail = f"planted leak {before:.3f} on fresh rows, {after:.3f} after LEACE"
        out.control("eraser", "linear", None, run.regime, site, detail, before=before, after=after, margin=margin)
