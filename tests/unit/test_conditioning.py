"""Strata, and the conditional channel: XOR with the label is there, what a column explains is not (trap 8)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from proxyaudit.channels.leak.measure import measure_site
from proxyaudit.channels.leak.record import SITE_LEAKS
from proxyaudit.channels.leak.site_probe import Probing
from proxyaudit.data.attributes import Attribute
from proxyaudit.estimates.record import Measurement
from proxyaudit.planted import make_world
from proxyaudit.planted.construction import shift_leak
from proxyaudit.probes.conditioning import FEWEST_IN_STRATUM, Strata, make_strata
from proxyaudit.recipe.recipe import Margins
from proxyaudit.seeding import stream
from proxyaudit.stats.p_values import permutation_p


@dataclass
class Rows:
    attributes: tuple[Attribute, ...]
    clusters: Any


def channels(acts, codes, strata, seed=0):
    attribute = Attribute("a", "protected", "binary", ("x", "y"), codes)
    probing = Probing(seed, Margins(), 199, nonlinear=False, strata={"a": strata})
    out = Measurement()
    measure_site(acts, Rows((attribute,), np.arange(len(codes))), probing, site="s", placebos={}, out=out)
    return SITE_LEAKS.read(out, "a", "s").tests


def nonlinear_in_b(seed, n=1600):
    """The attribute depends on |b|, the activations on non-linear functions of b; given b they are independent."""
    rng = stream(seed, "explained")
    b = rng.normal(size=n)
    codes = (rng.random(n) < 1 / (1 + np.exp(-3 * (np.abs(b) - 0.8)))).astype(np.int64)
    acts = np.column_stack([b, b**2, np.abs(b), np.sin(2 * b), rng.normal(size=(n, 4))])
    return b, codes, acts + 0.3 * rng.normal(size=acts.shape)


@pytest.mark.parametrize("seed", range(2))
def test_exclusive_or_with_the_label_leaks_given_the_label_only(seed):
    world = make_world("conditional_xor", n=2000, d=12, leak=0.1, rng=stream(seed, "xor"))
    codes = (world.labels_n == "b").astype(np.int64)
    cell = channels(world.acts_nd, codes, make_strata([world.condition_n], codes, 2), seed)
    assert cell["linear"].p_absent <= 0.01
    assert cell["beyond"].p_present <= 0.01
    assert permutation_p(cell["beyond"].score, cell["beyond"].null) <= 0.01
    assert cell["beyond"].raw > 0.02
    assert cell["beyond"].low - 0.02 <= 0.1 <= cell["beyond"].high + 0.03
    assert cell["beyond"].control is None


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1))
def test_what_a_continuous_column_explains_is_not_beyond_it_though_a_linear_baseline_says_so(seed):
    b, codes, acts = nonlinear_in_b(seed)
    strata = make_strata([b], codes, 2)
    cell = channels(acts, codes, strata, seed)
    assert cell["linear"].p_present <= 0.01
    assert cell["beyond"].p_present > 0.05
    assert cell["beyond"].leak < 0.02
    assert cell["beyond"].control < 0.02
    assert cell["beyond"].reason is None
    linear_baseline = channels(acts, codes, Strata(np.zeros(len(b), dtype=np.int64), strata.features_nb), seed)["beyond"]
    assert linear_baseline.p_present <= 0.01
    assert linear_baseline.leak > 0.1
    # The control with random features gives the weak baseline away.
    assert linear_baseline.control > 0.02
    assert "control failed" in linear_baseline.reason


@pytest.mark.long
def test_a_leak_beyond_a_continuous_column_is_found():
    b, codes, acts = nonlinear_in_b(7)
    acts[:, 5] += 1.2 * codes
    cell = channels(acts, codes, make_strata([b], codes, 2))
    assert cell["beyond"].p_present <= 0.01
    assert cell["beyond"].control < 0.02


def test_columns_of_few_values_give_exact_strata():
    rng = stream(0, "exact")
    one, other = rng.integers(0, 3, 1000), np.array(["x", "y"])[rng.integers(0, 2, 1000)]
    strata = make_strata([one, other], rng.integers(0, 2, 1000), 2)
    assert strata.features_nb is None
    assert strata.random_features(stream(0)) is None
    assert len(np.unique(strata.codes_n)) == 6
    for code in range(6):
        inside = strata.codes_n == code
        assert len(np.unique(one[inside])) == len(np.unique(other[inside])) == 1
    acts = rng.normal(size=(1000, 3))
    assert strata.residual(acts) is acts


def test_strata_too_small_to_tell_are_left_out():
    column = np.repeat(["x", "y", "rare"], [500, 480, 20])
    codes = make_strata([column], stream(0, "rare").integers(0, 2, 1000), 2).codes_n
    assert (codes[-20:] == -1).all()
    assert (codes[:-20] >= 0).all()


def test_a_continuous_column_gives_leaves_large_enough_and_features():
    rng = stream(0, "leaves")
    b = rng.normal(size=1500)
    b[:40] = np.nan
    codes = (rng.random(1500) < 1 / (1 + np.exp(-3 * np.nan_to_num(b)))).astype(np.int64)
    codes[100:110] = -1
    strata = make_strata([b, np.array(["u", "v"])[rng.integers(0, 2, 1500)]], codes, 2)
    assert np.isfinite(strata.features_nb).all()
    assert 2 <= len(np.unique(strata.codes_n)) <= 16
    assert np.bincount(strata.codes_n).min() >= 2 * FEWEST_IN_STRATUM
    # Within strata nothing linear in the columns is left of anything.
    residual = strata.residual(np.column_stack([strata.features_nb[:, 0] * 3 + 1, rng.normal(size=1500)]))
    assert np.abs(residual[:, 0]).max() < 1e-8
    assert residual[:, 1].std() > 0.8
    assert strata.random_features(stream(0)).shape == (1500, 32)


def test_a_continuous_attribute_and_a_constant_column():
    rng = stream(0, "numbers")
    b = rng.normal(size=800)
    strata = make_strata([b], b**2 + rng.normal(size=800), 0)
    assert len(np.unique(strata.codes_n)) > 2
    constant = make_strata([np.ones(800)], rng.integers(0, 2, 800), 2)
    assert (constant.codes_n == 0).all()


def test_many_categories_fall_back_to_a_tree():
    rng = stream(0, "many")
    column = np.array([f"c{k}" for k in rng.integers(0, 300, 1500)])
    strata = make_strata([column], rng.integers(0, 2, 1500), 2)
    assert strata.features_nb is not None
    assert (strata.codes_n >= 0).all()


@pytest.mark.long
def test_how_the_attribute_depends_on_the_label_does_not_move_what_is_beyond_it():
    """Trap 7: only P(A|Y) varies; the linear leak follows it, the leak beyond the label does not."""
    n, shift = 8000, 0.6
    found = {}
    for rates in ((0.5, 0.5), (0.85, 0.15), (0.1, 0.3)):
        rng = stream(1, "trap 7")
        label = rng.integers(0, 2, n)
        codes = (rng.random(n) < np.where(label == 1, *rates)).astype(np.int64)
        acts = rng.normal(size=(n, 8))
        acts[:, 0] += 2 * label
        acts[:, 1] += shift * codes
        found[rates] = channels(acts, codes, make_strata([label.astype(str)], codes, 2))
        assert found[rates]["beyond"].low <= shift_leak(shift) <= found[rates]["beyond"].high
    linear, beyond = ([cell[channel].leak for cell in found.values()] for channel in ("linear", "beyond"))
    assert max(linear) > 3 * min(linear)
    assert max(beyond) < 1.5 * min(beyond)


def test_what_tells_the_attribute_entirely_leaves_nothing_beyond_it():
    rng = stream(2, "tells all")
    codes = rng.integers(0, 2, 600)
    cell = channels(rng.normal(size=(600, 4)), codes, make_strata([codes.astype(str)], codes, 2))
    assert "tells the attribute entirely" in cell["beyond"].reason
