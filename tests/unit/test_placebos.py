"""Placebos are matched to their attribute by the task: base rates, what the label and what the inputs know of it."""

import numpy as np
import pytest

from proxyaudit.channels.placebos import plant_placebos
from proxyaudit.data.attributes import Attribute
from proxyaudit.seeding import stream
from tests.helpers.views import dataset_of

N, COUNT = 3000, 24


def world(kind, seed=0):
    """Inputs that tell the attribute, a label that goes with both."""
    rng = stream(seed, "matched", kind)
    hidden = rng.normal(size=N)
    x = np.c_[rng.normal(size=(N, 8)) + 0.5 * hidden[:, None] * rng.normal(size=8), rng.integers(0, 2, (N, 3))]
    label = (x[:, 0] + 0.8 * hidden + rng.normal(size=N) > 0.3).astype(np.int64)
    score = hidden + rng.normal(size=N)
    if kind == "number":
        return x, label, Attribute("a", "protected", "continuous", (), score)
    edges = {"two": [0.2], "rare": [2.2], "three": [-0.5, 1.0]}.get(kind, [0.0])
    codes = np.digitize(score if kind != "independent" else rng.normal(size=N), edges)
    codes = np.where(np.arange(N) % 50 == 0, -1, codes) if kind == "two" else codes
    levels = tuple(str(k) for k in range(len(edges) + 1))
    return x, label, Attribute("a", "protected", "binary" if len(levels) == 2 else "multiclass", levels, codes)


def told(x, values, classes):
    """Adjusted R squared of a linear reader, written down once more."""
    columns = np.eye(classes)[values.astype(int)][:, 1:] if classes else values[:, None]
    columns = columns - columns.mean(axis=0)
    design = np.c_[np.ones(len(x)), x]
    fit = design @ np.linalg.lstsq(design, columns, rcond=None)[0]
    if classes > 2:
        columns, fit = (np.c_[c, -c.sum(axis=1)] for c in (columns, fit))
    return 1 - (1 - (fit**2).sum() / (columns**2).sum()) * (len(x) - 1) / (len(x) - 1 - x.shape[1])


def of_label(label, values, classes):
    if not classes:
        return abs(np.corrcoef(label, values)[0, 1])
    table = np.array([[np.mean((label == b) & (values == k)) for k in range(classes)] for b in (0, 1)])
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0)
    return float(np.sqrt(((table - expected) ** 2 / expected).sum()))


@pytest.mark.parametrize("kind", ["two", "rare", "three", "number", "independent"])
def test_every_placebo_is_known_to_inputs_and_label_as_well_as_the_attribute(kind):
    x, label, attribute = world(kind)
    planted = plant_placebos(x, dataset_of((attribute,), np.arange(N) % 3), label, COUNT, 0)["a"]
    assert planted.shape[0] == N
    assert planted.shape[1] >= 20
    known, classes = attribute.known, attribute.classes
    codes = np.asarray(attribute.codes)[known]
    wanted = told(x[known], codes, classes), of_label(label[known], codes, classes)
    for column in planted.T:
        found = told(x, column, classes), of_label(label, column, classes)
        assert abs(found[0] - wanted[0]) <= max(0.101 * wanted[0], np.sqrt(2 * x.shape[1]) / N)
        assert abs(found[1] - wanted[1]) <= max(0.101 * wanted[1], 1 / np.sqrt(N))
        if classes:
            rates = np.bincount(column.astype(int), minlength=classes) / N
            assert (np.abs(rates - attribute.rates) <= 0.1 * attribute.rates).all()
    # They are attributes of their own: none is another under a new name.
    numbers = np.corrcoef(planted.T.astype(float)) - np.eye(planted.shape[1])
    assert np.abs(numbers).max() < 0.8


def test_what_no_placebo_matches_has_none():
    x, label, _ = world("two")
    copy = Attribute("a", "protected", "binary", ("0", "1"), (x[:, 8] > 0).astype(np.int64))
    assert plant_placebos(x[:, :1] * 0, dataset_of((copy,), np.arange(N) % 3), label, COUNT, 0) == {}


def test_placebos_depend_on_the_seed_and_on_nothing_else():
    x, label, attribute = world("two")
    one, again, other = (plant_placebos(x, dataset_of((attribute,), np.arange(N) % 3), label, 8, seed)["a"] for seed in (0, 0, 1))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
