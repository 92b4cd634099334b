"""LEACE: identities, agreement with the published implementation, and what it leaves on fresh rows."""

import numpy as np
import pytest
import torch
from concept_erasure import LeaceFitter

from proxyaudit.erasers.leace import fit_leace, random_subspace
from proxyaudit.probes.crossfit import cross_fit_classes
from proxyaudit.probes.folds import assign_folds
from proxyaudit.probes.whitening import whiten
from proxyaudit.seeding import stream


def rows(n=2000, d=12, rate=0.5):
    rng = stream(0, "leace", n, d, rate)
    a = (rng.random(n) < rate).astype(float)
    x = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + np.outer(a, rng.normal(size=d))
    return x, a[:, None]


def test_signal_is_there_before_and_gone_after_on_the_fitted_rows():
    x, a = rows()
    folds = assign_folds(np.arange(len(x)), stream(0, "folds"))
    assert cross_fit_classes(whiten(x).z_nr, a[:, 0].astype(int), 2, folds).leak > 0.1
    erased = fit_leace(x, a)(x)
    assert np.abs((erased - erased.mean(axis=0)).T @ (a - a.mean())).max() / len(x) < 1e-10
    assert cross_fit_classes(whiten(erased).z_nr, a[:, 0].astype(int), 2, folds).leak < 0.005


def test_idempotent_low_rank_and_not_aliased():
    x, a = rows()
    before = x.copy()
    eraser = fit_leace(x, a)
    once = eraser(x)
    assert np.allclose(eraser(once), once)
    assert eraser.rank == 1
    x += 100
    assert np.allclose(eraser(before), once)


def test_agrees_with_concept_erasure():
    x, a = rows()
    # The published fitter shrinks the covariance unless told not to; ours never does.
    published = LeaceFitter.fit(torch.as_tensor(x), torch.as_tensor(a), shrinkage=False).eraser(torch.as_tensor(x)).numpy()
    assert np.allclose(fit_leace(x, a)(x), published, atol=1e-6)


def test_rare_group_is_erased_where_an_absolute_tolerance_leaves_it():
    """At a base rate of 1 % the published default, which drops singular values below 0.01, erases nothing."""
    rng = stream(0, "rare")
    a = (rng.random(20000) < 0.01).astype(float)[:, None]
    x = rng.normal(size=(20000, 8))
    x[:, 0] += 0.8 * a[:, 0]
    published = LeaceFitter.fit(torch.as_tensor(x), torch.as_tensor(a), shrinkage=False).eraser(torch.as_tensor(x)).numpy()
    left = {"ours": fit_leace(x, a)(x), "published": published}
    moments = {name: float(np.abs((acts - acts.mean(axis=0)).T @ (a - a.mean())).max() / len(x)) for name, acts in left.items()}
    assert moments["ours"] < 1e-12
    assert moments["published"] > 1e-3


def test_a_unit_that_is_silent_on_nearly_every_row_does_not_carry_the_erased_signal_on():
    """A unit that moved on two fitting rows: what is written into it would be the attribute itself on fresh rows."""
    x, a = rows(n=6000)
    silent = np.zeros((6000, 1))
    silent[:2] = 1e-3
    x = np.column_stack([x, silent, np.zeros(6000)])
    eraser = fit_leace(x[:3000], a[:3000])
    fresh = eraser(x[3000:])
    folds = assign_folds(np.arange(3000), stream(0, "folds"))
    assert cross_fit_classes(whiten(fresh).z_nr, a[3000:, 0].astype(int), 2, folds).leak < 0.02
    assert (fresh[:, -2:] == 0).all()


def test_a_unit_that_moves_too_seldom_can_be_kept_out():
    x, a = rows(n=3000)
    seldom = np.zeros((3000, 1))
    seldom[:40] = 5.0
    x = np.column_stack([x, seldom])
    assert fit_leace(x, a).read_dr[-1].any()
    kept_out = fit_leace(x, a, fewest_moved=41)
    assert not kept_out.read_dr[-1].any()
    assert np.array_equal(kept_out(x)[:, -1], x[:, -1])
    assert fit_leace(x, a, fewest_moved=40).read_dr[-1].any()


def test_several_classes_and_values():
    rng = stream(0, "several")
    x = rng.normal(size=(3000, 6))
    codes = rng.integers(0, 3, 3000)
    x[:, :3] += np.eye(3)[codes]
    assert fit_leace(x, np.eye(3)[codes]).rank == 2
    assert fit_leace(x, x[:, :1] + rng.normal(size=(3000, 1))).rank == 1


def test_random_subspace_swaps_only_its_own_coordinates():
    x, _ = rows()
    subspace = random_subspace(x, 2, stream(0, "random"))
    change = stream(0, "change").normal(size=(len(x), 2))
    assert np.allclose(subspace.coordinates(x + subspace.shift(change)) - subspace.coordinates(x), change)


def test_fresh_rows_keep_some_of_it():
    """Trap 4: exact on the rows it was fitted on, not on others."""
    rng = stream(0, "fresh")
    a = rng.integers(0, 2, 1200)
    x = rng.normal(size=(1200, 200)) + 0.25 * np.outer(a, np.ones(200))
    folds = assign_folds(np.arange(600), rng)
    erased = fit_leace(x[:600], a[:600, None].astype(float))(x[600:])
    assert cross_fit_classes(whiten(erased).z_nr, a[600:], 2, folds).leak > 0.02


@pytest.mark.parametrize("labels", [np.zeros((3, 1)), np.full((4, 1), np.nan)])
def test_bad_shapes_and_values_are_refused(labels):
    with pytest.raises(ValueError, match=r"same rows|NaN"):
        fit_leace(np.zeros((4, 2)), labels)
