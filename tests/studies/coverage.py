"""Do the intervals of calibrated leaks cover the truth: of single models, and of several models on the same rows."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from proxyaudit.channels.leak.site_probe import ProbedArrays
from proxyaudit.planted import World
from proxyaudit.planted.construction import class_names, directions, gaussian_activations, shift_leak
from proxyaudit.seeding import stream
from tests.studies.decisions import Setting, draft_of, make_case, measure, probed

SIZES = ((8, 500), (32, 1000), (64, 2000))
TRUTHS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2)
RATES = (0.5, 0.2)
REPETITIONS = 1008  # of each size; truths and base rates take turns

MODELS, SEVERAL_SIZE, SEVERAL_REPETITIONS = 5, (16, 1000), 200
SHIFT, SPREAD, SHARED = 0.6, 0.1, 0.5  # group shift of a model: mean and spread over models; share of row noise that models have in common


def run_single(seed: int, size: int, index: int) -> dict[str, Any]:
    """One model with a known leak."""
    d, n = SIZES[size]
    truth, rate = TRUTHS[index % len(TRUTHS)], RATES[index // len(TRUTHS) % len(RATES)]
    rng = stream(seed, "coverage", d, n, index)
    world = make_case(Setting("binary", d, n, rate=rate), truth, rng)
    rows = probed(world)
    cell = draft_of([measure(world.acts_nd, rows, index)], rows)
    return {"size": size, "index": index, "truth": truth, "rate": rate, **_interval(cell)}


def run_several(seed: int, index: int) -> dict[str, Any]:
    """Five models on the same rows; the truth is the mean leak of all models that could have been trained."""
    d, n = SEVERAL_SIZE
    rng = stream(seed, "crossed", index)
    codes = rng.integers(0, 2, n)
    labels = class_names(codes, 2)
    common, models = rng.normal(size=(n, d)), []
    for _ in range(MODELS):
        noise = np.sqrt(SHARED) * common + np.sqrt(1 - SHARED) * rng.normal(size=(n, d))
        shift = max(rng.normal(SHIFT, SPREAD), 0.0)
        models.append(gaussian_activations(noise + shift * codes[:, None] * directions(d, 1, rng).T, rng).astype(np.float32))
    rows: ProbedArrays = probed(World("crossed", models[0], labels, None, None, "linear", 0.0, "exposed", ""))
    cell = draft_of([measure(acts, rows, index) for acts in models], rows)
    return {"index": index, "truth": mean_leak(), **_interval(cell)}


@cache
def mean_leak() -> float:
    """Mean leak over the models of this simulation, by quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    leaks = [shift_leak(max(SHIFT + SPREAD * float(node), 0.0)) for node in nodes]
    return float(weights @ leaks / weights.sum())


def _interval(cell: Any) -> dict[str, Any]:
    found = cell.interval
    return {"value": None, "low": None, "high": None} if found is None else {"value": found.value, "low": found.low, "high": found.high}


def covers(case: dict[str, Any]) -> bool:
    """Whether the interval holds the truth; one-sided where nothing is there."""
    return case["low"] is not None and case["low"] <= case["truth"] and (case["truth"] == 0 or case["truth"] <= case["high"])
