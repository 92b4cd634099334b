"""Activations in blocks of rows: the coordinates of whitening, the copies that comparing all with all would find, little memory."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from proxyaudit.audits.probe.copies import _NEAR, _SHORT, _TELLING_RANK, near_copies
from proxyaudit.audits.probe.inputs import ProbeRequest, make_inputs
from proxyaudit.data.splits import connected
from proxyaudit.probes.row_blocks import WhitenedRows
from proxyaudit.probes.whitening import whiten
from proxyaudit.seeding import stream

N = 3000


def normal(d: int, n: int = N) -> NDArray[np.float64]:
    return stream(0, "row blocks", d).normal(size=(n, d))


def normed() -> NDArray[np.float32]:
    rows = normal(24).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    return rows / rows.std(axis=1, keepdims=True)


def rectified() -> NDArray[np.float32]:
    mixed = normal(24) @ stream(0, "weights").normal(size=(24, 32)) / 5 - np.linspace(0, 2.5, 32)
    return np.maximum(mixed, 0).astype(np.float32)


def few_long() -> NDArray[np.float64]:
    rows = normal(12)
    rows[:5] *= 1e4
    return rows


KINDS = {
    "single": lambda: normal(24).astype(np.float32),
    "double": lambda: normal(24),
    "normed": normed,
    "rectified": rectified,
    "heavy tails": lambda: stream(0, "tails").standard_t(1.5, size=(N, 12)),
    "few long rows": few_long,
    "low rank": lambda: (normal(3) @ stream(0, "low").normal(size=(3, 12))).astype(np.float32),
    "copied units": lambda: np.concatenate([normal(8), 2 * normal(8)], axis=1),
    "constant": lambda: np.ones((N, 3)),
    "codes": lambda: stream(0, "codes").integers(0, 3, (N, 6)).astype(np.float32),
    "wide": lambda: normal(40, 30),
}


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_of_rows_have_the_coordinates_of_whitening(kind: str) -> None:
    acts = KINDS[kind]()
    rows, whole = WhitenedRows(acts), whiten(acts).z_nr
    assert rows.rank == whole.shape[1]
    np.testing.assert_allclose(rows.lengths(), (whole**2).sum(axis=1), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(np.abs(rows.singles()), np.abs(whole), atol=1e-3 * max(float(np.abs(whole).max(initial=0.0)), 1.0))


def compared_with_all(acts: NDArray[np.float64]) -> NDArray[np.int64]:
    """Clusters by comparing every row with every other."""
    z = whiten(acts).z_nr
    near, length = _NEAR if z.shape[1] >= _TELLING_RANK else 1e-8, (z**2).sum(axis=1)
    pairs = []
    for row in range(len(z) - 1):
        scale = np.maximum(np.minimum(length[row], length[row + 1 :]), _SHORT * z.shape[1])
        close = np.flatnonzero(((z[row + 1 :] - z[row]) ** 2).sum(axis=1) < 2 * near * scale)
        pairs.append((np.full(len(close), row), row + 1 + close))
    return connected(len(z), pairs)


def noisy(d: int, noise: float) -> NDArray[np.float64]:
    rows = normal(d, 1200)
    rows[:200] = rows[200:400] + noise * stream(0, "noise").normal(size=(200, d))
    return rows


def along_one_unit() -> NDArray[np.float64]:
    rows = noisy(16, 0.0)
    rows[:200, 0] += 0.4
    return rows


COPIES = {
    "equal": lambda: noisy(16, 0.0),
    "equal, few dimensions": lambda: noisy(3, 0.0),
    "nearly equal, few dimensions": lambda: noisy(4, 1e-5),
    "near": lambda: noisy(16, 0.05),
    "at the limit": lambda: noisy(24, 0.1),
    "beyond the limit": lambda: noisy(24, 0.2),
    "along one unit": along_one_unit,
    "long rows": lambda: np.exp(noisy(8, 0.01)),
    "a chain": lambda: np.cumsum(0.2 * normal(10, 1200), axis=0),
    "many of each": lambda: np.repeat(normal(16, 60), 20, axis=0) + 0.02 * normal(16, 1200),
    "codes": lambda: stream(0, "codes").integers(0, 2, (1200, 9)).astype(float),
    "nobody's": lambda: normal(16, 1200),
}


@pytest.mark.parametrize("kind", COPIES)
def test_sorting_finds_the_copies_that_comparing_all_with_all_finds(kind: str) -> None:
    acts = COPIES[kind]()
    wanted, found = compared_with_all(acts), connected(len(acts), [near_copies(acts)])
    together = pd.DataFrame({"wanted": wanted, "found": found}).drop_duplicates()
    assert len(together) == wanted.max() + 1 == found.max() + 1


def test_reading_takes_at_most_three_times_the_data() -> None:
    """It took fifteen times as much; three counts the rows in their own order, and the whitened ones."""
    acts = stream(0, "large").normal(size=(24_000, 192)).astype(np.float32)
    table = pd.DataFrame({"sex": stream(0, "sex").choice(["f", "m"], len(acts))})
    tracemalloc.start()
    make_inputs({"real": {"layer": acts}}, table, ProbeRequest(("sex",)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak + acts.nbytes <= 3.0 * acts.nbytes + 20e6  # what a block of rows, a column and the table take does not grow


def test_time_to_find_copies_grows_with_the_rows_not_with_their_square() -> None:
    seconds = []
    for n in (4_000, 32_000):
        acts = stream(0, "growing", n).normal(size=(n, 24)).astype(np.float32)
        started = time.process_time()
        near_copies(acts)
        seconds.append(time.process_time() - started)
    assert seconds[1] < 24 * seconds[0]  # eight times the rows; their square is 64 times as much
