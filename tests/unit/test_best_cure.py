"""Which cure is called best: all are asked alike, however many models they were tried with, and what is named is told in full."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from proxyaudit.channels.cures.estimate import _of_rows, _p_within, lessens
from proxyaudit.data.cures import real_share
from proxyaudit.reporting.scale import Scale
from proxyaudit.reporting.sentences import cure_words, people_words, reach_sentence
from proxyaudit.reporting.summary import AttributeView, Row
from proxyaudit.reporting.terminal import _cure
from proxyaudit.reporting.training import TriedView, best_cure, least_of
from proxyaudit.stats.intervals import Measured, crossed_interval, over_seeds
from proxyaudit.types import Estimate

MARGIN = 0.05


def _number(measure: str, value: float, half: float, **more: Any) -> Estimate:
    about: dict[str, Any] = {"id": "E1", "channel": "cure", "attribute": "a", "regime": "g", "measure": measure}
    return Estimate(**about, value=value, low=value - half, high=value + half, **more)


def before(value: float = 0.3) -> Estimate:
    return _number("gap", value, 0.01, margin=MARGIN)


def tried(
    name: str, left: tuple[float, ...], was: float = 0.3, *, cost: float = 0.0, p: float | None = 1e-6, half: float = 0.01
) -> TriedView:
    """A cure as it was tried with as many models as ``left`` has; ``half`` of the interval of its change, over these models."""
    mean = float(np.mean(left))
    gap = _number("gap", mean, half, seed_values=left, seeds=len(left), p_absent=1e-6 if abs(mean) < MARGIN else 1.0)
    change = _number("gap_change", mean - was, half, seed_values=tuple(one - was for one in left), seeds=len(left), p_present=p)
    return TriedView(name, name, gap, change, _number("auroc_cost", cost, 0.002), None)


def name_of(*found: TriedView, was: float = 0.3) -> str | None:
    best = best_cure(found, before(was))
    return None if best is None else best.name


def test_a_cure_loses_no_place_by_being_tried_with_more_models() -> None:
    # As found: two models agree on a third less, and an interval with one degree of freedom reaches above zero.
    repaired, mixed = tried("repaired", (0.188, 0.21), half=0.11), tried("mixed", (0.292,))
    assert repaired.change is not None
    assert repaired.change.high is not None
    assert repaired.change.high > 0
    assert name_of(mixed, repaired) == "repaired"


@pytest.mark.parametrize(
    ("cure", "helps"),
    [
        (tried("one", (0.2,)), True),
        (tried("three", (0.2, 0.25, 0.29)), True),
        (tried("not in all", (0.1, 0.1, 0.31)), False),
        (tried("rows are not sure", (0.2, 0.2), p=0.03), False),
        (tried("a tenth of the margin", (0.295,)), False),
        (tried("a little more", (0.294,)), True),
        (tried("turned round, as large", (-0.3, -0.3)), False),
        (tried("turned round, smaller", (-0.1, -0.2)), True),
        # The first model lay above the others: what is told of all hardly moves.
        (tried("than its own model only", (0.298,), was=0.35), False),
        (tried("than other models only", (0.2,), was=0.2), False),
        (tried("an older pack, sure", (0.2,), p=None), True),
        (tried("an older pack, unsure", (0.2,), p=None, half=0.2), False),
    ],
    ids=lambda one: one.name if isinstance(one, TriedView) else "",
)
def test_a_cure_helps_where_rows_are_sure_and_every_model_agrees(cure: TriedView, helps: bool) -> None:
    assert cure.helps(before()) == helps


def test_what_leaves_about_as_much_is_taken_where_more_models_confirm_it() -> None:
    assert name_of(tried("one", (0.1,)), tried("two", (0.103, 0.105))) == "two"
    assert name_of(tried("one", (0.1,)), tried("two", (0.106, 0.108))) == "one"
    assert least_of([], before()) is None


def test_how_many_models_there_were_plays_no_part_in_what_lies_below_the_margin() -> None:
    wide = tried("dropped", (0.02, 0.03), half=0.3, cost=0.001)
    assert wide.within(MARGIN)
    assert not tried("one of them above", (0.01, 0.06), half=0.01).within(MARGIN)
    assert not wide._replace(gap=_number("gap", 0.025, 0.3)).within(MARGIN)  # an older pack
    row = Row("g", None, None, before(), tried=(tried("other", (0.04,), cost=0.002), wide))
    view = AttributeView("a", "protected", (), "", "", (row,), (), None, ())  # type: ignore[arg-type]
    assert reach_sentence(view, MARGIN, Scale()) == "After g dropped brings the gap of “a” below 5 points at next to no cost."


@pytest.mark.parametrize(
    ("cures", "words", "cell"),
    [
        ((tried("dear", (0.02,), cost=0.126), tried("no", (0.299,))), "only costly: dear leaves 2, costs 0.126 AUROC", "only costly"),
        ((tried("dear", (0.02,), cost=0.126), tried("cheap", (0.2,))), "cheap: 20, costs nothing", "cheap"),
        ((tried("no", (0.299,), cost=-0.01),), "none tried surely helps", "none helps"),
        ((), "not tried", "not tried"),
    ],
)
def test_the_answer_says_what_is_left_and_of_what_it_costs(cures: tuple[TriedView, ...], words: str, cell: str) -> None:
    row = Row("g", None, None, before(), tried=cures)
    assert (cure_words(row), _cure(row)) == (words, cell)


@pytest.mark.parametrize(
    ("regime", "cure", "share"),
    [
        ("vendor", "mixed-real", "half"),
        ("real", "mixed-vendor", "half"),
        ("blend", "mixed-vendor", "some"),
        ("vendor", "mixed-other", "none"),
        ("vendor", "dropped-2", "none"),
        ("real", "resampled", "all"),
        ("blend", "resampled", "some"),
        ("real", "erased", "none"),
        ("mixed-real", "dropped-1", "none"),
    ],
)
def test_how_many_rows_of_a_release_are_those_of_real_people(regime: str, cure: str, share: Any) -> None:
    kinds = {"real": "real", "vendor": "release", "other": "synthetic", "blend": "mixed", "mixed-real": "synthetic"}
    assert real_share(kinds, regime, cure) == share
    made = tried(cure, (0.1,))._replace(people=share)
    told = cure.startswith("mixed-") and share != "none"
    assert people_words(made) == (f"{share} of its rows are real people's" if told else "")
    ending = f"; {people_words(made)}" if told else ""
    assert cure_words(Row(regime, None, None, before(), tried=(made,))) == f"{cure}: 10, costs nothing{ending}"


def test_rows_alone_are_asked_of_the_mean_over_the_very_models() -> None:
    rng, n = np.random.default_rng(0), 400
    singles = [Measured(np.array([value]), rng.normal(0, 0.01 / n**0.5, n), np.arange(n)) for value in (0.02, 0.035)]
    gap = over_seeds(singles)
    assert crossed_interval(gap).high > 1.5 * MARGIN > 1.5 * crossed_interval(_of_rows(gap)).high
    assert _of_rows(gap).value == gap.value
    assert _p_within(gap, MARGIN) < 0.002
    assert _p_within(-gap, MARGIN) == pytest.approx(_p_within(gap, MARGIN))
    assert _p_within(gap, 0.02) > 0.5
    assert [lessens(0.039, left, MARGIN) for left in (0.034, 0.0339)] == [False, True]
