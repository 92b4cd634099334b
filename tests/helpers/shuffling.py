"""A pack whose words were dealt among its numbers at random: nothing but words may depend on them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from pydantic import BaseModel

from proxyaudit.evidence.pack import EvidencePack

M = TypeVar("M", bound=BaseModel)


def shuffled(pack: EvidencePack, seed: int = 0) -> EvidencePack:
    """The pack with every method, context, reason, detail and sentence at another place that has one."""
    rng, evidence = random.Random(seed), pack.evidence
    moved = evidence.model_copy(
        update={
            "estimates": _dealt(evidence.estimates, ("method", "context", "reason"), rng),
            "controls": _dealt(evidence.controls, ("detail",), rng),
            "findings": _dealt(evidence.findings, ("sentence", "would_settle"), rng),
        }
    )
    assert moved != evidence
    return replace(pack, evidence=moved)


def _dealt(items: Sequence[M], fields: Sequence[str], rng: random.Random) -> tuple[M, ...]:
    updates: list[dict[str, object]] = [{} for _ in items]
    for field in fields:
        places = [place for place, item in enumerate(items) if getattr(item, field)]
        words = [getattr(items[place], field) for place in places]
        rng.shuffle(words)
        for place, word in zip(places, words, strict=True):
            updates[place][field] = word
    return tuple(item.model_copy(update=update) for item, update in zip(items, updates, strict=True))
