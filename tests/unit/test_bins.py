"""Bins of single units: oscillations that no smooth reader sees, and nothing where there is nothing."""

import numpy as np
import pytest

import proxyaudit as pa
from proxyaudit.probes.bins import binned_trace
from proxyaudit.probes.score import ScoreStatistic
from proxyaudit.probes.whitening import whiten
from proxyaudit.seeding import stream


def trace(acts, labels, clusters=None, classes=2, seed=0):
    statistic = ScoreStatistic(whiten(acts).rows, "nonlinear")
    return binned_trace(statistic, labels, classes, clusters, stream(seed, "bins"))


def world(seed, n=2000, d=8):
    return stream(seed, "acts").normal(size=(n, d))


@pytest.mark.parametrize("frequency", [5, 8])
def test_an_oscillation_along_a_unit_is_found(frequency):
    for seed in range(3):
        acts = world(seed)
        found = trace(acts, (np.sin(frequency * acts[:, 0]) > 0).astype(np.int64))
        assert found.p < 1e-6
        assert found.share > 0.3


def test_the_parity_of_a_whole_number_is_found():
    acts = world(0)
    acts[:, 0] = stream(0, "whole").integers(0, 40, len(acts))
    assert trace(acts, acts[:, 0].astype(np.int64) % 2).share > 0.9


def test_independent_labels_and_linear_ones_leave_no_trace():
    low = 0
    for seed in range(20):
        acts, rng = world(seed, n=800), stream(seed, "labels")
        low += trace(acts, rng.integers(0, 2, len(acts)), seed=seed).p < 0.01
        linear = (rng.random(len(acts)) < 1 / (1 + np.exp(-0.7 * acts[:, 0]))).astype(np.int64)
        low += trace(acts, linear, seed=seed).p < 0.01
    assert low <= 3


def test_grouped_copies_leave_no_trace_where_single_rows_would():
    grouped = single = 0
    for seed in range(10):
        people = np.repeat(np.arange(100), 8)
        acts = world(seed, n=100)[people] + 0.01 * stream(seed, "noise").normal(size=(800, 8))
        labels = stream(seed, "people").integers(0, 2, 100)[people]
        grouped += trace(acts, labels, people, seed=seed).p < 0.01
        single += trace(acts, labels, seed=seed).p < 0.01
    assert grouped <= 2 < 8 <= single


def test_several_classes_and_numbers():
    acts = world(1)
    phase = np.floor(acts[:, 2] * 3) % 3
    assert trace(acts, phase.astype(np.int64), classes=3).p < 1e-6
    assert trace(acts, np.sin(9 * acts[:, 2]), classes=0).p < 1e-6


@pytest.mark.long
@pytest.mark.parametrize("make", [lambda x: np.sin(8 * x), lambda x: np.sin(5 * x)])
def test_an_oscillating_attribute_is_never_called_removed(make):
    acts = world(3, n=3000, d=8).astype(np.float32)
    audit = pa.probe({"m": {"s": acts}}, {"a": (make(acts[:, 0]) > 0).astype(int)}, attributes=["a"], jobs=1)
    assert audit.pack.evidence.findings[0].verdict != "removed"
