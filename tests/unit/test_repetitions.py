"""The recipe's ``seeds``: a number, or tables crossed with models; which repetition has which table and model; when there are more."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest

from proxyaudit.errors import InputError
from proxyaudit.estimates.advice import settled_by_models
from proxyaudit.estimates.numbers import Numbers
from proxyaudit.estimates.remedies import lacks_models
from proxyaudit.estimates.scope import Scope
from proxyaudit.recipe.recipe import Recipe, parse_recipe
from proxyaudit.recipe.repetitions import Design, SeedsSpec, design_of
from proxyaudit.regimes import Repetitions, lone_tables, make_regimes
from proxyaudit.reporting.facts import look_words, repetition_words
from proxyaudit.types import Estimate

DATA = {"path": "t.csv", "target": "y", "protected": ["sex"]}
COPULA = {"synthetic": {"sdv": "gaussian_copula"}}
REGIMES = ["real", COPULA, {"synthetic": {"name": "vendor", "path": "v.csv"}}, {"mixed": {"of": "gaussian_copula", "ratios": [0.5]}}]


def recipe(seeds: Any, regimes: list[Any] | None = None, **more: Any) -> Recipe:
    return parse_recipe({"name": "t", "data": DATA, "regimes": regimes or REGIMES, "model": {"kind": "mlp"}, "seeds": seeds, **more})


def repetitions(seeds: Any, regimes: list[Any] | None = None, **more: Any) -> Repetitions:
    asked = recipe(seeds, regimes, **more)
    return Repetitions.planned(asked, make_regimes(asked, Path()))


# The recipe --------------------------------------------------------------------------------------------------------


def test_seeds_are_a_number_or_a_mapping() -> None:
    assert recipe(3).seeds == 3
    assert recipe({}).seeds == SeedsSpec(tables=3, models=3)
    for seeds in (4, {"tables": 2, "models": 5, "up_to": 40}):
        asked = recipe(seeds)
        assert asked.model_dump(mode="json", exclude_none=True)["seeds"] == seeds
        assert Recipe.model_validate_json(asked.model_dump_json()) == asked


@pytest.mark.parametrize(
    ("seeds", "where", "what"),
    [
        (0, "seeds", "greater than or equal to 1"),
        (101, "seeds", "less than or equal to 100"),
        (True, "seeds", "a number is needed"),
        ("3", "seeds", "valid integer"),
        (2.5, "seeds", "valid integer"),
        ([3, 3], "seeds", "valid integer"),
        ({"tabels": 3}, "seeds.tabels", "unknown key 'tabels'"),
        ({"tables": 0}, "seeds.tables", "greater than or equal to 1"),
        ({"models": True}, "seeds.models", "a number is needed"),
        ({"up_to": 4}, "seeds", "'up_to' is 4, and 3 tables with 3 models each are 9 models already"),
        ({"tables": 100, "models": 100}, "seeds", "more than 1000"),
    ],
)
def test_mistakes_in_seeds_are_told_in_one_line(seeds: Any, where: str, what: str) -> None:
    with pytest.raises(InputError) as error:
        recipe(seeds)
    assert str(error.value.where).endswith(f": {where}")
    assert what in error.value.what
    assert "~" not in str(error.value)


def test_checkpoints_may_be_as_many_as_repetitions_at_most() -> None:
    given = [{"name": "given", "checkpoints": [f"{k}.safetensors" for k in range(5)]}]
    assert recipe({"tables": 1, "models": 3, "up_to": 6}, given).seeds
    with pytest.raises(InputError, match="lists 5 checkpoints for 4 seeds"):
        recipe({"tables": 2, "models": 2}, given)


# Which repetition has which table and model ------------------------------------------------------------------------


def test_a_number_gives_every_repetition_a_table_and_a_model_of_its_own() -> None:
    for makes_tables in (True, False):
        design = design_of(5, makes_tables=makes_tables)
        assert design == Design((5,))
        assert [design.place(k) for k in range(5)] == [(k, k) for k in range(5)]
        assert [design.key(k) for k in range(5)] == [(k,) for k in range(5)]
        assert all(design.is_first_of_table(k) for k in range(5))


@pytest.mark.parametrize(("tables", "models", "up_to"), [(3, 3, None), (3, 3, 12), (2, 4, 27), (4, 2, 100), (1, 3, 7), (5, 3, 44)])
def test_every_model_is_trained_on_every_table_at_every_look(tables: int, models: int, up_to: int | None) -> None:
    design = design_of(SeedsSpec(tables=tables, models=models, up_to=up_to), makes_tables=True)
    for count in design.looks:
        whole = set(product(range(count // models), range(models)))
        assert len(design.places[:count]) == count
        assert set(design.places[:count]) == whole
    assert design.looks[0] == tables * models
    assert design.looks[-1] == ((up_to or tables * models) // models) * models
    assert all(b <= 2 * a for a, b in zip(design.looks, design.looks[1:], strict=False))
    # What is asked of the first few alone is asked of tables and models of their own.
    first = design.places[: min(tables, models)]
    assert len({t for t, _ in first}) == len({m for _, m in first}) == len(first)
    # How far it may go does not change what is done before.
    fixed = design_of(SeedsSpec(tables=tables, models=models), makes_tables=True)
    assert design.places[: fixed.looks[0]] == fixed.places


def test_rows_that_are_given_have_models_only() -> None:
    design = design_of(SeedsSpec(tables=3, models=3, up_to=12), makes_tables=False)
    assert design.looks == (3, 6, 12)
    assert not design.crossed
    # The same training as where 'seeds' is a number: the cache knows it.
    assert [design.key(k) for k in range(3)] == [design_of(3, makes_tables=False).key(k) for k in range(3)]
    assert [design.is_first_of_table(k) for k in range(3)] == [True, False, False]


def test_one_model_for_each_table_is_what_a_number_says() -> None:
    assert design_of(SeedsSpec(tables=4, models=1), makes_tables=True) == design_of(4, makes_tables=True)


def test_regimes_have_tables_where_a_synthesizer_makes_them() -> None:
    found = repetitions({"tables": 3, "models": 2})
    counts = {name: found.of(name) for name in found.designs}
    mixed = "mixed-gaussian_copula-0.5"
    assert counts == {"real": 2, "gaussian_copula": 6, "vendor": 2, mixed: 6, "untrained": 2, "reweighed": 1}
    assert found.tables_of("gaussian_copula") == [0, 1, 2]
    assert set(found.resting_on("gaussian_copula", 1)) == {
        (name, k) for name in ("gaussian_copula", mixed) for k in range(6) if found.designs[name].place(k)[0] == 1
    }
    assert repetitions({"tables": 3, "models": 2}, effort="everything").of("reweighed") == 2


def test_one_table_is_told_to_be_one() -> None:
    asked = recipe({"tables": 1, "models": 3})
    (note,) = lone_tables(asked, make_regimes(asked, Path()))
    assert "gaussian_copula" in note.what
    for seeds in (3, {"tables": 2, "models": 3}, {"tables": 1, "models": 3, "up_to": 6}):
        other = recipe(seeds)
        assert lone_tables(other, make_regimes(other, Path())) == []
    alone = recipe({"tables": 1, "models": 3}, ["real"])
    assert lone_tables(alone, make_regimes(alone, Path())) == []


# When there are more -----------------------------------------------------------------------------------------------


def test_wanted_regimes_go_on_to_their_next_look_and_no_others() -> None:
    found = repetitions({"tables": 2, "models": 2, "up_to": 8})
    assert found.looks()["gaussian_copula"] == 2
    assert found.looks()["real"] == 3
    more = found.next_look(["gaussian_copula"])
    assert more is not None
    assert (more.of("gaussian_copula"), more.of("real"), more.tables_of("gaussian_copula")) == (8, 2, [0, 1, 2, 3])
    assert more.next_look(["gaussian_copula"]) is None  # that was its last
    again = more.next_look(["gaussian_copula", "real"])
    assert again is not None
    assert (again.of("gaussian_copula"), again.of("real")) == (8, 4)
    assert found.next_look([]) is None
    assert repetitions(3).next_look(["real"]) is None
    assert found.at_most().of("real") == 8
    # A mixture may rest on more tables than its synthesizer's own models.
    mixed = found.next_look(["mixed-gaussian_copula-0.5"])
    assert mixed is not None
    assert (mixed.of("gaussian_copula"), mixed.tables_of("gaussian_copula")) == (4, [0, 1, 2, 3])


def test_a_finished_run_is_taken_up_where_its_looks_ended() -> None:
    found = repetitions({"tables": 2, "models": 2, "up_to": 8}).as_done({"gaussian_copula": 8, "real": 3, "vendor": 2})
    assert (found.of("gaussian_copula"), found.of("real"), found.of("vendor")) == (8, 2, 2)
    assert repetitions(3).as_done({"real": 2}).of("real") == 3


def test_quantised_models_follow_the_trained_ones() -> None:
    found = repetitions({"tables": 1, "models": 2, "up_to": 4}, ["real", {"quantise": "int8", "of": "real"}])
    for wanted in ("real", "int8-real"):
        more = found.next_look([wanted])
        assert more is not None
        assert (more.of("real"), more.of("int8-real")) == (4, 4)


SCOPE = Scope("outputs", {"sex": "protected", "job": "proxy"}, ("real", "copula"), verdict_sites=("last",))
ABSENT = ("linear", "nonlinear", "beyond", "elsewhere", "expressed", "used", "relearned")


def numbers(*open_: tuple[str, str, str, str | None], failures: dict[str, tuple[str, ...]] | None = None) -> Numbers:
    """Everything is absent of both attributes in both regimes, but what is ``open_``: (attribute, regime, channel, remedy)."""
    made = []
    for attribute, regime, channel in product(SCOPE.roles, SCOPE.regimes, ABSENT):
        remedy = {(a, r, c): why for a, r, c, why in open_}.get((attribute, regime, channel), "absent")
        site = "last" if channel in ("linear", "nonlinear", "beyond") else None
        state: Any = {"state": "absent"} if remedy == "absent" else {"state": "unknown", "remedy": remedy, "reason": "it is so"}
        made.append(Estimate(id=f"E{len(made)}", channel=channel, attribute=attribute, regime=regime, site=site, value=0.0, **state))
    return Numbers(made, Scope(**{**vars(SCOPE), "failures": failures or {}}))


@pytest.mark.parametrize(
    ("open_", "wanted"),
    [
        ([], []),
        ([("sex", "copula", "used", "models")], ["copula"]),
        ([("sex", "copula", "used", "models"), ("sex", "copula", "expressed", "models")], ["copula"]),
        ([("sex", "copula", "used", "models"), ("sex", "real", "expressed", "models")], ["real", "copula"]),
        ([("sex", "copula", "used", "rows")], []),  # rows alone make a decision impossible
        ([("sex", "copula", "used", "models"), ("sex", "copula", "linear", "rows")], []),
        ([("sex", "copula", "used", "models"), ("sex", "copula", "linear", "nothing")], []),
        ([("sex", "copula", "used", None)], []),
        ([("job", "copula", "used", "models")], []),  # a proxy is not what the audit is about
    ],
)
def test_more_models_are_trained_only_where_they_are_all_that_a_verdict_waits_for(
    open_: list[tuple[str, str, str, str | None]], wanted: list[str]
) -> None:
    assert settled_by_models(numbers(*open_)) == wanted


def test_nothing_is_added_where_a_repetition_failed() -> None:
    open_ = ("sex", "copula", "used", "models")
    assert settled_by_models(numbers(open_, failures={"copula": ("it broke",)})) == []
    assert settled_by_models(numbers(open_, failures={"real": ("it broke",)})) == ["copula"]


def test_known_parts_of_the_variance_say_whether_models_are_lacking() -> None:
    fields: dict[str, Any] = {"measure": "effect", "margin": 0.02, "seed_values": (0.001, 0.004, 0.007), "seeds": 3}
    e = Estimate(id="E1", channel="used", attribute="sex", regime="r", value=0.004, low=-0.2, high=0.2, **fields)
    assert not lacks_models(e)  # three models: so wide an interval might be that of the rows
    assert lacks_models(e, (1e-6, 1e-4))
    assert not lacks_models(e, (1e-4, 1e-6))
    assert not lacks_models(e, (4e-5, 1e-4))  # a single model is not surely below


# What people are told ----------------------------------------------------------------------------------------------


def test_the_design_in_words() -> None:
    assert repetition_words({"seeds": 3}) == "3 per kind of training"
    crossed = repetition_words({"seeds": {"tables": 3, "models": 2}})
    assert crossed == "3 synthetic tables with 2 models each; 2 models where the rows are not made here"
    assert repetition_words({"seeds": {"tables": 1, "models": 1}}).startswith("1 synthetic table with 1 model;")
    found = repetitions({"tables": 2, "models": 2, "up_to": 8})
    plan = {"regimes": [{"name": r.name} for r in found.regimes if not r.is_reference], "repetitions": {"regimes": found.describe()}}
    told = look_words(plan)
    assert told.startswith("real and vendor: 2, 4 or 8 models; gaussian_copula and mixed-gaussian_copula-0.5: 4 or 8 models; more only")
    assert look_words({"seeds": 3}) == ""
