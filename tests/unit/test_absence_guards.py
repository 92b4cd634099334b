"""Guards of absence: dropped axes, numbers cut finely, other groups and outputs, columns that carry the attribute and act."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from proxyaudit.causal.proxy_use import Number, Reach
from proxyaudit.channels.use.carriers import TOGETHER, add_carriers, barring, carriers_of, explain
from proxyaudit.channels.use.estimate import joint_barred
from proxyaudit.channels.use.measure import other_questions
from proxyaudit.channels.use.record import COLUMNS, USES, ColumnUse, ColumnUses, OtherQuestions, SiteUse, carriers
from proxyaudit.data.attributes import Attribute
from proxyaudit.estimates.facts import Run
from proxyaudit.estimates.ledger import Draft, Drafts
from proxyaudit.estimates.record import Measurement
from proxyaudit.probes.dropped_axes import TELLS, dropped_axes_p, dropped_axes_reason, unseen_features
from proxyaudit.probes.whitening import whiten
from proxyaudit.stats.group_gaps import spread_along, surely_flat

N = 4000


def twins(apart: float, seed: int = 0) -> tuple[Any, Any]:
    """Two units, equal but for a difference that tells the group."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 2, N)
    one, other = rng.standard_normal(N), rng.standard_normal(N)
    return np.stack([one, one + apart * group, other], axis=1).astype(np.float32), group


def unseen_p(acts: Any, labels: Any) -> float | None:
    white = whiten(acts)
    return dropped_axes_p(unseen_features(acts, white), white.z_nr, labels, 2, None, 0.0)


@pytest.mark.parametrize("apart", [5e-7, 1e-6, 2e-6])
def test_a_difference_of_twins_that_tells_the_group_is_an_axis(apart: float) -> None:
    acts, group = twins(apart)
    white = whiten(acts)
    assert (white.dropped, white.z_nr.shape) == (0, (N, 3))
    assert abs(np.corrcoef(white.z_nr[:, 0], group)[0, 1]) > 0.8


def test_a_difference_of_one_step_that_tells_the_group_is_seen() -> None:
    acts, group = twins(0.0)
    acts[:, 1] = (acts[:, 0].view(np.int32) + group.astype(np.int32)).view(np.float32)
    p = unseen_p(acts, group)
    assert p is not None
    assert p < TELLS
    assert dropped_axes_reason([0.4, p, None]) is not None


@pytest.mark.parametrize(
    ("place", "stored"), [(5, np.float32), (12, np.float32), (4, np.float16), (30, np.float64)], ids=["fifth", "twelfth", "half", "double"]
)
def test_a_finer_digit_that_tells_the_group_together_with_a_unit_is_seen(place: int, stored: Any) -> None:
    rng = np.random.default_rng(place)
    acts = rng.standard_normal((2000, 16)).astype(stored)
    whole = {2: np.int16, 4: np.int32, 8: np.int64}[acts.dtype.itemsize]
    digit = (acts[:, 3].view(whole) >> place) & 1
    found, chance = unseen_p(acts, digit ^ (acts[:, 9] > 0)), unseen_p(acts, rng.integers(0, 2, len(acts)))
    assert found is not None
    assert chance is not None
    assert found < TELLS < chance


def test_rounding_of_dependent_units_tells_nothing() -> None:
    rng = np.random.default_rng(1)
    found = []
    for _ in range(20):
        few = rng.standard_normal((800, 6)).astype(np.float32)
        acts = np.concatenate([few, few @ rng.standard_normal((6, 10)).astype(np.float32)], axis=1)
        assert whiten(acts).dropped_nm.shape == (800, 10)
        found.append(unseen_p(acts, (few[:, 0] + rng.standard_normal(800) > 0).astype(int)))
        found.append(unseen_p(acts, rng.integers(0, 2, 800)))
    assert all(p is not None and p > TELLS for p in found)
    assert dropped_axes_reason([None, None]) is None
    assert dropped_axes_reason([]) is None


def test_exact_copies_leave_no_axis() -> None:
    acts, _ = twins(0.3)
    for copies in (np.concatenate([acts, acts], axis=1), np.concatenate([acts, 2 * acts[:, :2], -acts[:, 1:]], axis=1)):
        white = whiten(copies)
        assert white.dropped >= 3
        assert white.dropped_nm.shape == (N, 0)


@pytest.mark.parametrize("shape", [lambda v: np.abs(v), lambda v: np.sign(np.sin(20 * np.pi * v)), lambda v: v])
def test_outputs_that_follow_a_number_are_not_flat(shape: Any) -> None:
    rng = np.random.default_rng(2)
    value = rng.uniform(-1, 1, N)
    output = 1 / (1 + np.exp(-1.5 * shape(value) - rng.standard_normal(N)))
    assert not surely_flat([output[:, None]], value, 0.05)
    size, error = spread_along(output, value)
    assert size > 4 * error


def test_flat_outputs_are_surely_flat_where_there_are_rows() -> None:
    rng = np.random.default_rng(3)
    value = np.where(np.arange(N) % 50 == 0, np.nan, rng.uniform(-1, 1, N))
    flat = [1 / (1 + np.exp(-rng.standard_normal(N))) for _ in range(40)]
    assert all(surely_flat([output[:, None]], value, 0.05) for output in flat)
    assert not surely_flat([flat[0][:60, None]], value[:60], 0.05)
    sizes = [spread_along(output, np.nan_to_num(value)) for output in flat]
    assert abs(np.mean([size / error for size, error in sizes])) < 0.6


