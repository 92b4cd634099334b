"""Odd activations through the whole of `pa.probe`: a finding each, never a crash, and never "removed" out of nothing."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

import proxyaudit as pa
from proxyaudit.audits.probe import run as pipeline
from proxyaudit.channels.leak.site_probe import Probing
from proxyaudit.data.attributes import ordered_codes
from proxyaudit.seeding import stream


@pytest.fixture(autouse=True)
def _one_reader(monkeypatch):
    """The flexible readers have tests of their own and take most of the time."""
    monkeypatch.setattr(pipeline, "Probing", partial(Probing, readers=("quadratic",)))


def acts(n=300, d=6, name="acts"):
    return stream(0, name, n, d).normal(size=(n, d)).astype(np.float32)


def labels(n=300):
    return stream(0, "labels", n).choice(["f", "m"], n)


def finding(activations, sex, **more):
    audit = pa.probe({"real": {"l": activations}}, {"sex": sex, **more}, attributes=["sex"], jobs=1)
    (found,) = audit.pack.evidence.findings
    return found, audit.estimates.query("state.notna()").set_index("channel")


@pytest.fixture(scope="module")
def undisturbed():
    """Linear leak of the activations that nothing was done to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "Probing", partial(Probing, readers=("quadratic",)))
        return finding(*leaking())[1].loc["linear", "value"]


def leaking(n=600, d=6):
    """Activations that carry the attribute well above the margin, and the attribute."""
    sex = labels(n)
    rows = acts(n, d)
    rows[:, 0] += 1.5 * (sex == "f")
    return rows, sex


@pytest.mark.parametrize(
    "cast",
    [
        lambda x: x.astype(np.float16),
        lambda x: x.astype(np.float64),
        lambda x: torch.as_tensor(x).to(torch.bfloat16),
        lambda x: torch.as_tensor(x).requires_grad_(),
        lambda x: np.round(8 * x).astype(np.int64),
        lambda x: x > 0.5,
    ],
    ids=["float16", "float64", "bfloat16", "gradients", "int64", "bool"],
)
def test_every_number_type_shows_what_is_there(cast):
    rows, sex = leaking(d=14)  # so many that rows of truth values are seldom equal
    found, estimates = finding(cast(rows), sex)
    assert found.verdict == "exposed"
    assert estimates.loc["linear", "value"] > 0.1


@pytest.mark.parametrize(
    "change",
    [
        lambda x: np.concatenate([x, x], axis=1),
        lambda x: np.concatenate([x, x @ np.ones((6, 4), dtype=np.float32)], axis=1),
        lambda x: np.concatenate([x, np.full((len(x), 2), 7.0, dtype=np.float32)], axis=1),
        lambda x: x * np.float32(1e-20),
        lambda x: x * np.array([1e8, 1, 1e-8, 1, 1, 1], dtype=np.float32),
    ],
    ids=["duplicated", "rank-deficient", "constant units", "tiny", "scales"],
)
def test_degenerate_units_change_nothing(change, undisturbed):
    rows, sex = leaking()
    found, estimates = finding(change(rows), sex)
    assert found.verdict == "exposed"
    assert estimates.loc["linear", "value"] == pytest.approx(undisturbed, rel=0.1)


def test_a_constant_site_holds_nothing_and_that_is_measured():
    found, estimates = finding(np.full((300, 4), 3.0), labels())
    assert found.verdict in ("removed", "inconclusive")
    assert (estimates["value"] == 0).all()


@pytest.mark.long
@pytest.mark.parametrize(("n", "d"), [(120, 200), (150, 149), (150, 150), (150, 151)])
def test_more_dimensions_than_rows_tell_nothing(n, d):
    for sex in (labels(n), np.where(acts(n, d)[:, 0] > 0, "f", "m")):
        found, estimates = finding(acts(n, d), sex)
        assert found.verdict == "inconclusive"
        assert set(estimates["state"]) == {"unknown"}
        assert found.would_settle


@pytest.mark.parametrize("few", [3, 11, 14])
def test_a_class_of_few_rows_is_unknown_and_not_absent(few):
    sex = np.array(["f"] * few + ["m"] * (300 - few))
    found, _ = finding(acts(), sex)
    assert found.verdict == "inconclusive"
    assert found.encoding == "unknown"
    assert found.would_settle


