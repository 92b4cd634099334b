"""Packs of two attributes after four kinds of training, and what their first screen says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import large_pack as world
from large_pack import large_pack

from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.reporting.first import answers_of
from proxyaudit.reporting.report import Report

EXAMPLE = Path(__file__).parents[2] / "reports" / "example"
REGIMES = ("real", "gaussian_copula", "tvae", "mixed-gaussian_copula-0.5")
SITES = ("hidden1", "hidden2", "penultimate")
GROUP = "Male minus Female, predicted '>50K'"


def two_attributes(*, trained: tuple[Any, ...] = ("amplified", "unknown", "amplified", "amplified"), **more: Any) -> EvidencePack:
    """Two attributes after four kinds of training, with prominence and cures."""
    before, world._TRAINED = world._TRAINED, trained
    try:
        pack = large_pack(("sex", "race"), REGIMES, SITES, training=True, group=GROUP, **more)
    finally:
        world._TRAINED = before
    recipe = {**pack.recipe, "data": {"card": "adult", "exclude": ["sex", "race"]}}
    return replace(pack, recipe=recipe, plan={**pack.plan, "target": {"name": "income"}})


def text_of(parts: Iterable[Any]) -> str:
    """The words of a step, without marks."""
    return "".join(part if isinstance(part, str) else part.text for part in parts)


def steps_of(pack: EvidencePack) -> list[str]:
    """What the first screen says to do next."""
    return [text_of(step) for step in answers_of(Report.of(pack)).steps]
