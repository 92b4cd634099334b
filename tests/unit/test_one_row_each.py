"""A few copies must not blunt the tests of all rows: one row of each person is asked then."""

from __future__ import annotations

import numpy as np
import pytest

from proxyaudit.channels.leak.measure import measure_site
from proxyaudit.channels.leak.record import SITE_LEAKS
from proxyaudit.channels.leak.site_probe import ProbedArrays, Probing
from proxyaudit.data.attributes import Attribute
from proxyaudit.data.one_row_each import one_row_each
from proxyaudit.estimates.record import Measurement
from proxyaudit.recipe.recipe import Margins
from proxyaudit.seeding import stream

N = 2000


def sex(codes: np.ndarray) -> Attribute:
    return Attribute("sex", "protected", "binary", ("f", "m"), codes)


def age(values: np.ndarray) -> Attribute:
    return Attribute("age", "protected", "continuous", (), values)


@pytest.mark.parametrize("make", [lambda: sex(np.arange(N) % 2), lambda: age(np.arange(N) / 7)], ids=["classes", "a number"])
@pytest.mark.parametrize("pairs", [1, 40, 90])
def test_of_few_copies_one_row_is_kept_whichever_it_is(make, pairs: int) -> None:
    clusters = np.arange(N)
    clusters[:pairs] = clusters[-pairs:]
    attribute = make()
    alone = one_row_each(attribute, clusters, 0)
    assert alone.known.sum() == N - pairs
    assert len(np.unique(clusters[alone.known])) == N - pairs
    assert np.array_equal(np.asarray(alone.codes)[alone.known], np.asarray(attribute.codes)[alone.known])
    assert np.array_equal(alone.known, one_row_each(make(), clusters, 0).known)
    if pairs > 1:
        assert 0 < alone.known[:pairs].sum() < pairs, "neither the first nor the last, but one at random"


def test_where_many_rows_belong_together_or_none_do_all_are_asked() -> None:
    attribute = sex(np.arange(N) % 2)
    assert one_row_each(attribute, np.arange(N), 0) is attribute
    assert one_row_each(attribute, np.arange(N) // 8, 0) is attribute


def test_where_a_level_would_lose_its_rows_all_are_asked() -> None:
    codes = np.zeros(N, dtype=np.int64)
    codes[:60] = 1
    clusters = np.arange(N)
    clusters[:60] = np.repeat(np.arange(30), 2)
    attribute = sex(codes)
    assert one_row_each(attribute, clusters, 0) is attribute


def test_rows_on_which_it_is_unknown_stay_unknown_and_take_no_place() -> None:
    codes, clusters = np.arange(N) % 2, np.arange(N)
    clusters[:20] = clusters[20:40]
    codes[:20] = -1
    attribute = sex(codes)
    assert one_row_each(attribute, clusters, 0) is attribute


def leak_of(clusters: np.ndarray) -> object:
    rng = stream(3, "copies")
    acts, labels = rng.normal(size=(N, 6)), (rng.random(N) < 0.08).astype(np.int64)
    out, copied = Measurement(), np.flatnonzero(np.bincount(clusters, minlength=N)[clusters] > 1)
    acts[copied], labels[copied] = acts[clusters[copied]], labels[clusters[copied]]
    rows = ProbedArrays((sex(labels),), clusters)
    measure_site(acts, rows, Probing(0, Margins(), 499, nonlinear=False), site="late", placebos={}, out=out)
    return SITE_LEAKS.read(out, "sex", "late").linear


def test_a_few_copies_do_not_blunt_the_test_of_a_rare_class() -> None:
    clusters = np.arange(N)
    clusters[:15] = clusters[-15:]
    alone, with_copies = leak_of(np.arange(N)), leak_of(clusters)
    assert with_copies.bound < 1.5 * alone.bound
    assert with_copies.influence_n.shape == (N,)
