"""Arguments in one another's place, truth values where numbers stand, and paths: one line each that says what was meant, and where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from released_packs import bytes_only

import proxyaudit as pa
from proxyaudit.audits.again import carry_factory, rewrite_paths
from proxyaudit.audits.probe.run import as_regimes
from proxyaudit.cli.main import main
from proxyaudit.data.tables import resolve_path
from proxyaudit.errors import InputError, located
from proxyaudit.evidence.pack import write_pack
from proxyaudit.gating.policy import parse_policy
from proxyaudit.models.kinds.module import ModuleSpec
from proxyaudit.recipe.recipe import parse_recipe
from tests.unit.small_packs import estimate, finding, small_pack

PACK = small_pack([estimate("linear", 0.001, "absent"), estimate("expressed", 0.01, "absent")], [finding("removed")])
ACTS = np.zeros((200, 2))
RECIPE = "name: a\ndata: {path: a.csv, target: y, protected: [s]}\nregimes: [real]\nmodel: {kind: mlp}\n"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return tmp_path / "recipe.yaml"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run made up of a few numbers, in a folder of its own below that of the recipe."""
    bytes_only(monkeypatch)
    write_pack(PACK, tmp_path / "reports" / "run", reports={"report.html": "", "report.md": ""})
    return tmp_path / "reports" / "run"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["gate", "RECIPE"], "a policy is named with --policy"),
        (["gate", "RECIPE", "--policy", "RUN"], "this is a YAML file, not a run"),
        (["gate", "RUN", "--policy", "RUN"], "'gate RUN --policy FILE'"),
        (["compare", "RECIPE", "RUN"], "a recipe is run first"),
        (["compare", "RUN", "RECIPE"], "a recipe is run first"),
        (["compare", "RUN", "RUN", "--change", "nope"], "no such folder [--change nope]"),
        (["compare", "RUN", "RUN", "--change", "RUN"], "no folder of 'mitigate' or 'cure'"),
        (["report", "RECIPE"], "a recipe is run first"),
        (["verify", "RECIPE"], "a recipe is run first"),
        (["run", "RUN"], "this is a folder, not a YAML file"),
        (["plan", "RUN"], "this is a folder, not a YAML file"),
    ],
)
def test_arguments_in_one_anothers_place(command, said, recipe, run, capsys):
    assert main([{"RECIPE": str(recipe), "RUN": str(run)}.get(word, word) for word in command]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("what", "where", "mend", "line"),
    [
        ("no such file", "/a/b.csv", "check it", "no such file [/a/b.csv]; check it"),
        ("no table", "/a/b.csv, /a/b.csv", "check it", "no table [/a/b.csv]; check it"),
        ("2 runs", "/a/b", "name one, e.g. /a/b/c", "2 runs; name one, e.g. /a/b/c"),
        ("'/a/b' is a link", "/a/b", "", "'/a/b' is a link"),
        ("unknown", "--cure", "name one with --cure", "unknown [--cure]; name one with --cure"),
    ],
)
def test_a_path_is_told_once(what, where, mend, line):
    error = InputError(what, where=where, mend=mend)
    assert str(error) == line
    assert error.where == where


def test_a_problem_that_names_its_path_is_not_located_again():
    assert located("a.json is damaged [/r/1]", Path("/r/1")) == "a.json is damaged [/r/1]"
    assert located("a.json is damaged", Path("/r/1")) == "a.json is damaged [/r/1]"


@pytest.mark.parametrize(
    "text",
    [
        "selection: {impact_ratio: yes}",
        "bound: {linear: on}",
        "margins: {leak: true}",
        "rules: [{attributes: [s], bound: {nonlinear: yes}}]",
    ],
)
def test_truth_values_are_no_numbers_in_policies(text):
    with pytest.raises(InputError, match="a number is needed here, not a truth value"):
        parse_policy(yaml.safe_load(text))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("margins", {"leak": True}),
        ("seeds", True),
        ("seed", False),
        ("selection", {"threshold": True}),
        ("circuits", {"share": True}),
        ("data", {"path": "a.csv", "target": "y", "protected": ["s"], "memory": True}),
        ("data", {"path": "a.csv", "target": "y", "protected": ["s"], "target_threshold": True}),
        ("regimes", ["real", {"mixed": {"of": "real", "ratios": [True]}}]),
        ("model", {"kind": "mlp", "dropout": False}),
        ("model", {"kind": "mlp", "hidden": [True, 4]}),
    ],
)
def test_truth_values_are_no_numbers_in_recipes(key, value):
    with pytest.raises(InputError, match="a number is needed here, not a truth value"):
        parse_recipe({**yaml.safe_load(RECIPE), key: value})


@pytest.mark.parametrize("text", ["sealed: true", "sealed: false", "allow: [removed]"])
def test_truth_values_stay_where_they_are_asked_for(text):
    assert parse_policy(yaml.safe_load(text))


def test_a_written_recipe_names_files_from_its_own_folder(tmp_path, monkeypatch):
    (tmp_path / "people.csv").write_text("a\n1\n", encoding="utf-8")
    (tmp_path / "nets.py").write_text("def make(n): ...\n", encoding="utf-8")
    (folder := tmp_path / "reports" / "a-cured" / "1f3a").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    recipe = {"data": {"path": "people.csv", "join": [{"path": "people.csv"}]}, "model": {"factory": "nets.py:make"}}
    rewrite_paths(recipe["data"], tmp_path, folder)
    carry_factory(recipe, ModuleSpec(kind="module", factory="nets.py:make"), tmp_path, folder, "cured.yaml")
    there = "../../../people.csv"
    assert recipe == {"data": {"path": there, "join": [{"path": there}]}, "model": {"factory": "nets.py:make"}}
    assert resolve_path(recipe["data"]["path"], base=folder, what="data.path").samefile(tmp_path / "people.csv")
    assert (folder / "nets.py").is_file()
    monkeypatch.chdir(folder)
    rewrite_paths(away := {"path": "people.csv"}, tmp_path, folder)
    assert away == {"path": str((tmp_path / "people.csv").resolve())}


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (ACTS, {"model": ["activations"]}),
        ({"a": ACTS, "b": ACTS}, {"model": ["a", "b"]}),
        ({"real": {"a": ACTS}}, {"real": ["a"]}),
    ],
)
def test_one_array_and_arrays_by_site_are_one_regime(given, taken):
    found = as_regimes(given)
    assert {regime: list(sites) for regime, sites in found.items()} == taken
    assert all(values is ACTS for sites in found.values() for values in sites.values())


@pytest.mark.parametrize("given", [None, {}, [[1.0]], "acts.npy", {"a": ACTS, "b": {"c": ACTS}}, {"a": [[1.0]]}])
def test_anything_else_is_one_line(given):
    with pytest.raises(InputError, match=r"no activations were given|no mapping of regimes"):
        pa.probe(given, {"sex": np.resize(["f", "m"], 200)}, attributes="sex")


def test_an_array_of_another_shape_is_one_line():
    with pytest.raises(InputError, match=r"shape \(200,\), not \(rows, dimensions\)"):
        pa.probe(np.zeros(200), {"sex": np.resize(["f", "m"], 200)}, attributes="sex")
