"""Families of directions: unit scores, rotation, and the least favourable one, which even directions are not."""

import numpy as np
import pytest

from proxyaudit.planted import make_world
from proxyaudit.probes.planting import Planter, Target
from proxyaudit.probes.score import ScoreStatistic
from proxyaudit.probes.whitening import whiten, whiten_within
from proxyaudit.seeding import stream
from proxyaudit.stats.directions import (
    LINEAR_FAMILIES,
    QUADRATIC_FAMILIES,
    candidates,
    heavy_tails,
    isotropic,
    linear_directions,
    quadratic,
)
from tests.helpers.planting import planted


def acts_of(n=800, d=10, name="acts"):
    rng = stream(0, name, n, d)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 3


def rows_of(strata):
    acts = acts_of()
    if not strata:
        return whiten(acts).rows
    return whiten_within(acts, stream(0, "strata").integers(0, 3, len(acts)))[0]


@pytest.mark.parametrize("strata", [False, True])
@pytest.mark.parametrize("family", [name for name in LINEAR_FAMILIES if name != "heavy"])
def test_linear_scores_are_centred_and_of_unit_variance_in_every_block(family, strata):
    rows = rows_of(strata)
    scores = linear_directions(rows, family, 6, stream(0, family))
    assert scores.shape == (800, 6)
    for block in rows.blocks:
        assert np.allclose(scores[block.rows].mean(axis=0), 0, atol=1e-4)
        assert np.allclose(scores[block.rows].std(axis=0), 1, atol=1e-3)
        # Linear within the block: nothing is left beyond a linear reader.
        assert np.abs(rows.residual(scores)[block.rows]).max() < 1e-2


@pytest.mark.parametrize("strata", [False, True])
@pytest.mark.parametrize("family", QUADRATIC_FAMILIES)
def test_quadratic_scores_have_unit_variance_and_no_linear_part(family, strata):
    rows = rows_of(strata)
    scores = quadratic(rows, family, 6, stream(0, family))
    assert scores.any(axis=0).all()
    for block in rows.blocks:
        part = scores[block.rows]
        assert np.allclose(part.std(axis=0), 1, atol=1e-3)
        assert np.abs(rows.z_nr[block.rows, : block.rank].T @ part).max() / len(part) < 1e-3
        assert np.abs(part.mean(axis=0)).max() < 1e-3


def test_squares_of_units_that_take_two_values_are_no_quadratic_direction():
    """The square of such a unit is the unit itself: what rounding leaves of it must not be scaled up to a direction."""
    acts = stream(0, "two").choice([0.0, 1.0], size=(500, 3))
    scores = quadratic(whiten(acts).rows, "unit", 40, stream(0, "unit"))
    assert not scores.any(axis=0).all()
    kept = scores[:, scores.any(axis=0)]
    assert np.allclose(kept.std(axis=0), 1, atol=1e-3)


def test_unknown_family_is_refused():
    with pytest.raises(ValueError, match="unknown family"):
        linear_directions(rows_of(False), "sideways", 1, stream(0))


@pytest.mark.parametrize("seed", range(3))
def test_rotating_the_activations_moves_no_even_direction(seed):
    acts = acts_of()
    turn = np.linalg.qr(stream(seed, "turn").normal(size=(10, 10)))[0]
    first, second = (isotropic(whiten(a).rows, 5, stream(seed, "same")) for a in (acts, 7 * acts @ turn - 2))
    assert np.abs(first - second).max() < 1e-4
    squares = [quadratic(whiten(a).rows, "isotropic", 4, stream(seed, "same")) for a in (acts, 7 * acts @ turn - 2)]
    assert np.abs(squares[0] - squares[1]).max() < 1e-3
    # Single units do move, so the check can fail.
    assert (
        np.abs(
            linear_directions(whiten(acts @ turn).rows, "unit", 5, stream(0)) - linear_directions(whiten(acts).rows, "unit", 5, stream(0))
        ).max()
        > 0.1
    )


def rotated_sparse(seed, n=3000, d=32, share=0.02):
    """One unit that fires on 2 % of rows, then all units rotated."""
    rng = stream(seed, "rotated sparse")
    acts = rng.normal(size=(n, d))
    on = rng.random(n) < share
    acts[:, 0] = on * rng.uniform(0.8, 1.2, n)
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    return whiten(acts @ turn).rows, on


@pytest.mark.parametrize("seed", range(3))
def test_a_rotated_sparse_unit_is_among_the_heavy_tails(seed):
    rows, on = rotated_sparse(seed)
    _, found = heavy_tails(rows, stream(seed, "search"))
    assert np.abs(np.corrcoef(on, found.T)[0, 1:]).max() > 0.97
    # No single rotated unit shows it.
    assert np.abs(np.corrcoef(on, rows.x_nd.T)[0, 1:]).max() < 0.8


@pytest.mark.parametrize("seed", range(3))
def test_the_least_favourable_direction_moves_the_score_less_than_even_ones(seed):
    rows, on = rotated_sparse(seed)
    found, names = candidates(rows, "linear", stream(seed, "search"))
    target = Target.of_codes(stream(seed, "codes").integers(0, 2, rows.n), 2)
    planter = Planter(ScoreStatistic(rows, "linear"), target, 99, lambda purpose: stream(seed, purpose))
    # Just within reach of a unit that fires on 2 % of rows.
    observed = [planter.statistic.prepare((target.labels_n[:, None] == 1).astype(np.float32))]
    means = planter.law_of(planted(planter, found, np.full(len(names), 0.018)), observed, 0.0)[0].mean
    least = int(means.argmin())
    assert names[least] == "towards a row"
    assert abs(np.corrcoef(found[:, least], on)[0, 1]) > 0.97
    even = means[np.array(names) == "isotropic"]
    assert means[least] - planter.law.mean < 0.9 * (even.min() - planter.law.mean)


def test_the_search_finds_the_planted_world_too():
    for seed in range(3):
        world = make_world("rotated_sparse", n=3000, d=32, leak=0.04, rng=stream(seed, "world"))
        rows = whiten(world.acts_nd).rows
        kurtosis = (heavy_tails(rows, stream(seed, "search"))[1] ** 4).mean(axis=0)
        assert kurtosis.max() > 10


@pytest.mark.parametrize("channel", ["linear", "nonlinear"])
@pytest.mark.parametrize("strata", [False, True])
def test_candidates_are_of_every_family_the_first_one_even(channel, strata):
    rows = rows_of(strata)
    found, names = candidates(rows, channel, stream(0, "every"))
    families = LINEAR_FAMILIES if channel == "linear" else QUADRATIC_FAMILIES
    assert names[0] == "isotropic"
    searched = ["towards a row" if channel == "linear" else "heavy"]
    assert {*families, *searched, *(["one stratum"] if strata else [])} == set(names)
    assert found.shape == (rows.n, len(names))
    assert found.any(axis=0).all()
    assert len(candidates(rows, channel, stream(0, "every"), 0.2)[1]) < len(names) / 2


def test_a_direction_of_one_stratum_says_nothing_elsewhere():
    rows = rows_of(True)
    found, names = candidates(rows, "linear", stream(0, "every"))
    moving = np.stack([found[block.rows][:, np.array(names) == "one stratum"].any(axis=0) for block in rows.blocks])
    assert (moving.sum(axis=0) == 1).all()
