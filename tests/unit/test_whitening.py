"""Whitening is exact, keeps small axes, and counts what it leaves out."""

import numpy as np
import pytest

from proxyaudit.probes.whitening import whiten
from proxyaudit.seeding import stream


def test_whitened_rows_have_identity_covariance():
    rng = stream(0, "whiten")
    z = whiten(rng.normal(size=(500, 10)) @ rng.normal(size=(10, 10)) + 5).z_nr
    assert np.allclose(z.T @ z / 500, np.eye(10), atol=1e-8)
    assert np.allclose(z.mean(axis=0), 0, atol=1e-8)


def test_small_axes_are_kept_and_constant_and_dependent_ones_counted():
    rng = stream(0, "axes")
    base = rng.normal(size=(400, 4))
    acts = np.column_stack([base, base[:, 0] + 1e-4 * rng.normal(size=400), base @ np.ones(4), np.full(400, 7.0)])
    whitened = whiten(acts)
    assert (whitened.z_nr.shape[1], whitened.constant, whitened.dropped) == (5, 1, 1)


def test_more_dimensions_than_rows_span_at_most_n_minus_one():
    assert whiten(stream(0, "wide").normal(size=(20, 50))).z_nr.shape[1] == 19


def test_all_constant_gives_no_dimension():
    assert whiten(np.ones((10, 3), dtype=np.float32)).z_nr.shape == (10, 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_finite_is_refused(bad):
    acts = np.zeros((5, 2))
    acts[1, 1] = bad
    with pytest.raises(ValueError, match="NaN or infinite"):
        whiten(acts)
