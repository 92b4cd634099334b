"""All mistakes of a recipe, and of what overrides it, are told in one message, each once."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from proxyaudit.data.dataset import load_dataset
from proxyaudit.data.sources import load_card
from proxyaudit.errors import InputError
from proxyaudit.gating.policy import load_policy
from proxyaudit.recipe.recipe import load_recipe, parse_recipe

PLAIN: dict[str, Any] = {
    "name": "t",
    "data": {"path": "p.csv", "target": "y", "protected": ["s"]},
    "regimes": ["real"],
    "model": {"kind": "mlp"},
}


def refused(**change: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        parse_recipe({**PLAIN, **change}, where="r.yaml")
    return caught.value


@pytest.mark.parametrize(
    ("change", "places"),
    [
        ({"sead": 1, "effort": "fast", "seeds": "many"}, {"sead", "effort", "seeds"}),
        ({"model": {"kind": "mlp", "epochs": "x", "hiden": 3}, "margins": {"leak": 3}}, {"model.epochs", "model.hiden", "margins.leak"}),
        ({"regimes": ["reel", {"synthetic": {"sdv": "tvae", "epoch": 2}}]}, {"regimes.0", "regimes.1.synthetic.epoch"}),
        ({"model": {"kind": "mlpp"}, "seeds": {"tabels": 1, "models": 0}}, {"model.kind", "seeds.tabels", "seeds.models"}),
        (
            {"data": {"path": 1, "target": "y", "protected": ["s"], "bands": {"a": "x", "b": [3, 2]}}},
            {"data.path", "data.bands.a", "data.bands.b"},
        ),
        ({"values": {"missing": [None]}, "sites": {"profile": [1, 2]}}, {"values.missing.0", "sites.profile.0", "sites.profile.1"}),
    ],
)
def test_every_mistake_is_named_in_one_message(change: dict[str, Any], places: set[str]) -> None:
    error = refused(**change)
    assert str(error).startswith(f"{len(places)} faults: (1) ")
    assert "\n" not in str(error)
    assert {one.where for one in error.each} == {f"r.yaml: {place}" for place in places}
    assert set(re.findall(r" \[([\w.]+)\]", str(error))) == places | {"r.yaml"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"circuits": 3}, "should be a mapping of keys to values (given: '3') [r.yaml: circuits]"),
        ({"circuits": {"foo": 1}}, "unknown key 'foo' [r.yaml: circuits.foo]"),
        ({"data": {**PLAIN["data"], "target_threshold": "abc"}}, "(given: 'abc') [r.yaml: data.target_threshold]"),
        (
            {"model": {"kind": "huggingface", "path": "x", "head": {"pth": 3}}},
            "unknown key 'pth' [r.yaml: model.head.pth]; did you mean 'path'?",
        ),
        (
            {"regimes": [{"mixed": {"of": "b", "ratios": [2]}}]},
            "input should be less than 1 (given: '2') [r.yaml: regimes.0.mixed.ratios.0]",
        ),
        ({"values": {"missing": [None]}}, "YAML reads null, yes, no, on and off as no text"),
    ],
)
def test_one_mistake_is_one_whatever_follows_from_it(change: dict[str, Any], words: str) -> None:
    error = refused(**change)
    assert error.each == ()
    assert words in str(error)


def test_a_misspelt_key_is_not_told_as_missing_too() -> None:
    document = {("nam" if key == "name" else key): value for key, value in PLAIN.items()}
    with pytest.raises(InputError, match=r"^unknown key 'nam' \[r.yaml: nam\]; did you mean 'name'\?$"):
        parse_recipe(document, where="r.yaml")
    with pytest.raises(InputError, match=r"^2 faults: .*'name' is missing.*'data' is missing"):
        parse_recipe({"regimes": ["real"], "model": {"kind": "mlp"}})


def test_many_mistakes_are_counted_and_what_mends_them_is_said_once() -> None:
    text = str(refused(**{f"key{i}": 1 for i in range(30)}))
    assert text.startswith("30 faults: ")
    assert "(20) " in text
    assert "(21) " not in text
    assert text.endswith("And 10 more. [r.yaml]; mend each of them")
    assert text.count("known keys here") == 1


@pytest.mark.parametrize(
    ("change", "overrides", "told"),
    [
        ({}, ("seeds=x", "effort=fast"), ("--set seeds=x", "--set effort=fast")),
        ({"sead": 1}, ("effort=fast",), ("r.yaml: sead", "--set effort=fast")),
        ({"sead": 1, "seeds": "x"}, ("seeds=2",), ("r.yaml: sead",)),
        ({}, ("seeds=2", "effort=fast", "effort=quick"), ("--set effort=quick",)),
        ({}, ("data.pool.a=[mean]",), ("--set data.pool.a=[mean]",)),
    ],
)
def test_mistakes_of_file_and_overrides_are_told_together(
    tmp_path: Path, change: dict[str, Any], overrides: tuple[str, ...], told: tuple[str, ...]
) -> None:
    (tmp_path / "r.yaml").write_text(json.dumps({**PLAIN, **change}))
    with pytest.raises(InputError) as caught:
        load_recipe(tmp_path / "r.yaml", overrides)
    found = [one.where.removeprefix(f"{tmp_path}/") for one in caught.value.each or (caught.value,)]
    assert found == list(told)
    assert all(f"[{where.removeprefix('r.yaml: ')}]" in str(caught.value) or where in str(caught.value) for where in told)


def test_a_later_override_may_complete_an_earlier_one(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(json.dumps(PLAIN))
    assert load_recipe(tmp_path / "r.yaml", ("data.pool.a=[mean]", "data.order=day")).data.order == "day"


def test_policies_and_cards_tell_all_their_mistakes_too(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("{alow: [removed], margins: {leak: 7}, inconclusive: never}")
    with pytest.raises(InputError, match=r"3 faults: .*'alow'.*margins.leak.*inconclusive|3 faults: .*'alow'.*inconclusive.*margins.leak"):
        load_policy(tmp_path / "p.yaml")
    (tmp_path / "c.yaml").write_text("{protectd: [a], targt: y}")
    with pytest.raises(InputError, match=r"faults: .*'protectd'.*'targt'"):
        load_card(tmp_path / "c.yaml")


@pytest.mark.parametrize(
    ("data", "regimes", "lacking"),
    [
        ({"holdout": "h.csv"}, [], ["data.path", "data.holdout"]),
        ({}, [{"synthetic": {"name": "v", "path": "v.csv"}}], ["data.path", "release v"]),
        (
            {"path": "real.csv", "metadata": "m.json"},
            [{"name": "c", "checkpoints": ["0.safetensors"]}],
            ["data.metadata", "checkpoint of regime 'c'"],
        ),
        (
            {"path": "real.csv", "join": [{"path": "j.csv", "key": "k", "columns": {"a": ["mean"]}}], "holdout": "h.csv"},
            [],
            ["data.holdout", "data.join"],
        ),
        ({"path": "real.csv", "holdout": "h.csv"}, [], ["data.holdout"]),
    ],
)
def test_all_files_that_are_not_there_are_named(tmp_path: Path, data: dict[str, Any], regimes: list[Any], lacking: list[str]) -> None:
    (tmp_path / "real.csv").write_text("s,y\na,b\n")
    recipe = parse_recipe({**PLAIN, "data": {**PLAIN["data"], **data}, "regimes": ["real", *regimes]})
    with pytest.raises(InputError) as caught:
        load_dataset(recipe, tmp_path)
    found = [one.what for one in caught.value.each or (caught.value,)]
    assert found == [f"{what}: no such file" for what in lacking]
    assert "paths are relative to the recipe's folder" in str(caught.value)
