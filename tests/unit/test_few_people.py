"""Models that are one but for few people are told as one; models that differ throughout stay what they are."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from proxyaudit.audits.probe.inputs import ProbeRequest
from proxyaudit.audits.probe.run import probe_arrays
from proxyaudit.estimates.few_people import hide_few


def drawn(rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, 6))


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_a_model_that_is_another_one_but_for_ten_people_is_told_as_that(noise: float) -> None:
    first = drawn(400, 0)
    second = first + noise * drawn(400, 1)
    chosen = np.arange(400) < 10
    second[chosen] += 3.0 ** np.arange(10)[:, None]
    shown = hide_few([first, second], np.arange(400))[1]
    assert np.array_equal(shown[chosen], first[chosen])
    assert np.array_equal(shown[~chosen], second[~chosen])


def unequal(people: int, heavy: int, times: int) -> np.ndarray:
    """Persons of rows, of whom some have many."""
    return np.repeat(np.arange(people), np.where(np.arange(people) < heavy, times, 1))


MODELS_APART = {
    "ten people with most of the rows": (unequal(300, 10, 60), 1.0),
    "fewer than twenty people": (np.repeat(np.arange(18), 40), 1.0),
    "another scale and heavy tails": (np.arange(900), 1000.0),
}


@pytest.mark.parametrize(("people", "scale"), MODELS_APART.values(), ids=MODELS_APART)
def test_models_that_differ_throughout_stay_what_they_are(people: np.ndarray, scale: float) -> None:
    first, second = drawn(len(people), 0), drawn(len(people), 1)
    if scale > 1:
        first = scale * np.random.default_rng(2).standard_t(1.2, size=first.shape)
    assert np.array_equal(hide_few([first, second], people)[1], second)


@pytest.mark.parametrize("people", [np.repeat(np.arange(60), 5), unequal(300, 10, 60)], ids=["of sixty people", "most of the rows"])
def test_never_more_than_a_tenth_of_people_or_rows(people: np.ndarray) -> None:
    first = drawn(len(people), 0)
    second = first + (people < 10)[:, None]
    assert np.array_equal(hide_few([first, second], people)[1], second)


@pytest.mark.long
def test_a_regime_beside_a_clean_one_is_exposed_as_it_is_alone() -> None:
    """Rows of people who have most of them had been given the clean regime's activations."""
    people = np.repeat(np.arange(60), np.where(np.arange(60) < 10, 300, 30))
    sex = people % 2
    clean, leaking = drawn(len(people), 3), drawn(len(people), 4)
    leaking[:, 0] += 1.5 * sex
    labels = pd.DataFrame({"sex": np.where(sex == 1, "m", "f"), "person": people})
    asked = ProbeRequest(("sex",), group="person")
    pack = probe_arrays({"clean": {"site": clean}, "leaking": {"site": leaking}}, labels, asked, jobs=1, published=True)
    assert {f.regime: f.verdict for f in pack.evidence.findings}["leaking"] == "exposed"
