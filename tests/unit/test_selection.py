"""Selection rates, impact ratios and the differences of fairness tools: the numbers, their intervals, and what small groups hide."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from proxyaudit.channels.outputs.selection import FEW, NOT_ABOVE_ZERO, selection
from proxyaudit.controls.claims import claims
from proxyaudit.controls.framework import find_framework
from proxyaudit.data.attributes import Attribute
from proxyaudit.errors import InputError
from proxyaudit.estimates.facts import Facts, Run
from proxyaudit.estimates.ledger import decide_ledger
from proxyaudit.estimates.record import Measurement
from proxyaudit.estimates.rounding import is_rounded
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.recipe.recipe import parse_recipe
from proxyaudit.recipe.selection import Selection
from proxyaudit.reporting.blocks import Table
from proxyaudit.reporting.html import render_html
from proxyaudit.reporting.markdown import render_markdown
from proxyaudit.reporting.report import Report
from proxyaudit.reporting.sections.selection import four_fifths
from proxyaudit.reporting.sections.selection import selection as selection_section
from proxyaudit.stats.selection_rates import extremes, pairs_level, rate_of, ratio
from proxyaudit.types import Estimate
from tests.helpers.views import facts_of
from tests.unit.small_packs import estimate, finding, small_pack

N = 4000
SELECTION = Selection(threshold=0.5)
PER_GROUP = ("selection_rate", "true_positive_rate", "false_positive_rate", "impact_ratio")


def attribute_of(codes: Any, *levels: str, name: str = "sex") -> Attribute:
    return Attribute(name, "protected", "binary" if len(levels) == 2 else "multiclass", levels, np.asarray(codes, dtype=np.int64))


def facts(codes: Any, chosen: list[Any], levels: tuple[str, ...] = ("a", "b"), **more: Any) -> Facts:
    """Models that select these rows."""
    measured = tuple(Measurement({}, {"outputs": np.where(one, 0.9, 0.1)[:, None]}) for one in chosen)
    asked = {"selection": SELECTION, **more}
    return facts_of((attribute_of(codes, *levels),), (Run("real", measured),), {}, **asked)


def published(given: Facts) -> dict[tuple[str, str | None], Estimate]:
    found = decide_ledger(selection(given)).estimates
    assert all(is_rounded(e) and e.state is None and e.channel == "selection" for e in found)
    return {(e.measure, e.group if e.measure in PER_GROUP else None): e for e in found}


def drawn(rates: dict[int, float], codes: Any, seed: int) -> Any:
    return np.random.default_rng(seed).random(len(codes)) < np.vectorize(rates.__getitem__)(codes)


def test_nothing_is_counted_that_was_not_asked_for() -> None:
    codes = np.arange(N) % 2
    assert not selection(facts(codes, [codes == 1], selection=None)).numbers


def test_rates_and_ratio_by_hand() -> None:
    """800 of 2,000 against 1,600 of 2,000 in one model: a ratio of one half, told to differ from four fifths."""
    codes = np.arange(N) % 2
    chosen = np.concatenate([np.arange(2000) < 800, np.arange(2000) < 1600])[np.argsort(np.argsort(codes, kind="stable"))]
    found = published(facts(codes, [chosen]))
    assert found["selection_rate", "a"].value == pytest.approx(0.4)
    assert found["selection_rate", "b"].value == pytest.approx(0.8)
    assert found["selection_rate", "a"].n == 2000
    impact = found["impact_ratio", "a"]
    assert (impact.value, impact.subject, impact.seeds) == (0.5, "b", 1)
    # Katz's interval of the logarithm: standard error sqrt(.6/800 + .2/1600).
    half = 1.96 * np.sqrt(0.6 / 800 + 0.2 / 1600)
    assert impact.low == pytest.approx(0.5 * np.exp(-half), abs=0.01)
    assert impact.high == pytest.approx(0.5 * np.exp(half), abs=0.01)
    assert found["demographic_parity_ratio", None].value == 0.5
    gap = found["demographic_parity_difference", None]
    assert (gap.value, gap.group, gap.subject) == (0.4, "b", "a")


def test_names_and_numbers_are_those_of_fairlearn() -> None:
    metrics = pytest.importorskip("fairlearn.metrics", reason="fairlearn is not installed; the numbers by hand stand above")
    rng = np.random.default_rng(3)
    codes, labels = rng.integers(0, 3, N), rng.integers(0, 2, N)
    chosen = rng.random(N) < 0.3 + 0.1 * codes + 0.2 * labels
    given = facts(codes, [chosen], ("a", "b", "c"), labels_n=labels)
    drafts = selection(given).numbers
    names = np.array(["a", "b", "c"])[codes]
    for measure in ("selection_rate", "true_positive_rate", "false_positive_rate"):
        frame = metrics.MetricFrame(metrics=getattr(metrics, measure), y_true=labels, y_pred=chosen, sensitive_features=names)
        mine = {d.group: d.measured.value for d in drafts if d.measure == measure and d.measured is not None}
        assert mine == pytest.approx(frame.by_group.to_dict())
    whole = (
        *("demographic_parity_difference", "demographic_parity_ratio", "equal_opportunity_difference"),
        *("false_positive_rate_difference", "equalized_odds_difference"),
    )
    for measure in whole:
        theirs = getattr(metrics, measure)(labels, chosen, sensitive_features=names)
        (draft,) = [d for d in drafts if d.measure == measure]
        assert draft.measured is not None
        assert draft.measured.value == pytest.approx(theirs), measure


def test_true_and_false_positive_rates_are_of_the_declared_outcome() -> None:
    """Where 'no' selects, the selected are those whose predicted probability of 'yes' is low."""
    rng = np.random.default_rng(4)
    codes, labels = rng.integers(0, 2, N), rng.integers(0, 2, N)
    chosen = drawn({0: 0.3, 1: 0.6}, codes, 5)
    yes = {d.measure: d for d in selection(facts(codes, [chosen], labels_n=labels)).numbers if d.group == "a"}
    no = selection(facts(codes, [~chosen], labels_n=1 - labels, selection=Selection(threshold=0.5, outcome="no"))).numbers
    mirrored = {d.measure: d for d in no if d.group == "a"}
    for measure in ("selection_rate", "true_positive_rate", "false_positive_rate"):
        assert yes[measure].measured is not None
        assert mirrored[measure].measured is not None
        assert yes[measure].measured.value == pytest.approx(mirrored[measure].measured.value)  # type: ignore[union-attr]


def test_a_group_of_which_fewer_than_eleven_are_selected_has_no_number_and_the_same_interval_whatever_their_number() -> None:
    codes = np.arange(N) % 2
    told = []
    for few in (0, 4, 10):
        chosen = np.where(codes == 1, np.arange(N) < 2000, np.arange(N) < 2 * few)
        found = published(facts(codes, [chosen]))
        rate, impact = found["selection_rate", "a"], found["impact_ratio", "a"]
        assert rate.value is None
        assert impact.value is None
        assert rate.reason == impact.reason == FEW
        assert rate.seed_values == ()
        assert impact.high is not None
        assert impact.high < 0.8, "whatever their number, far below four fifths"
        assert impact.low == 0
        told.append([e.model_dump(exclude={"id"}) for e in found.values() if e.measure in ("selection_rate", "impact_ratio")])
    assert told[0] == told[1] == told[2]


@pytest.mark.parametrize("case", ["of those with it", "of those without it", "of both"])
def test_what_a_rate_hides_is_not_the_difference_of_two_others(case: str) -> None:
    """Who is selected of those with the outcome is who is selected of all, less who is of the others. The total stays the same here."""
    codes, labels = np.repeat([0, 1], N // 2), np.tile(np.repeat([0, 1], N // 4), 2)
    place, told = np.arange(N) % (N // 4), []
    for hidden in (3, 6, 9):
        counts = {
            "of those with it": (300 - hidden, hidden),
            "of those without it": (hidden, 300 - hidden),
            "of both": (12 - hidden, hidden),
        }
        chosen = [np.where(codes == 0, place < np.array(counts[case])[labels], place < 500)] * 2
        found = published(facts(codes, chosen, labels_n=labels))
        told.append([e.model_dump(exclude={"id"}) for e in found.values()])
        hides = [name for name in ("true_positive_rate", "false_positive_rate", "selection_rate") if found[name, "a"].value is None]
        assert len(hides) == 2 + (case == "of both")
        ends = found["false_positive_rate", "a"]
        assert ends.low is not None
        assert ends.high is not None
        assert ends.low <= counts[case][0] / (N // 4) <= ends.high
    assert told[0] == told[1] == told[2]


def test_two_parts_that_hide_ten_each_hide_their_sum() -> None:
    codes, labels = np.repeat([0, 1], N // 2), np.tile(np.repeat([0, 1], N // 4), 2)
    place, told = np.arange(N) % (N // 4), []
    for hidden in ((6, 6), (10, 10), (2, 10)):
        found = published(facts(codes, [np.where(codes == 0, place < np.array(hidden)[labels], place < 500)], labels_n=labels))
        told.append([e.model_dump(exclude={"id"}) for e in found.values()])
        rate = found["selection_rate", "a"]
        assert rate.value is None
        assert rate.high is not None
        assert rate.high >= sum(hidden) / (N // 2)
    assert told[0] == told[1] == told[2]


def test_a_small_group_that_may_be_selected_often_or_never_is_no_reference() -> None:
    """Ten of forty people, or none, in the smallest group; a quarter in another: the one that is surely selected is compared with."""
    codes = np.concatenate([np.zeros(40), np.ones(1980), np.full(1980, 2)]).astype(np.int64)
    found = published(facts(codes, [drawn({0: 0.05, 1: 0.25, 2: 0.1}, codes, 3)], ("few", "quarter", "tenth")))
    assert found["impact_ratio", "tenth"].subject == found["impact_ratio", "few"].subject == "quarter"
    assert found["impact_ratio", "few"].reason == FEW
    assert found["demographic_parity_ratio", None].value is None, "the smallest group may be the least selected"


def test_no_ratio_to_a_rate_that_may_be_zero() -> None:
    codes = np.arange(N) % 2
    found = published(facts(codes, [(codes == 1) & (np.arange(N) < 12)]))
    assert found["impact_ratio", "a"].value is None
    assert found["impact_ratio", "a"].high is None
    assert found["impact_ratio", "a"].reason == NOT_ABOVE_ZERO


def test_a_group_without_enough_rows_of_a_label_leaves_the_difference_out() -> None:
    codes = np.arange(N) % 2
    labels = np.where(codes == 1, np.arange(N) % 4 == 1, np.arange(N) < 40).astype(np.int64)
    found = published(facts(codes, [np.random.default_rng(0).random(N) < 0.5], labels_n=labels))
    assert found["true_positive_rate", "a"].value is None
    assert found["equal_opportunity_difference", None].reason is not None
    assert "would look better" in str(found["equal_opportunity_difference", None].reason)
    assert found["false_positive_rate_difference", None].value is not None


def test_digits_are_no_finer_than_four_people() -> None:
    codes = np.arange(400) % 2
    found = published(facts(codes, [drawn({0: 0.4, 1: 0.6}, codes, 1)]))
    assert found["selection_rate", "a"].value is not None
    assert (found["selection_rate", "a"].value * 50) % 1 == pytest.approx(0), "steps of .02 of 200 people"


@pytest.mark.long
@pytest.mark.parametrize("models", [1, 4])
def test_intervals_of_the_ratio_hold_the_truth(models: int) -> None:
    """Of 200 worlds with three groups, each model differing, the ratios to the most selected group are all held in at least 93 %."""
    held, worlds, rng = 0, 200, np.random.default_rng(8)
    codes, rates, rows = np.arange(900) % 3, np.array([0.1, 0.4, 0.55]), np.arange(900)
    for _ in range(worlds):
        base = rng.random(900)
        chosen = [np.where(rng.random(900) < 0.2, rng.random(900), base) < rates[codes] for _ in range(models)]
        groups = [rate_of(chosen, codes == code, rows, rows, smallest=11) for code in range(3)]
        known = [rate for rate in groups if rate is not None]
        best = extremes(known)[1]
        found = [(ratio(known[k], known[best], pairs_level(0.95, 3)), rates[k] / rates[best]) for k in range(3) if k != best]
        held += all(one is not None and one.interval.low <= truth <= one.interval.high for one, truth in found)
    assert held / worlds >= 0.93


def test_a_person_of_several_rows_counts_once() -> None:
    """Forty selected rows of ten people are ten people."""
    codes = (np.arange(N) // 4) % 2
    given = facts(codes, [np.where(codes == 1, True, np.arange(N) < 80) & (np.arange(N) % 8 != 7)])
    whole = replace(given, people_n=np.arange(N) // 4, clusters_n=np.arange(N) // 4)
    assert published(given)["selection_rate", "a"].value is not None
    assert published(whole)["selection_rate", "a"].value is None


def test_an_outcome_must_be_a_class_of_the_target() -> None:
    assert SELECTION.column(("no", "yes")) == 1
    assert Selection(threshold=0.5, outcome="no").column(("no", "yes")) == 0
    with pytest.raises(InputError, match="is no class of the target"):
        Selection(threshold=0.5, outcome="nope").column(("no", "yes"))
    with pytest.raises(InputError, match="no outcome is named"):
        SELECTION.column(("a", "b", "c"))


def test_a_recipe_without_it_publishes_what_it_did() -> None:
    data = {"path": "t.csv", "target": "y", "protected": ["sex"]}
    small: dict[str, Any] = {"name": "t", "data": data, "regimes": ["real"], "model": {"kind": "mlp"}}
    assert "selection" not in parse_recipe(small).published()
    assert parse_recipe({**small, "selection": {"threshold": 0.4}}).published()["selection"] == {"threshold": 0.4}
    for wrong in ({"threshold": 1.0}, {"threshold": "half"}, {}, {"treshold": 0.5}):
        with pytest.raises(InputError):
            parse_recipe({**small, "selection": wrong})


def test_the_section_says_below_above_and_what_cannot_be_told(pack: EvidencePack) -> None:
    codes = np.arange(N) % 3
    chosen = drawn({0: 0.3, 1: 0.49, 2: 0.6}, codes, 2)
    found = published(facts(codes, [chosen], ("a|<b>", "b", "c"), labels_n=(np.arange(N) // 3) % 2))
    numbers = [e.model_copy(update={"id": f"S{k}"}) for k, e in enumerate(found.values())]
    own = {**pack.recipe, "selection": {"threshold": 0.5}}
    shown = replace(pack, recipe=own, evidence=pack.evidence.model_copy(update={"estimates": (*pack.evidence.estimates, *numbers)}))
    section = selection_section(Report.of(shown))
    assert section is not None
    (rates, differences) = [block for block in section.blocks if isinstance(block, Table)]
    assert [row[4].text for row in rates.rows] == ["below", "cannot be told", "most selected"]
    assert differences.rows[0][1].text != differences.rows[0][2].text
    assert "a|<b>" not in render_html(shown)
    assert "Who would be selected" in render_markdown(shown)
    assert selection_section(Report.of(pack)) is None


@pytest.mark.parametrize(
    ("low", "high", "word"), [(0.5, 0.79, "below"), (0.8, 1.1, "above"), (0.7, 0.9, "cannot be told"), (None, None, "no ratio")]
)
def test_four_fifths_in_words(low: float | None, high: float | None, word: str) -> None:
    assert four_fifths(estimate("selection", 0.75, "absent", low=low, high=high)) == word


def test_local_law_144_is_supported_in_part_and_its_gaps_are_said() -> None:
    """Impact ratios of each attribute are evidence for one half of the clause; intersections are not there."""
    more: dict[str, Any] = {"measure": "impact_ratio", "group": "a", "subject": "b", "margin": None}
    told = small_pack([estimate("expressed", 0.1, "present"), estimate("selection", 0.7, "absent", **more)], [finding("exposed")])
    (found,) = claims(replace(told, environment={"started": "2026-11-30T05:51:58+00:00"}), [find_framework("nyc-local-law-144")])
    (clause,) = found.clauses
    assert clause.answer == "in_part"
    assert "of groups of single attributes" in clause.supported[0].evidence_for
    assert "intersections" in clause.unsupported[0].why
    assert "independence" in clause.not_covered
    assert "scoring rates" in clause.not_covered
    unnumbered = estimate("selection", None, "absent", **more)
    without = small_pack([estimate("expressed", 0.1, "present"), unnumbered], [finding("exposed")])
    (nothing,) = claims(replace(without, environment=told.environment), [find_framework("nyc-local-law-144")])
    assert nothing.clauses[0].answer == "not_supported"
