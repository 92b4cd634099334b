"""What training did, where it is known: the words for the attribute of planted training worlds, and for attributes that are coins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from proxyaudit.seeding import integer_seed
from tests.helpers.training_worlds import EXPECTED, WRONG, audit

MODELS, COINS, PLACEBOS = 5, 10, 40


def tasks(seed: int, seeds: int) -> list[tuple[int, str, int]]:
    """Root seed, kind and number of every case."""
    return [(seed, kind, index) for kind in EXPECTED for index in range(seeds)]


def run_case(seed: int, kind: str, index: int) -> dict[str, Any]:
    """Train the networks of one world and say what training did."""
    torch.set_num_threads(1)
    return {
        "kind": kind,
        **asdict(audit(kind, integer_seed(seed, "training study", kind, index), models=MODELS, coins=COINS, placebos=PLACEBOS)),
    }


def rates(lines: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Right, unknown and wrong-way words of each kind, and coins that got a word of change."""
    found: dict[str, dict[str, int]] = {}
    for kind, expected in EXPECTED.items():
        own = [line for line in lines if line["kind"] == kind]
        words = [line["word"] for line in own]
        coins = [word for line in own for word in line["coins"]]
        found[kind] = {
            "cases": len(own),
            "right": words.count(expected),
            "wrong way": words.count(WRONG[expected]),
            "coins": len(coins),
            "coins changed": sum(word not in ("not_present", "left_alone") for word in coins),
            "singled out": sum(line["singled_out"] is True for line in own),
        }
    return found
