"""Boosted trees go on after their first rounds where these hint at anything, and stop where they do not."""

import numpy as np
import pytest
import sklearn.ensemble

from proxyaudit.probes import flexible, flexible_readers
from proxyaudit.probes.blending import hint_of
from proxyaudit.probes.flexible_readers import grow_trees
from proxyaudit.probes.folds import assign_folds
from proxyaudit.seeding import stream
from tests.unit.test_flexible import offset_of


def posed(x, codes, classes=2):
    folds = assign_folds(np.arange(len(x)), stream(0, "staged trees"))
    return flexible._pose(x, codes, classes, folds, offset_of(x, codes, classes, folds))


def drawn(told, seed, n=1500):
    """Rows and an attribute that is what is told four times in five."""
    rng = stream(seed, "told")
    x = rng.normal(size=(n, 10))
    return x, np.where(rng.random(n) < 0.8, told(x), 1 - told(x)).astype(np.int64)


TOLD = {
    "product of three": lambda x: (x[:, 0] * x[:, 1] * x[:, 2] > 0) * 1,
    "wave": lambda x: (np.sin(4 * x[:, 0]) > 0) * 1,
    "square beyond": lambda x: (np.abs(x[:, 0]) + np.abs(x[:, 1]) > 1.5) * 1,
}


@pytest.mark.parametrize("name", TOLD)
def test_where_first_rounds_hint_at_something_all_are_grown(name):
    problem = posed(*drawn(TOLD[name], 1, n=3000))
    assert len(grow_trees(problem, 0)) == 5


def test_where_nothing_is_there_most_stop_and_none_is_taken_for_evidence():
    rng, ends = stream(0, "nothing"), []
    for _ in range(12):
        x = rng.normal(size=(600, 6))
        problem = posed(x, rng.integers(0, 2, 600))
        found = grow_trees(problem, 0)
        ends.append(len(found))
        assert found.shape[1:] == problem.base_fnk.shape
    assert ends.count(3) >= 9
    assert set(ends) <= {3, 5}


@pytest.mark.parametrize("classes", [2, 0])
def test_growing_on_is_growing_in_one_go(classes, monkeypatch):
    x, codes = drawn(TOLD["wave"], 2)
    problem = posed(x, codes if classes else (codes - codes.mean()) / codes.std(), classes)
    twice = grow_trees(problem, 0)
    monkeypatch.setattr(flexible_readers, "_FIRST_ROUNDS", 80)
    once = grow_trees(problem, 0)
    assert len(twice) == len(once) == 5
    assert np.array_equal(twice, once)


def test_several_classes_stop_after_their_few_rounds(monkeypatch):
    rng = stream(0, "classes")
    problem = posed(rng.normal(size=(900, 5)), rng.integers(0, 3, 900), 3)
    monkeypatch.setattr(flexible_readers, "hint_of", None)  # not asked: there is nothing to go on to
    fits = []
    fit = sklearn.ensemble.HistGradientBoostingClassifier.fit
    monkeypatch.setattr(sklearn.ensemble.HistGradientBoostingClassifier, "fit", lambda *given: fits.append(1) or fit(*given))
    assert len(grow_trees(problem, 0)) == 3
    assert len(fits) == problem.folds


def test_a_hint_counts_standard_errors_and_finds_what_is_told():
    x, codes = drawn(TOLD["wave"], 3)
    problem = posed(x, codes)
    told = np.where(codes[:, None] == np.arange(2), 0.5, -0.5)
    assert hint_of(problem, np.broadcast_to(told, (1, *problem.base_fnk.shape))) > 20
    noise = stream(0, "noise").normal(size=(1, *problem.base_fnk.shape))
    assert hint_of(problem, noise) < 4
