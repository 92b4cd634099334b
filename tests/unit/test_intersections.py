"""Intersections of protected attributes: how they are made, what is left out, what they must not tell, and what they must not take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from proxyaudit.audits.probe.inputs import ProbeRequest, make_inputs
from proxyaudit.channels.outputs.selection import selection
from proxyaudit.controls.claims import claims
from proxyaudit.controls.framework import find_framework
from proxyaudit.data.attributes import Attribute, codes_in
from proxyaudit.data.dataset import load_dataset
from proxyaudit.data.intersections import check_intersections, cross, intersection_name
from proxyaudit.errors import InputError
from proxyaudit.estimates.facts import Facts, Run
from proxyaudit.estimates.ledger import decide_ledger
from proxyaudit.estimates.record import Measurement
from proxyaudit.estimates.states import corrected
from proxyaudit.gating.decide import gate
from proxyaudit.gating.policy import parse_policy
from proxyaudit.recipe.recipe import parse_recipe
from proxyaudit.recipe.selection import Selection
from proxyaudit.stats.suppression import hidden_cells
from proxyaudit.types import Estimate
from tests.helpers.views import facts_of
from tests.unit.small_packs import estimate, finding, small_pack


def part(name: str, codes: Any, *levels: str) -> Attribute:
    return Attribute(name, "protected", "binary" if len(levels) == 2 else "multiclass", levels, np.asarray(codes, dtype=np.int64))


def crossed(*parts: Attribute, fewest: int = 30, people: Any = None) -> Attribute:
    n = len(parts[0].codes)
    return cross(parts, fewest=fewest, people_n=np.arange(n) if people is None else people, where="t")[0]


SEX, RACE = np.repeat([0, 1], 400), np.tile(np.repeat([0, 1, 2, 3], [5, 25, 120, 250]), 2)


def sex_and_race() -> tuple[Attribute, Attribute]:
    return part("sex", SEX, "Female", "Male"), part("race", RACE, "A", "B", "C", "D")


def test_its_groups_are_the_combinations_and_small_ones_are_left_out() -> None:
    made, notes = cross(sex_and_race(), fewest=30, people_n=np.arange(800), where="t")
    assert (made.name, made.role, made.columns) == ("sex and race", "intersection", ("sex", "race"))
    assert made.levels == ("Female and C", "Female and D", "Male and C", "Male and D")
    assert np.bincount(np.asarray(made.codes) + 1).tolist() == [60, 120, 250, 120, 250]
    (rare,) = [note for note in notes if "rare combinations" in note.what]
    assert "take no part" in rare.why
    assert made.describe()["of"] == ["sex", "race"]


def test_a_group_needs_eleven_people_whatever_its_rows() -> None:
    people = np.where((SEX == 0) & (RACE == 2), np.arange(800) % 10, np.arange(800) + 100)
    assert crossed(*sex_and_race(), people=people).levels == ("Female and D", "Male and C", "Male and D")


def test_the_rows_of_another_table_are_coded_alike() -> None:
    made = crossed(*sex_and_race())
    frame = pd.DataFrame({"sex": ["Male", "Female", None, "Female", "Other"], "race": ["C", "D", "C", "A", "C"]})
    assert codes_in(made, frame, where="t").tolist() == [2, 1, -1, -1, -1]


def test_levels_that_would_read_alike_are_named_with_their_attributes() -> None:
    codes = np.arange(800)
    one, other = part("a", codes % 2, "x and y", "x"), part("b", codes // 2 % 2, "z", "y and z")
    assert len(set(crossed(one, other).levels)) == 4
    assert crossed(one, other).levels[0] == "a: x and y and b: z"


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ([("sex", "rcae")], "did you mean 'race'"),
        ([("sex", "sex")], "two different attributes"),
        ([("sex",)], "two different attributes"),
        ([("sex", "race"), ("race", "sex")], "given twice"),
        ([("sex", "age")], "is called 'sex and age'"),
    ],
)
def test_mistakes_are_told(wanted: list[tuple[str, ...]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_intersections(wanted, ("sex", "race", "age"), ("sex", "race", "age", "sex and age"))


def test_a_number_and_too_few_people_are_refused() -> None:
    number = replace(part("age", SEX), kind="continuous", levels=(), codes=np.arange(800.0))
    with pytest.raises(InputError, match=r"'age' is a number.*bands: \{age:"):
        crossed(part("sex", SEX, "f", "m"), number)
    with pytest.raises(InputError, match="fewer than two groups of 500"):
        crossed(*sex_and_race(), fewest=500)
    assert intersection_name(["sex", "race", "age"]) == "sex, race and age"


@pytest.mark.parametrize(
    ("wanted", "message"), [(["sex", "race"], "a list of its own"), ([["sex"]], "two to four"), ([list("abcde")], "two to four")]
)
def test_a_recipe_says_it_as_a_list_of_lists(wanted: Any, message: str) -> None:
    data = {"path": "t.csv", "target": "y", "protected": ["sex", "race"], "intersections": wanted}
    with pytest.raises(InputError, match=message):
        parse_recipe({"name": "t", "data": data, "regimes": ["real"], "model": {"kind": "mlp"}})


def people_table(tmp_path: Path) -> Path:
    rng, n = np.random.default_rng(0), 1200
    table = pd.DataFrame({"sex": rng.choice(["f", "m"], n), "race": rng.choice(["x", "y", "z"], n), "x1": rng.normal(size=n)})
    table["x2"], table["y"] = rng.normal(size=n), rng.choice(["no", "yes"], n)
    table.to_csv(tmp_path / "people.csv", index=False)
    return tmp_path / "people.csv"


def test_a_recipe_declares_it_and_it_stands_between_protected_attributes_and_proxies(tmp_path: Path) -> None:
    data = {"path": people_table(tmp_path).name, "target": "y", "protected": ["sex", "race"], "proxies": ["x1"]}
    document: dict[str, Any] = {"name": "t", "data": data, "regimes": ["real"], "model": {"kind": "mlp"}}
    plain = load_dataset(parse_recipe(document), tmp_path)
    asked = parse_recipe({**document, "data": {**data, "intersections": [["sex", "race"]]}})
    dataset = load_dataset(asked, tmp_path)
    assert [a.name for a in dataset.attributes] == ["sex", "race", "sex and race", "x1"]
    assert dataset.protected == ("sex", "race")
    assert dataset.synthesis_columns(sees_protected=True) == plain.synthesis_columns(sees_protected=True)
    assert "intersections" not in parse_recipe(document).published()["data"]
    with pytest.raises(InputError, match=r"data\.intersections"):
        load_dataset(parse_recipe({**document, "data": {**data, "intersections": [["sex", "x1"]]}}), tmp_path)


def test_probe_asks_it_too() -> None:
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"sex": np.where(SEX == 0, "f", "m"), "race": np.array(list("ABCD"))[RACE]})
    acts = {"real": {"layer": rng.normal(size=(800, 6))}}
    found = make_inputs(acts, table, ProbeRequest(("sex", "race"), intersections=(("sex", "race"),)))
    assert [a.name for a in found.attributes] == ["sex", "race", "sex and race"]
    assert len(found.attributes[2].levels) == 6, "eleven rows make a group of a probe"
    with pytest.raises(InputError, match="--intersection"):
        make_inputs(acts, table, ProbeRequest(("sex",), intersections=(("sex", "race"),)))


def test_it_takes_no_power_from_protected_attributes() -> None:
    """Their corrected p-values are the same beside none and beside twenty intersections."""
    own = [estimate("linear", 0.05, "present", attribute="sex", p_present=0.004), estimate("used", 0.05, "present", p_present=0.01)]
    own = [one.model_copy(update={"id": f"P{k}", "attribute": "sex"}) for k, one in enumerate(own)]
    more = [own[0].model_copy(update={"id": f"I{k}", "attribute": f"sex and {k}", "p_present": 0.03}) for k in range(20)]
    roles: Any = {"sex": "protected", **{f"sex and {k}": "intersection" for k in range(20)}}
    alone, beside = corrected(own, roles), corrected([*own, *more], roles)
    assert alone == {name: beside[name] for name in alone}
    assert beside["I0"] > 0.03, "intersections are corrected among themselves"


def test_a_gate_judges_intersections_unless_it_names_attributes() -> None:
    found = [finding("removed"), finding("exposed").model_copy(update={"attribute": "sex and race", "role": "intersection"})]
    pack = small_pack([estimate("linear", 0.0, "absent"), estimate("linear", 0.2, "present", attribute="sex and race")], found)
    roles = [{"name": f.attribute, "role": f.role, "kind": "binary", "levels": []} for f in found]
    pack = replace(pack, plan={**pack.plan, "attributes": roles})
    regimes = {"regimes": "all"}
    assert {(case.attribute, case.outcome) for case in gate(pack, parse_policy(regimes)).cases} >= {("sex and race", "fail")}
    named = gate(pack, parse_policy({**regimes, "attributes": [found[0].attribute]}))
    assert {case.attribute for case in named.cases} == {found[0].attribute}
    assert "intersections that were not judged: sex and race" in " ".join(named.notes)


def rates(attributes: tuple[Attribute, ...], chosen: list[Any], labels: Any = None) -> list[Estimate]:
    measured = tuple(Measurement({}, {"outputs": np.where(one, 0.9, 0.1)[:, None]}) for one in chosen)
    more = {} if labels is None else {"labels_n": labels}
    given: Facts = facts_of(attributes, (Run("real", measured),), {}, selection=Selection(threshold=0.5), **more)
    return list(decide_ledger(selection(given)).estimates)


def test_rates_of_combinations_are_those_of_fairlearn() -> None:
    metrics = pytest.importorskip("fairlearn.metrics", reason="fairlearn is not installed")
    rng, sex, race = np.random.default_rng(2), np.arange(4000) % 2, np.arange(4000) // 2 % 2
    labels, chosen = rng.integers(0, 2, 4000), rng.random(4000) < 0.2 + 0.2 * sex + 0.2 * race
    own = (part("sex", sex, "f", "m"), part("race", race, "x", "y"))
    measured = (Measurement({}, {"outputs": np.where(chosen, 0.9, 0.1)[:, None]}),)
    asked = {"selection": Selection(threshold=0.5), "labels_n": labels}
    drafts = selection(facts_of((*own, crossed(*own)), (Run("real", measured),), {}, **asked)).numbers
    features = pd.DataFrame({"sex": np.array(["f", "m"])[sex], "race": np.array(["x", "y"])[race]})
    for measure in ("selection_rate", "true_positive_rate", "false_positive_rate"):
        frame = metrics.MetricFrame(metrics=getattr(metrics, measure), y_true=labels, y_pred=chosen, sensitive_features=features)
        theirs = {" and ".join(names): value for names, value in frame.by_group.to_dict().items()}
        mine = {d.group: d.measured.value for d in drafts if (d.attribute, d.measure) == ("sex and race", measure) and d.measured}
        assert mine == pytest.approx(theirs)
    for measure in ("equal_opportunity_ratio", "equalized_odds_ratio", "demographic_parity_ratio"):
        (draft,) = [d for d in drafts if (d.attribute, d.measure) == ("sex and race", measure)]
        assert draft.measured is not None
        assert draft.measured.value == pytest.approx(getattr(metrics, measure)(labels, chosen, sensitive_features=features)), measure


def subsets(cells: list[int]) -> Iterator[tuple[int, ...]]:
    return chain.from_iterable(combinations(cells, size) for size in range(1, len(cells) + 1))


@pytest.mark.parametrize("seed", range(12))
def test_no_sum_of_few_people_follows_from_what_is_told(seed: int) -> None:
    """Of every set of untold combinations: where its total is a combination of published ones, at least eleven are selected, or are not.

    The attack solves the published equations by itself, from the drafts; ``hidden_cells`` is not asked.
    """
    rng = np.random.default_rng(seed)
    n = 1500
    sex, race = rng.integers(0, 2, n), rng.choice(4, n, p=[0.04, 0.08, 0.28, 0.6])
    chosen = rng.random(n) < np.array([[0.05, 0.3, 0.2, 0.4], [0.2, 0.1, 0.4, 0.5]])[sex, race]
    own = (part("sex", sex, "f", "m"), part("race", race, "A", "B", "C", "D"))
    made = crossed(*own)
    told = {(e.attribute, e.group) for e in rates((*own, made), [chosen]) if e.measure == "selection_rate" and e.value is not None}
    cells = [(s, r) for s in range(2) for r in range(4)]
    names = {code: made.cells[code] for code in range(len(made.levels))}
    lines = [[own[0].levels[s] == g for s, _ in cells] for a, g in told if a == "sex"]
    lines += [[own[1].levels[r] == g for _, r in cells] for a, g in told if a == "race"]
    lines += [[names[made.levels.index(str(g))] == cell for cell in cells] for a, g in told if a == "sex and race"]
    known = np.array(lines, dtype=float).reshape(len(lines), len(cells))
    yes = np.array([int((chosen & (sex == s) & (race == r)).sum()) for s, r in cells])
    people = np.array([int(((sex == s) & (race == r)).sum()) for s, r in cells])
    for some in subsets(list(range(len(cells)))):
        one = np.isin(np.arange(len(cells)), some).astype(float)
        solved = np.linalg.lstsq(known.T, one, rcond=None)[0] if len(known) else np.zeros(0)
        if len(known) and np.allclose(known.T @ solved, one, atol=1e-8):
            assert min(yes[list(some)].sum(), (people - yes)[list(some)].sum()) >= 11, (some, told)
    assert ("sex", "m") in told


def test_what_is_hidden_has_an_interval_that_says_nothing_and_what_is_told_has_its_number() -> None:
    sex, race = np.repeat([0, 1], 1000), np.tile(np.repeat([0, 1, 2], [60, 140, 800]), 2)
    inside = np.concatenate([np.arange(n) for n in (60, 140, 800, 60, 140, 800)])
    chosen = inside < np.array([[4, 60, 300], [30, 70, 400]])[sex, race]
    own = (part("sex", sex, "f", "m"), part("race", race, "A", "B", "C"))
    found = {e.group: e for e in rates((*own, crossed(*own)), [chosen]) if (e.attribute, e.measure) == ("sex and race", "selection_rate")}
    assert {group for group, e in found.items() if e.value is not None} == {"f and C", "m and C"}
    assert (found["m and A"].low, found["m and A"].high) == (0.0, 1.0)
    assert found["m and A"].reason is not None
    assert found["f and C"].value == pytest.approx(300 / 800, abs=0.005)


def test_nothing_is_hidden_where_nobody_is_few() -> None:
    sex, race, rng = np.arange(4000) % 2, np.arange(4000) // 2 % 3, np.random.default_rng(3)
    cells = 3 * sex + race
    assert hidden_cells(cells, [sex, race], [rng.random(4000) < 0.5], np.arange(4000), 11) == (frozenset(), False)
    lone = np.where(cells == 0, np.arange(4000) < 30, rng.random(4000) < 0.5)
    hidden, outside = hidden_cells(cells, [sex, race], [lone], np.arange(4000), 11)
    assert (len(hidden), outside) == (4, False), "a cell, one beside it in its row and in its column, and their corner"


def test_local_law_144_takes_ratios_of_an_intersection_for_its_second_half() -> None:
    more: dict[str, Any] = {"measure": "impact_ratio", "group": "a", "subject": "b", "margin": None, "attribute": "sex and race"}
    found = [finding("exposed"), finding("exposed").model_copy(update={"attribute": "sex and race", "role": "intersection"})]
    pack = small_pack([estimate("expressed", 0.1, "present"), estimate("selection", 0.7, "absent", **more)], found)
    (told,) = claims(replace(pack, environment={"started": "2026-11-30T05:51:58+00:00"}), [find_framework("nyc-local-law-144")])
    (clause,) = told.clauses
    assert [one.evidence_for for one in clause.supported] == ["calculating impact ratios of groups of intersections"]
