"""SPLINCE: what it takes to zero, what it leaves as it was, and when it gives a direction of the task up."""

import numpy as np
import pytest

from proxyaudit.erasers.leace import fit_leace
from proxyaudit.erasers.splince import splince
from proxyaudit.seeding import stream


def rows(n=4000, d=10, together=0.7, classes=2):
    """Activations that hold an attribute and a label that goes with it."""
    rng = stream(0, "splince", n, d, together, classes)
    a = rng.integers(0, classes, n)
    y = np.where(rng.random(n) < together, a > 0, rng.random(n) < 0.5).astype(float)
    x = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + np.eye(classes)[a] @ rng.normal(size=(classes, d))
    return x + np.outer(y, rng.normal(size=d)), np.eye(classes)[a][:, 1:], y[:, None]


def covariance(x, columns):
    return (x - x.mean(axis=0)).T @ (columns - columns.mean(axis=0)) / len(x)


@pytest.mark.parametrize("classes", [2, 4])
def test_attribute_to_zero_and_label_as_it_was(classes):
    x, a, y = rows(classes=classes)
    fit = splince(x, a, y)
    after = fit.eraser(x)
    assert np.abs(covariance(x, a)).max() > 0.1
    assert np.abs(covariance(after, a)).max() < 1e-10
    assert np.allclose(covariance(after, y), covariance(x, y), atol=1e-10)
    assert (fit.eraser.rank, fit.kept, fit.given_up) == (classes - 1, 1, 0)
    # LEACE takes a part of the label along: without that there would be nothing to preserve.
    assert np.abs(covariance(fit_leace(x, a)(x), y) - covariance(x, y)).max() > 0.02


def test_it_is_a_projection_that_moves_nothing_orthogonal_to_both():
    x, a, y = rows()
    eraser = splince(x, a, y).eraser
    once = eraser(x)
    assert np.allclose(eraser(once), once)
    # Only the attribute's direction is ever written to.
    assert np.linalg.matrix_rank(once - x, tol=1e-8) == 1
    before = x.copy()
    x += 50
    assert np.allclose(eraser(before), once)


def test_several_columns_of_the_task_are_kept_at_once():
    x, a, y = rows(d=12)
    other = (x[:, :1] + stream(0, "other").normal(size=(len(x), 1)) > 0).astype(float)
    task = np.hstack([y, other])
    fit = splince(x, a, task)
    assert fit.kept == 2
    assert np.allclose(covariance(fit.eraser(x), task), covariance(x, task), atol=1e-10)
    assert np.abs(covariance(fit.eraser(x), a)).max() < 1e-10


def test_without_anything_in_common_it_is_leace():
    rng = stream(0, "apart")
    a, y = rng.integers(0, 2, (3000, 1)).astype(float), rng.normal(size=(3000, 1))
    x = rng.normal(size=(3000, 5))
    # Exactly no common direction: y's and a's covariances orthogonal after whitening.
    fit = splince(x, a, np.zeros((3000, 1)))
    assert fit.kept == 0
    assert np.allclose(fit.eraser(x), fit_leace(x, a)(x))
    assert not np.allclose(splince(x, a, y).eraser(x), fit_leace(x, a)(x), atol=1e-6)


def test_a_task_that_is_the_attribute_is_given_up_and_not_blown_up():
    x, a, _ = rows()
    fit = splince(x, a, a)
    assert (fit.kept, fit.given_up) == (0, 1)
    assert fit.cosine == pytest.approx(1.0)
    assert np.allclose(fit.eraser(x), fit_leace(x, a)(x))
    nearly = a.copy()
    nearly[:20] = 1 - nearly[:20]
    assert splince(x, a, nearly).given_up == 1
    assert splince(x, a, nearly, most_aligned=1 - 1e-9).given_up == 0


def test_the_projection_is_no_longer_than_its_limit_allows():
    """In whitened space the norm of an oblique projection is one over the sine of the angle."""
    x, a, y = rows(together=0.8)
    fit = splince(x, a, y)
    norm = np.linalg.norm(fit.eraser.read_dr.T @ np.cov(x.T, bias=True) @ fit.eraser.read_dr, 2) ** 0.5
    assert norm == pytest.approx(1 / np.sqrt(1 - fit.cosine**2), rel=1e-6)


def test_a_silent_unit_stays_silent():
    x, a, y = rows()
    silent = np.zeros((len(x), 1))
    silent[:2] = 1e-3
    x = np.hstack([x, silent])
    assert np.array_equal(splince(x, a, y).eraser(x)[:, -1:], silent)


def test_nothing_to_erase_changes_nothing():
    x, _, y = rows()
    fit = splince(x, np.zeros((len(x), 1)), y)
    assert fit.eraser.rank == 0
    assert np.array_equal(fit.eraser(x), x)


@pytest.mark.parametrize("limit", [-0.1, 1.0])
def test_limits_are_checked(limit):
    x, a, y = rows(n=50)
    with pytest.raises(ValueError, match="most_aligned"):
        splince(x, a, y, most_aligned=limit)
