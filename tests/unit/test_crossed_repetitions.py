"""Tables crossed with models: mean squares, intervals of means and of the next model, and what is paired with what."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy import stats

from proxyaudit.comparison.difference import _kept, _number, subtract
from proxyaudit.estimates.ledger import Draft, Drafts, decide_ledger
from proxyaudit.estimates.row_sums import row_parts
from proxyaudit.seeding import stream
from proxyaudit.stats.components import MODELS, REPETITIONS, RESIDUAL, TABLES, Spread
from proxyaudit.stats.intervals import Measured, SharedSpread, crossed_interval, next_interval, over_seeds, placed
from proxyaudit.stats.pools import SIZE
from tests.studies import crossed

GRID = tuple(product(range(3), range(4)))
Y = np.array([[1.0, 2.0, 4.0, 5.0], [2.0, 2.0, 6.0, 6.0], [7.0, 9.0, 9.0, 11.0]])


def number(values: np.ndarray, places: tuple[tuple[int, int], ...] = (), rows: float = 0.0) -> Measured:
    """A number in several repetitions, whose mean has this standard error over rows."""
    return Measured(np.asarray(values, dtype=float).ravel(), np.array([1.0, -1.0]) * rows / 2, np.arange(2), places=places, row_df=1e9)


def test_mean_squares_are_those_of_the_two_way_analysis_of_variance() -> None:
    spread = Spread.of(Y.ravel(), GRID)
    assert spread is not None
    by_table, by_model = Y.mean(axis=1), Y.mean(axis=0)
    rest = Y - by_table[:, None] - by_model + Y.mean()
    assert spread.squares[TABLES] == pytest.approx((4 * by_table.var(ddof=1), 2))
    assert spread.squares[MODELS] == pytest.approx((3 * by_model.var(ddof=1), 3))
    assert spread.squares[RESIDUAL] == pytest.approx(((rest**2).sum() / 6, 6))
    sizes = {name: size for name, (size, _) in spread.squares.items()}
    wanted = (sizes[TABLES] + sizes[MODELS] - sizes[RESIDUAL]) / 12
    assert spread.of_mean({})[0] == pytest.approx(wanted)
    # The order of repetitions does not matter.
    turned = np.random.default_rng(0).permutation(12)
    again = Spread.of(Y.ravel()[turned], tuple(GRID[k] for k in turned))
    assert again is not None
    assert again.of_next({}) == pytest.approx(spread.of_next({}))


@pytest.mark.parametrize(("tables", "models", "rest"), [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.5, 0.5, 1.0), (1.0, 0.2, 0.1)])
def test_variances_are_right_on_average_where_many_repetitions_tell_them(tables: float, models: float, rest: float) -> None:
    rng, means, nexts = stream(0, "components", tables, models, rest), [], []
    shape = 12, 10
    for _ in range(200):
        y = rng.normal(0, tables, (12, 1)) + rng.normal(0, models, (1, 10)) + rng.normal(0, rest, shape)
        spread = Spread.of(y.ravel(), tuple(product(range(12), range(10))))
        if spread is None:
            continue
        means.append(spread.of_mean({})[0])
        nexts.append(spread.of_next({})[0])
    mean = tables**2 / 12 + models**2 / 10 + rest**2 / 120
    assert np.mean(means) == pytest.approx(mean, rel=0.1)
    assert np.mean(nexts) == pytest.approx(mean + tables**2 + models**2 + rest**2, rel=0.1)


def test_what_is_the_same_counts_once() -> None:
    twice = np.concatenate([Y, Y[:1]])  # a synthesizer that made one table again
    places = tuple(product(range(4), range(4)))
    assert Spread.of(twice.ravel(), places) == Spread.of(Y.ravel(), GRID)
    one_table = np.tile(Y[0], (3, 1))
    alone = Spread.of(one_table.ravel(), GRID)
    assert alone is not None
    assert alone.squares == {REPETITIONS: pytest.approx((Y[0].var(ddof=1), 3))}
    assert Spread.of(np.ones(12), GRID) is None
    assert Spread.of(np.array([1.0]), ()) is None


def test_repetitions_with_tables_and_models_of_their_own_are_no_grid() -> None:
    diagonal = tuple((k, (k + 1) % 3) for k in range(3))
    values = np.array([1.0, 2.0, 4.0])
    assert Spread.of(values, diagonal) == Spread.of(values)
    assert Spread.of(values, tuple((0, k) for k in range(3))) == Spread.of(values)  # one table: models alone


@pytest.mark.parametrize("lost", [[0], [3, 7], [0, 4, 8, 11]])
def test_failed_repetitions_make_intervals_wider_and_never_narrower(lost: list[int]) -> None:
    rng, hits = stream(0, "gaps", *lost), 0
    for _ in range(400):
        y = (rng.normal(0, 1, (3, 1)) + rng.normal(0, 0.5, (1, 4)) + rng.normal(0, 0.5, (3, 4))).ravel()
        kept = [k for k in range(12) if k not in lost]
        interval = crossed_interval(number(y[kept], tuple(GRID[k] for k in kept)))
        hits += interval.low <= 0 <= interval.high
    assert hits >= 372  # 93 %


def test_models_of_one_table_say_less_than_as_many_of_their_own() -> None:
    """The error that this is about: nine models of three tables are no nine repetitions."""
    rng, crossed_hits, single_hits = stream(0, "naive"), 0, 0
    places = tuple(product(range(3), range(3)))
    for _ in range(500):
        y = rng.normal(0, 1, (3, 1)) + rng.normal(0, 0.2, (3, 3))
        for own, name in ((places, "crossed"), ((), "single")):
            interval = crossed_interval(number(y, own))
            hit = interval.low <= 0 <= interval.high
            crossed_hits, single_hits = crossed_hits + hit * (name == "crossed"), single_hits + hit * (name == "single")
    assert crossed_hits >= 460
    assert single_hits < 410


def test_differences_are_paired_by_model() -> None:
    real = np.array([3.0, 1.0, 2.0, 5.0])
    mine, theirs = number(Y, GRID), number(real, tuple((0, model) for model in range(4)))
    gap = mine - theirs
    assert gap.seed_values == pytest.approx((Y - real).ravel())
    assert gap.places == GRID
    assert gap.extra == 0
    # Without the models of all of mine nothing is paired, and the other's own spread counts.
    apart = mine - number(real[:2], ((0, 0), (0, 1)))
    assert apart.seed_values == pytest.approx(Y.ravel() - 2.0)
    assert apart.extra == pytest.approx(2.0 / 2)
    assert (mine - number(Y + 1, GRID)).seed_values == pytest.approx(np.full(12, -1.0))
    turned = theirs - mine
    assert turned.extra == pytest.approx(Spread.of(Y.ravel(), GRID).of_mean({})[0])  # type: ignore[union-attr]


def test_numbers_of_repetitions_that_are_not_known_say_no_more_than_one_of_them() -> None:
    values = np.array([1.0, 2.0, 4.0])
    found = over_seeds([number(np.array([value])) for value in values], GRID)
    assert found.places == ()
    assert found.extra == pytest.approx(values.var(ddof=1))
    assert placed(number(np.array([1.0])), GRID).extra == 0


def test_shared_spreads_are_kept_apart_by_source_and_make_intervals_narrower() -> None:
    rng, alone, drawn, pools = stream(0, "pools"), [], [], []
    for _ in range(30):
        numbers = []
        for size in np.linspace(0.1, 0.4, 24):
            y = size * (1 + rng.normal(0, 0.2, (3, 1)) + rng.normal(0, 0.02, (1, 3)) + rng.normal(0, 0.05, (3, 3)))
            numbers.append(number(y, tuple(product(range(3), range(3))), rows=1e-4))
        shared = SharedSpread.of((one, 0.0) for one in numbers)
        pools.append(shared.pools)
        widths = [[crossed_interval(one).high - one.value for one in some] for some in (numbers, map(shared.applied, numbers))]
        alone.append(np.median(widths[0]))
        drawn.append(np.median(widths[1]))
    # By chance numbers look unlike each other now and then, and then nothing is shared of that source.
    known = [pool for pool in pools if all(SIZE in pool[source].fits for source in (TABLES, MODELS, RESIDUAL) if source in pool)]
    known = [pool for pool in known if set(pool) == {TABLES, MODELS, RESIDUAL}]
    assert len(known) >= 25
    ratio = [np.exp(pool[TABLES].fits[SIZE].mean - pool[MODELS].fits[SIZE].mean) for pool in known]
    assert np.median(ratio) == pytest.approx((3 * 0.2**2) / (3 * 0.02**2 + 0.05**2), rel=0.3)
    assert np.mean(drawn) < 0.75 * np.mean(alone)


def test_the_next_model_is_told_from_three_repetitions_on() -> None:
    assert next_interval(number(np.array([1.0, 2.0]))) is None
    assert next_interval(number(np.array([1.0, 2.0, 2.0]))) is None
    found = next_interval(number(np.array([1.0, 2.0, 3.0])))
    assert found is not None
    assert found.high - 2.0 == pytest.approx(float(stats.t.ppf(0.975, 2)) * (1 + 1 / 3) ** 0.5)


@pytest.mark.long
@pytest.mark.parametrize("index", range(crossed.CROSSED), ids=[world.name for world in crossed.WORLDS[: crossed.CROSSED]])
def test_intervals_hold_the_truth_and_are_no_wider_than_they_need_be(index: int) -> None:
    """A short run of the study; its own figures are those of at least 10,000 numbers."""
    found = crossed.rates([{"key": [0, index, 0], **crossed.run_block(0, index, 0)}])[crossed.WORLDS[index].name]
    assert found["coverage"] >= 0.92  # of 600 numbers
    assert found["absent"] <= 0.022  # six more than six
    if crossed.WORLDS[index].shape == (3, 3):
        assert found["coverage"] >= 0.93
        assert found["median width"] <= 1.4
        assert 0.92 <= found["next model"] <= 0.985


# What is published -------------------------------------------------------------------------------------------------


def draft(values: np.ndarray, places: tuple[tuple[int, int], ...] = (), **more: object) -> Draft:
    measured = number(values, places, rows=0.001)
    one = Draft("used", "sex", "copula", measure="effect", margin=0.05, measured=measured, interval=crossed_interval(measured), n=1000)
    return replace(one, present_p=1.0, absent_p=0.004, can_be_absent=True, **more)  # type: ignore[arg-type]


def test_evidence_says_where_the_next_model_may_lie() -> None:
    (e,) = decide_ledger(Drafts([draft(Y / 100, GRID)])).estimates
    assert e.next_model is not None
    assert e.low is not None
    assert e.high is not None
    assert e.next_model[0] < e.low < e.high < e.next_model[1]
    (few,) = decide_ledger(Drafts([draft(np.array([0.01, 0.02]))])).estimates
    assert few.next_model is None
    # Of two kinds of training together no single model has a number.
    (change,) = decide_ledger(Drafts([replace(draft(Y / 100, GRID), channel="change", decides=False)])).estimates
    assert change.next_model is None


def test_absence_pays_for_every_look_and_only_where_a_mean_tells_it() -> None:
    one = draft(Y / 1000, GRID)
    once, thrice = (decide_ledger(Drafts([one]), looks={"copula": looks}).estimates[0] for looks in (1, 3))
    # Few rows carry these numbers, so that their p-values are told by levels: .004 and .012.
    assert (once.p_absent, once.state) == (0.01, "absent")
    assert thrice.p_absent == 0.025
    assert thrice.state == "unknown"
    assert "3 looks" in thrice.method
    assert thrice.p_present == once.p_present
    leak, other = replace(one, measure="leak"), replace(one, regime="real")
    assert [e.p_absent for e in decide_ledger(Drafts([leak, other]), looks={"copula": 3}).estimates] == [0.01, 0.01]
    (top,) = decide_ledger(Drafts([replace(one, absent_p=0.6)]), looks={"copula": 3}).estimates
    assert top.p_absent == 1.0


def test_packs_keep_what_tables_and_models_bring_for_comparisons() -> None:
    ledger = decide_ledger(Drafts([draft(Y / 100, GRID), replace(draft(np.array([0.01, 0.02, 0.03])), regime="real")]))
    arrays = row_parts(ledger)
    spread = Spread.of(Y.ravel() / 100, GRID)
    assert spread is not None
    assert arrays["row_parts.between"][0] == pytest.approx(spread.of_mean({}), rel=1e-5)
    assert arrays["row_parts.between"][1].tolist() == [0, 0]
    mine, real = (_number(e, _kept(arrays).get(e.id)) for e in ledger.estimates)
    assert mine is not None
    assert real is not None
    assert mine.spread == pytest.approx(spread.of_mean({}), rel=1e-5)
    assert real.spread == pytest.approx((0.01**2 / 3, 2))
    naive = replace(mine, between=None)
    wide, narrow = (subtract(real, one, models="trained", same_rows=False) for one in (mine, naive))
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)
    plain = decide_ledger(Drafts([draft(np.array([0.01, 0.02, 0.03]))]))
    assert "row_parts.between" not in row_parts(plain)
    broken = {**arrays, "row_parts.between": np.full((2, 2), np.nan)}
    assert _kept(broken) == {}
