"""What is not linear and of low rank is found with rows in number of the coordinates; where nothing is, nothing is found."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.random import Generator

from proxyaudit.arrays import Floats, Ints
from proxyaudit.probes import flexible_readers
from proxyaudit.probes.blending import Problem, blend
from proxyaudit.probes.flexible import flexible_gains
from proxyaudit.probes.flexible_readers import read_quadratic
from proxyaudit.probes.whitening import whiten
from proxyaudit.seeding import stream
from proxyaudit.stats.intervals import Measured, p_above

N, D, FOLDS = 3000, 64, 5
Made = Callable[[Generator], tuple[Floats, Ints, int]]


def turned(rng: Generator) -> tuple[Floats, Floats]:
    """Rows ``(n, d)`` and their coordinates along four random directions."""
    z, axes = rng.normal(size=(N, D)), np.linalg.qr(rng.normal(size=(D, 4)))[0]
    return z, np.asarray(z @ axes)


def drawn(rng: Generator, log_odds: Floats) -> Ints:
    return np.asarray(rng.random(len(log_odds)) < 1 / (1 + np.exp(-log_odds)), dtype=np.int64)


def product(rng: Generator) -> tuple[Floats, Ints, int]:
    z, a = turned(rng)
    return z, drawn(rng, 2.5 * a[:, 0] * a[:, 1]), 2


def square(rng: Generator) -> tuple[Floats, Ints, int]:
    z, a = turned(rng)
    return z, drawn(rng, 1.8 * (a[:, 0] ** 2 - 0.5)), 2


def two_squares(rng: Generator) -> tuple[Floats, Ints, int]:
    z, a = turned(rng)
    return z, drawn(rng, 1.5 * (a[:, 0] ** 2 + a[:, 1] ** 2 - 1.5)), 2


def three_classes(rng: Generator) -> tuple[Floats, Ints, int]:
    z, a = turned(rng)
    scores = np.stack([2 * a[:, 0] * a[:, 1], 2 * a[:, 2] * a[:, 3], np.zeros(N)], axis=1)
    return z, (scores + rng.gumbel(size=scores.shape)).argmax(axis=1), 3


def number(rng: Generator) -> tuple[Floats, Ints, int]:
    z, a = turned(rng)
    return z, np.asarray(a[:, 0] * a[:, 1] + rng.normal(size=N)), 0


def nothing(rng: Generator) -> tuple[Floats, Ints, int]:
    return rng.normal(size=(N, D)), rng.integers(0, 2, N), 2


def read(made: Made, seed: int, readers: tuple[str, ...] = ("quadratic",)) -> list[Measured]:
    rng = stream(seed, "low rank", made.__name__)
    x, codes, classes = made(rng)
    offset = np.full((N, classes), -np.log(classes)) if classes else np.full((N, 1), codes.mean())
    folds = np.asarray(rng.permutation(np.arange(N) % FOLDS), dtype=np.int64)
    found = flexible_gains(whiten(x).z_nr, codes, classes, folds, offset, seed=seed, readers=readers, budget=1e6)
    return [Measured(np.array([one.gain]), one.influence_n, np.arange(N)) for one in found]


@pytest.mark.parametrize("made", [product, square, two_squares, three_classes, number])
def test_it_is_found(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    found = read(made, 0)[0]
    assert p_above(found, 0.03) < 1e-4
    # Readers of all products alone, of which there are two thirds as many as rows, see a fraction of it.
    monkeypatch.setattr(flexible_readers, "_MANY", D)
    assert read(made, 0)[0].value < found.value / 2


def test_trees_see_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    found = read(product, 1, ("trees",))[0]
    assert p_above(found, 0.03) < 1e-4
    monkeypatch.setattr(flexible_readers, "_MANY", D)
    assert read(product, 1, ("trees",))[0].value < 0.01


def test_nothing_is_found_where_nothing_is() -> None:
    found = [one for seed in range(8) for one in read(nothing, seed)]
    assert max(one.value for one in found) < 0.01
    assert min(p_above(one, 0.0) for one in found) > 1e-3


def test_few_coordinates_are_read_as_products_alone() -> None:
    rng = stream(0, "few")
    z, codes = rng.normal(size=(400, 16)), rng.integers(0, 2, 400)
    folds = np.arange(400) % FOLDS
    weights = np.stack([(folds != o) & (folds != (o + 1) % FOLDS) for o in range(FOLDS)]).astype(np.float64)
    problem = Problem(z, codes, 2, folds, np.zeros((FOLDS, 400, 2)), weights, np.zeros((400, 0)))
    assert len(read_quadratic(problem, 0)) == 3
    wide = Problem(np.hstack([z, rng.normal(size=(400, 1))]), codes, 2, folds, np.zeros((FOLDS, 400, 2)), weights, np.zeros((400, 0)))
    directions = read_quadratic(wide, 0)
    assert len(directions) == 7
    assert np.isfinite(directions).all()
    assert blend(wide, directions).shape == (400, 2)


def test_an_eigenvector_has_one_sign_whichever_way_the_library_turns_it(monkeypatch: pytest.MonkeyPatch) -> None:
    form = stream(3, "form").normal(size=(20, 20))
    form = form + form.T
    leading = flexible_readers._leading(form, 4)
    eigh = np.linalg.eigh
    monkeypatch.setattr(np.linalg, "eigh", lambda a: (eigh(a)[0], -eigh(a)[1]))
    np.testing.assert_array_equal(leading, flexible_readers._leading(form, 4))


def test_squares_that_do_not_vary_tell_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Units that are plus or minus one, read along themselves: all squares are one, but for rounding, which is not to be blown up."""
    rng = stream(4, "signs")
    z = np.sign(rng.normal(size=(200, 20)))
    folds, weights = np.arange(200) % FOLDS, rng.random((FOLDS, 200))
    problem = Problem(z, np.arange(200) % 2, 2, folds, np.zeros((FOLDS, 200, 2)), weights, np.zeros((200, 0)))
    monkeypatch.setattr(flexible_readers, "_leading", lambda _, count: np.eye(20)[:, :count])
    found = flexible_readers._squares(z, problem, np.repeat(rng.normal(size=(FOLDS, 200, 1)), 2, axis=2))
    assert np.abs(found).max() < 1e-6