def test_every_level_and_output_is_a_question_of_its_own() -> None:
    binary = Attribute("a", "protected", "binary", ("n", "y"), np.arange(60) % 2)
    groups = np.arange(60) % 2
    assert other_questions(binary, groups, 0, 1) == []
    assert [column for _, column in other_questions(binary, groups, 1, 3)] == [0, 2]
    several = Attribute("a", "protected", "multiclass", ("x", "y", "z"), np.array([0, 1, 2, -1] * 15))
    asked = other_questions(several, groups, 0, 1)
    assert [tuple(g[:4]) for g, _ in asked] == [(1, 0, 0, -1), (0, 1, 0, -1), (0, 0, 1, -1)]
    number = Attribute("a", "protected", "continuous", (), np.append(np.arange(400.0), np.nan))
    quarters = other_questions(number, np.append(np.arange(400) >= 200, -1).astype(int), 0, 1)
    assert [int((g == 1).sum()) for g, _ in quarters] == [101, 100, 100, 99] or [int((g == 1).sum()) for g, _ in quarters] == [100] * 4
    assert all(g[-1] == -1 for g, _ in quarters)


def number(value: float, error: float, n: int = 400) -> Number:
    """A number with a standard error."""
    noise = np.random.default_rng(0).standard_normal(n)
    return Number(value, noise * error / np.sqrt((noise**2).sum()))


def column(signed: float, per_row: float, error: float = 0.002, around: tuple[float, float] | None = None) -> ColumnUse:
    """A column that moves single outputs by .1, with what reaches the groups, and what of that goes around the subspace."""

    def reaches(one: float, root: float) -> Reach:
        return Reach(number(one, error), number(root**2, 2 * max(root, 0.01) * error))

    return ColumnUse(number(0.1, 0.001), reaches(signed, per_row), None if around is None else reaches(*around))


def measured(together: ColumnUse | None = None, **units: ColumnUse) -> Run:
    out = Measurement()
    COLUMNS.write(out, ColumnUses(units, together), "sex")
    return Run("real", (out,))


def barred(used: ColumnUse) -> str | None:
    return barring(carriers_of(measured(code=used), "sex", ["code"]), np.arange(400), 0.02)


def test_a_carrier_bars_absence_only_where_what_reaches_the_groups_surely_exceeds_the_margin() -> None:
    assert "code" in str(barred(column(0.06, 0.06)))
    assert "code" in str(barred(column(-0.06, 0.06)))
    assert "code" in str(barred(column(0.0, 0.07)))  # what it adds to some it takes from others
    assert barred(column(0.0, 0.0)) is None
    assert barred(column(0.03, 0.03, error=0.01)) is None  # not surely
    assert barred(column(0.06, 0.06, around=(0.0, 0.0))) is None  # it runs through what was swapped
    assert "code" in str(barred(column(0.06, 0.06, around=(0.05, 0.05))))
    assert barred(ColumnUse(number(0.3, 0.001))) is None  # a column that the decision may use
    assert carriers_of(measured(code=column(0.1, 0.1)), "age", ["code"]) == []


def test_directions_inside_that_mix_are_explained_by_idle_carriers_alone_and_together() -> None:
    def explained(run: Run) -> bool:
        return explain(carriers_of(run, "sex", ["code"]), np.arange(400), 0.02)

    idle, acting, unsure = column(0.001, 0.0), column(0.0, 0.07), column(0.001, 0.0, error=0.02)
    assert explained(measured(idle, code=idle))
    assert not explained(measured(None, code=idle))
    assert not explained(measured(acting, code=idle))
    assert not explained(measured(idle, code=acting))
    assert not explained(measured(idle, code=unsure))
    assert not explained(measured(idle))


def test_a_carrier_that_moves_single_outputs_is_told() -> None:
    out = Drafts()
    run = measured(column(0.0, 0.0), code=column(0.001, 0.0), idle=ColumnUse(number(0.001, 0.001), column(0.0, 0.0).reach))
    base = Draft("used", "sex", "real", margin=0.02)
    add_carriers(out, base, carriers_of(run, "sex", ["code", "idle"]), np.arange(400))
    assert [draft.subject for draft in out.numbers] == ["code", TOGETHER]
    assert all(draft.reason and "without favouring a group" in draft.reason and not draft.decides for draft in out.numbers)


def test_carriers_are_single_columns_that_tell_more_than_the_margin() -> None:
    units = {
        "code": {"association": {"value": 0.3}},
        "idle": {"association": {"value": 0.01}},
        "code + idle": {"association": {"value": 0.4}, "gain": {"value": 0.1}},
        "constant": {"reason": "never varies"},
    }
    assert carriers(Measurement({"association": {"sex": {"units": units}}}), "sex", 0.02) == ["code"]
    assert carriers(Measurement(), "sex", 0.02) == []


def test_several_sites_together_are_not_asked_about_other_groups_and_outputs() -> None:
    def run(*uses: SiteUse) -> Run:
        out = Measurement()
        for site, use in zip(("one", "two"), uses, strict=True):
            USES.write(out, use, "race", site)
        return Run("real", (out,))

    assert joint_barred(run(SiteUse(others=OtherQuestions(0.0, 4)), SiteUse()), "race", ["one", "two"]) is not None
    assert joint_barred(run(SiteUse(), SiteUse()), "race", ["one", "two"]) is None
