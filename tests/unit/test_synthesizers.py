"""Every registered synthesizer: one seed repeats, two seeds differ, and nothing global moves."""

from __future__ import annotations

import random
import warnings
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from joblib._parallel_backends import SequentialBackend
from joblib.parallel import get_active_backend

from proxyaudit.errors import InputError, TaskError
from proxyaudit.registry import load_plugin, plugin_names
from proxyaudit.synthesizers.base import Synthesizer
from proxyaudit.synthesizers.sdv_models import _own_randomness

KINDS = tuple(kind for kind in plugin_names("synthesizers") if kind != "language_model")  # writes texts: a test file of its own


def table(n: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "k": rng.integers(0, 50, n),
            "job": rng.choice(["clerk", "cook", "nurse"], n),
            "y": rng.choice(["no", "yes"], n),
        }
    )
    frame.loc[rng.choice(n, 60, replace=False), "x"] = np.nan
    frame.loc[rng.choice(n, 60, replace=False), "job"] = np.nan
    return frame


def same(one: pd.DataFrame, two: pd.DataFrame) -> bool:
    return one.to_csv() == two.to_csv()


def test_the_built_in_kinds() -> None:
    assert set(KINDS) >= {"gaussian_copula", "tvae", "ctgan", "copulagan"}


@pytest.mark.parametrize("kind", KINDS)
def test_seeds_rows_and_global_state(kind: str) -> None:
    real = table(520)  # from 500 rows on SDV would transform columns in processes of its own, unseeded
    before = real.copy()
    threads = torch.get_num_threads()
    states: list[Any] = [random.getstate(), np.random.get_state(), torch.get_rng_state()]  # noqa: NPY002
    made = load_plugin("synthesizers", kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = made(epochs=1, seed=3)
        assert isinstance(one, Synthesizer)
        assert one.get_params()["seed"] == 3
        first = one.fit(real).sample(200, seed=5)
        np.random.seed(99)  # noqa: NPY002
        torch.manual_seed(99)
        states[1:] = [np.random.get_state(), torch.get_rng_state()]  # noqa: NPY002
        repeated = made(epochs=1, seed=3).fit(real).sample(200, seed=5)
        other_sample = one.sample(200, seed=6)
        again = one.sample(200, seed=5)
        refitted = made(epochs=1, seed=4).fit(real).sample(200, seed=6)
    assert same(first, repeated)
    assert same(first, again)
    assert not same(first, other_sample)
    assert not same(first, refitted)
    assert not (first["x"].isna() == other_sample["x"].isna()).all()  # rdt would put the gaps in the same rows
    assert list(first.columns) == list(real.columns)
    assert len(first) == 200
    assert set(first["y"]) <= {"no", "yes"}
    pd.testing.assert_frame_equal(real, before)
    assert random.getstate() == states[0]
    assert all((a == b).all() if isinstance(a, np.ndarray) else a == b for a, b in zip(np.random.get_state(), states[1], strict=True))  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])
    assert torch.get_num_threads() == threads


def test_a_failed_fit_is_a_failed_task_without_values_of_rows() -> None:
    threads = torch.get_num_threads()
    with pytest.raises(TaskError, match="could not be fitted") as caught:
        load_plugin("synthesizers", "gaussian_copula")(seed=0).fit(pd.DataFrame({"secret": []}))
    assert "secret" not in str(caught.value)
    assert torch.get_num_threads() == threads


def test_unknown_plugins() -> None:
    with pytest.raises(InputError, match="did you mean 'ctgan'"):
        load_plugin("synthesizers", "ctgann")
    with pytest.raises(InputError, match="installed"):
        load_plugin("synthesizers", "zzz")


def test_sdv_works_in_this_process_even_inside_a_worker() -> None:
    """Nested workers draw from generators nobody seeds: two fits with one seed gave different rows from 500 rows on."""
    with joblib.parallel_config(backend="threading", n_jobs=2):
        with _own_randomness(1):
            assert isinstance(get_active_backend()[0], SequentialBackend)
        assert not isinstance(get_active_backend()[0], SequentialBackend)