def test_a_class_below_the_smallest_size_beside_two_large_ones_takes_no_part():
    rows, sex = leaking()
    sex = sex.astype(object)
    sex[:3] = "x"
    found, estimates = finding(rows, sex)
    assert found.verdict == "exposed"
    # No small cell, nor one derivable by subtraction.
    assert estimates.loc["linear", "n"] <= 597 - 7 or estimates.loc["linear", "n"] == 600


def test_missing_values_are_left_out():
    rows, sex = leaking()
    sex = sex.astype(object)
    sex[:5] = None
    found, _ = finding(rows, sex)
    assert found.verdict == "exposed"
    age = np.where(np.arange(600) < 50, np.nan, 2 * rows[:, 1] + stream(0, "age").normal(size=600))
    found, estimates = finding(rows, age)
    assert found.verdict == "exposed"
    value, quarters = estimates.loc["linear", "value"]
    assert value == pytest.approx(0.8, abs=0.08)
    assert quarters > 0.3


def test_a_constant_attribute_is_a_finding_with_a_reason():
    found, estimates = finding(acts(), np.full(300, "f"))
    assert found.verdict == "inconclusive"
    assert "one value only" in found.sentence
    assert not len(estimates)


def test_near_copies_do_not_pass_for_many_people():
    """40 people with 10 near-copies each and an attribute of their own: naively a sure leak."""
    rng = stream(0, "copies")
    person = np.repeat(np.arange(40), 10)
    rows = rng.normal(size=(40, 12))[person] + 0.02 * rng.normal(size=(400, 12))
    audit = pa.probe({"real": {"l": rows}}, pd.DataFrame({"sex": rng.choice(["f", "m"], 40)[person]}), attributes=["sex"], jobs=1)
    assert audit.findings["verdict"].tolist() == ["inconclusive"]
    assert any(note.what == "copies as separate people" for note in audit.pack.evidence.not_tested)


def test_codes_are_renumbered_from_rare_to_common_whatever_they_were_called():
    codes = np.repeat([0, 1, 2], [50, 10, 30])
    expected = np.repeat([2, 0, 1], [50, 10, 30])
    for names in ([0, 1, 2], [2, 0, 1], [1, 2, 0]):
        assert np.array_equal(ordered_codes(np.array(names)[codes], 3), expected)
    tied = np.array([0, 1, 0, 1])
    assert np.array_equal(ordered_codes(tied, 2), ordered_codes(1 - tied, 2))


@pytest.mark.long
@pytest.mark.parametrize("kind", ["distance", "scatter", "codes"])
def test_numbers_that_tell_nothing_in_their_mean_are_not_called_removed(kind):
    """Distance from 40 by the sign of a product, scatter by the size of one unit, parity of a region's code."""
    rng = stream(0, "numbers", kind)
    n = 1200
    rows = rng.normal(size=(n, 8))
    if kind == "distance":
        share, sign = rng.random(n), rng.choice([-1, 1], n)
        values = 40 + sign * np.where(rows[:, 0] * rows[:, 1] > 0, 10 + 10 * share, 10 * share)
    elif kind == "scatter":
        values = rng.normal(size=n) * np.where(np.abs(rows[:, 0]) > 0.67, 3, 0.3)
    else:
        codes = rng.integers(1, 17, n)
        rows[:, 0] += 2 * (codes % 2)
        values = codes.astype(float)
    found, _ = finding(rows, values)
    assert found.verdict == {"distance": "hidden", "scatter": "inconclusive", "codes": "exposed"}[kind]


@pytest.mark.long
def test_profiles_that_several_people_share_are_not_called_removed():
    """A function of the profile can be looked up by whoever knows the profile; copies of one person would look alike."""
    rng = stream(0, "profiles")
    which = rng.integers(0, 700, 2500)
    rows = rng.normal(size=(700, 10))[which]
    found, estimates = finding(rows, np.where(rng.integers(0, 2, 700)[which], "f", "m"))
    assert found.verdict == "inconclusive"
    assert "repeat one another" in estimates.loc["nonlinear", "reason"]


def test_what_can_be_read_whole_is_not_told_as_the_end_of_the_plants():
    sex = labels(600)
    rows = acts(600)
    rows[:, 0] = sex == "f"
    _, estimates = finding(rows, sex)
    assert estimates.loc["linear", "value"] > 0.9
    assert estimates.loc["linear", "high"] >= estimates.loc["linear", "value"] >= estimates.loc["linear", "low"]
