"""Score statistics and their permutation nulls."""

import numpy as np
import pytest

from proxyaudit.probes.score import label_columns, permutation_null, score_statistics
from proxyaudit.probes.whitening import whiten
from proxyaudit.seeding import stream
from proxyaudit.stats.nulls import permutation_p


def test_statistic_by_hand():
    rng = stream(0, "hand")
    z = whiten(rng.normal(size=(50, 3))).z_nr
    a = rng.integers(0, 2, 50)
    centred = a - a.mean()
    expected = ((z.T @ centred) ** 2).sum() / (50 * a.var())
    assert score_statistics(z, label_columns(a, "binary", 2))[0] == pytest.approx(expected)


def test_statistic_ignores_rotation_row_order_and_label_names():
    rng = stream(0, "invariance")
    acts, a = rng.normal(size=(300, 6)), rng.integers(0, 2, 300)
    rotation, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    order = rng.permutation(300)
    reference = score_statistics(whiten(acts).z_nr, label_columns(a, "binary", 2))[0]
    for other, labels in ((acts @ rotation * 3 + 1, a), (acts[order], a[order]), (acts, 1 - a)):
        assert score_statistics(whiten(other).z_nr, label_columns(labels, "binary", 2))[0] == pytest.approx(reference, rel=1e-9)


@pytest.mark.parametrize("clustered", [False, True])
def test_p_values_are_level_under_the_null(clustered):
    rng = stream(0, "level", clustered)
    rejected = 0
    for _ in range(200):
        if clustered:
            # Six equal rows a group: rows taken as independent would reject most of the time.
            clusters = np.repeat(np.arange(60), 6)
            acts, a = np.repeat(rng.normal(size=(60, 4)), 6, axis=0), np.repeat(rng.integers(0, 2, 60), 6)
        else:
            clusters, acts, a = None, rng.normal(size=(150, 8)), rng.integers(0, 2, 150)
        observed, null = permutation_null(whiten(acts).z_nr, label_columns(a, "binary", 2), clusters, 199, rng)
        rejected += permutation_p(observed, null) <= 0.05
    # 200 tests at 5 %: 10 expected, 19 is the 99.5 % point; the sign-flip null of 60 clusters is only asymptotic.
    assert rejected <= (24 if clustered else 19)


def test_naive_permutation_of_copied_rows_claims_presence():
    rng = stream(0, "naive")
    naive = 0
    for _ in range(100):
        acts, a = np.repeat(rng.normal(size=(60, 4)), 6, axis=0), np.repeat(rng.integers(0, 2, 60), 6)
        observed, null = permutation_null(whiten(acts).z_nr, label_columns(a, "binary", 2), None, 99, rng)
        naive += permutation_p(observed, null) <= 0.05
    assert naive > 50


def test_a_weak_leak_is_found():
    rng = stream(0, "power")
    acts = rng.normal(size=(4000, 20))
    a = (rng.random(4000) < 1 / (1 + np.exp(-0.4 * acts[:, 0]))).astype(int)
    observed, null = permutation_null(whiten(acts).z_nr, label_columns(a, "binary", 2), None, 499, rng)
    assert permutation_p(observed, null) == pytest.approx(1 / 500)


def test_several_classes_sum_over_indicators():
    rng = stream(0, "classes")
    z, a = whiten(rng.normal(size=(200, 3))).z_nr, rng.integers(0, 4, 200)
    columns = label_columns(a, "multiclass", 4)
    observed, _ = permutation_null(z, columns, None, 1, rng)
    assert observed == pytest.approx(score_statistics(z, columns).sum())
