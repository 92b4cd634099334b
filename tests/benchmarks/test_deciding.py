"""The deciding engine: one cell, whitening included, and many cells that share one whitening."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from proxyaudit.probes.deciding import planted_test
from proxyaudit.probes.planting import Target
from proxyaudit.probes.results import PlantedTest
from proxyaudit.probes.score import ScoreStatistic
from proxyaudit.probes.whitening import whiten
from proxyaudit.seeding import stream

pytestmark = [pytest.mark.study, pytest.mark.timeout(1800)]

N = 8000
PERMUTATIONS = 999
MARGIN = {"linear": 0.02, "nonlinear": 0.10}


def _decide(statistic: ScoreStatistic, codes: Any) -> PlantedTest:
    channel = statistic.channel
    test = planted_test(
        statistic, Target.of_codes(codes, 2), MARGIN[channel], lambda purpose: stream(0, channel, purpose), permutations=PERMUTATIONS
    )
    assert np.isfinite(test.score)
    assert test.reason is None
    return test


def _yardstick(d: int) -> Callable[[], None]:
    """What the cell comes down to: one product of the rows with a thousand label columns, ten times over."""
    generator = torch.Generator().manual_seed(0)
    z, columns = torch.randn(N, d, generator=generator), torch.randn(N, 1000, generator=generator)

    def run() -> None:
        for _ in range(10):
            torch.mm(z.T, columns)

    return run


@pytest.mark.parametrize(("channel", "d", "rounds"), [("linear", 384, 5), ("nonlinear", 64, 2), ("nonlinear", 384, 2)])
def test_one_cell(channel: str, d: int, rounds: int, activations: Any, labels: Any, in_turns: Any, threads: Any, say: Any) -> None:
    acts = activations(N, d)
    codes = labels(acts, 0.4, 0.1, seed=0)
    with threads(2):
        turns = in_turns(lambda: _decide(ScoreStatistic(whiten(acts).rows, channel), codes), _yardstick(d), rounds=rounds)
    say(
        f"one {channel} cell, {N} x {d}, 199 plants a family, {PERMUTATIONS} permutations, whitening included, 2 threads: "
        f"{turns.ours:.2f} s (fastest {turns.ours_s.min():.2f}), {10 / turns.ratio:.0f} products of {N} x {d} x 1000",
        seconds=turns.ours,
        fastest=float(turns.ours_s.min()),
        products=10 / turns.ratio,
    )


def test_cells_that_share_a_whitening(activations: Any, rows: Any, in_turns: Any, threads: Any, say: Any) -> None:
    acts = activations(N, 384)
    codes = [a.codes for a in rows(acts, 8).attributes]

    def shared() -> None:
        statistic = ScoreStatistic(whiten(acts).rows, "linear")
        for column in codes:
            _decide(statistic, column)

    def alone() -> None:
        _decide(ScoreStatistic(whiten(acts).rows, "linear"), codes[0])

    with threads(2):
        start = time.perf_counter()
        whiten(acts)
        whitening = time.perf_counter() - start
        turns = in_turns(shared, alone, rounds=3)
    say(
        f"8 linear cells of one site, {N} x 384, 2 threads: {8 / turns.ours:.2f} cells a second; "
        f"they cost {1 / turns.ratio:.1f} times one cell with its own whitening ({whitening:.2f} s)",
        cells_per_second=8 / turns.ours,
        times_one_cell=1 / turns.ratio,
    )
