import numpy as np
import pandas as pd
import pytest

from proxyaudit.audits.probe.copies import join_copies, looked_up
from proxyaudit.audits.probe.inputs import ProbeRequest, make_inputs, read_activation_file
from proxyaudit.data.attributes import Attribute
from proxyaudit.seeding import stream


def profiles(people, distinct, d=10, seed=0):
    """People who share activations, and the profile of each."""
    rng = stream(seed, "profiles")
    which = rng.integers(0, distinct, people)
    return rng.normal(size=(distinct, d))[which].astype(np.float32), which


def attribute(codes, kind="binary"):
    levels = () if kind == "continuous" else tuple(map(str, np.unique(codes)))
    return Attribute("a", "protected", kind, levels, codes)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "continuous"])
def test_what_goes_with_the_profile_can_be_looked_up(kind):
    acts, which = profiles(2000, 500)
    rng = stream(1, "values")
    values = {
        "binary": rng.integers(0, 2, 500),
        "multiclass": rng.integers(0, 4, 500),
        "continuous": rng.normal(size=500),
    }[kind][which]
    apart, joined = join_copies([acts], None, [])
    assert len(np.unique(joined)) < 600 < len(np.unique(apart))
    assert looked_up(attribute(values, kind), apart, joined)


def test_what_is_drawn_for_each_person_cannot():
    acts, _ = profiles(2000, 500)
    apart, joined = join_copies([acts], None, [])
    found = [looked_up(attribute(stream(seed, "codes").integers(0, 2, 2000)), apart, joined) for seed in range(10)]
    assert sum(found) <= 1


def test_rows_of_one_person_are_no_profile():
    """Each person's rows repeat one another and agree, as they must."""
    rng = stream(2, "people")
    person = np.repeat(np.arange(400), 4)
    acts = rng.normal(size=(400, 10)).astype(np.float32)[person]
    apart, joined = join_copies([acts], pd.Series(person), [])
    assert not looked_up(attribute(rng.integers(0, 2, 400)[person]), apart, joined)


def test_missing_values_and_few_copies_say_nothing():
    acts, which = profiles(2000, 500)
    apart, joined = join_copies([acts], None, [])
    codes = (which % 2).astype(np.int64)
    codes[20:] = -1
    assert not looked_up(attribute(codes), apart, joined)


@pytest.mark.parametrize("make", [lambda x: x + 1e9, lambda x: (1e6 * x).round().astype(np.int64) + 1_600_000_000_000, lambda x: x * 1e-60])
def test_wide_numbers_keep_what_varies(make):
    rng = stream(3, "wide")
    codes = rng.integers(0, 2, 600)
    acts = rng.normal(size=(600, 4))
    acts[:, 1] += 2 * codes
    table = pd.DataFrame({"a": np.where(codes, "x", "y")})
    found = make_inputs({"m": {"s": make(acts)}}, table, ProbeRequest(("a",)))
    values = found.acts["m"]["s"]
    told = np.corrcoef(values[:, 1], found.attributes[0].codes)[0, 1]
    assert abs(told) > 0.6


def test_row_order_has_no_say_where_half_of_the_rows_tie():
    rng = stream(4, "ties")
    acts = rng.integers(0, 2, size=(400, 3)).astype(np.float32)
    table = pd.DataFrame({"a": np.repeat(["x", "y"], 200), "person": rng.integers(0, 150, 400), "known": rng.integers(0, 2, 400)})
    order = rng.permutation(400)
    asked = ProbeRequest(("a",), group="person", condition_on=("known",))
    one = make_inputs({"m": {"s": acts}}, table, asked)
    other = make_inputs({"m": {"s": acts[order]}}, table.iloc[order].reset_index(drop=True), asked)
    np.testing.assert_array_equal(one.acts["m"]["s"], other.acts["m"]["s"])
    np.testing.assert_array_equal(one.attributes[0].codes, other.attributes[0].codes)
    np.testing.assert_array_equal(one.conditions["known"], other.conditions["known"])


def test_two_columns_of_one_name_are_refused_in_one_line():
    table = pd.DataFrame(np.zeros((200, 2)), columns=["a", "a"])
    with pytest.raises(Exception, match="two columns are named 'a'"):
        make_inputs({"m": {"s": np.random.default_rng(0).normal(size=(200, 3))}}, table, ProbeRequest(("a",)))


def test_levels_taken_together_are_named():
    rng = stream(5, "levels")
    table = pd.DataFrame({"a": [f"level {i}" for i in rng.integers(0, 50, 3000)]})
    found = make_inputs({"m": {"s": rng.normal(size=(3000, 4))}}, table, ProbeRequest(("a",)))
    assert any("taken together" in note.what for note in found.notes)
    assert found.attributes[0].pools_levels


def test_a_file_that_is_missing_says_so(tmp_path):
    with pytest.raises(Exception, match="no such file"):
        read_activation_file(tmp_path / "none.safetensors")
