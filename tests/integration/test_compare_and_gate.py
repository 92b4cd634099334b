"""compare and gate through the command line, on runs that the audit itself made: bare activations, and whole planted models."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from proxyaudit.cli.main import main
from proxyaudit.comparison import compare_packs
from proxyaudit.evidence.pack import read_pack
from proxyaudit.pipeline.run import run_audit
from proxyaudit.seeding import stream
from tests.integration.planted_versions import clean_model, int8, on_another_base, rng_of, uses_the_group, write_versions

pytestmark = pytest.mark.long

N, D, FEW = 2000, 6, 120


@dataclass(frozen=True)
class Runs:
    """Run folders by what was audited."""

    folders: dict[str, Path]

    def __getitem__(self, name: str) -> str:
        return str(self.folders[name])


def quantised(acts_nd: np.ndarray) -> np.ndarray:
    scale = np.abs(acts_nd).max(0) / 127
    return (np.round(acts_nd / scale) * scale).astype(np.float32)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("versions")
    rng = stream(0, "versions")
    sex = rng.permutation(np.arange(N) % 2)
    pd.DataFrame({"sex": np.where(sex, "m", "f"), "row": np.arange(N)}).to_csv(folder / "rows.csv", index=False)
    clean = rng.normal(size=(N, D)).astype(np.float32)
    told = clean.copy()
    told[:, 0] += 0.9 * sex
    turn = np.linalg.qr(rng.normal(size=(D, D)))[0].astype(np.float32)
    versions: dict[str, tuple[str, np.ndarray]] = {
        "base": ("layer", clean),
        "tuned": ("layer", told),
        "int8": ("layer", quantised(clean)),
        "int8-told": ("layer", quantised(told)),
        "swap": ("pooled", clean @ turn),
        "swap-told": ("pooled", told @ turn),
        "few": ("layer", clean[:FEW]),
    }
    pd.read_csv(folder / "rows.csv").head(FEW).to_csv(folder / "few.csv", index=False)
    found = {}
    for name, (site, values) in versions.items():
        save_file({site: np.ascontiguousarray(values)}, folder / f"{name}.safetensors")
        labels = folder / ("few.csv" if name == "few" else "rows.csv")
        arguments = ["--activations", f"model={folder / name}.safetensors", "--labels", str(labels), "--attribute", "sex", "--jobs", "1"]
        assert main(["probe", *arguments, "--name", name, "--out", str(folder / "out")]) == 0
        (manifest,) = (folder / "out" / name).glob("*/manifest.json")
        found[name] = manifest.parent
    return Runs(found)


@pytest.mark.parametrize(
    ("before", "after", "code", "words"),
    [
        ("base", "base", 0, "No change for the worse"),
        ("base", "tuned", 1, "Run B is worse than run A for 'sex'"),
        ("base", "int8", 0, "No change for the worse"),
        ("base", "int8-told", 1, "Run B is worse"),
        ("base", "swap", 0, "No change for the worse"),
        ("base", "swap-told", 1, "Run B is worse"),
        ("tuned", "int8-told", 0, "No change for the worse"),
        ("tuned", "swap-told", 0, "No change for the worse"),
        ("tuned", "base", 0, "Run B is better than run A for 'sex'"),
        ("base", "few", 3, "It cannot be told"),
    ],
)
def test_versions_of_a_model(runs, before, after, code, words, capsys):
    assert main(["compare", runs[before], runs[after]]) == code
    assert words in capsys.readouterr().out


def test_a_comparison_is_paired_on_the_same_rows_and_matches_sites_by_role(runs, tmp_path, capsys):
    assert main(["compare", runs["base"], runs["swap-told"], "--json", "--out", str(tmp_path / "cmp")]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["same_rows"] is True
    assert all(n["paired"] for n in said["numbers"] if n["difference"] is not None)
    assert {(n["site_a"], n["site_b"], n["matched_by"]) for n in said["numbers"]} == {("layer", "pooled", "role")}
    assert [n["channel"] for n in said["numbers"] if n["word"] == "worse"] == ["linear"]
    names = {"comparison.html", "comparison.md", "comparison.json"}
    assert {path.name for path in (tmp_path / "cmp").iterdir()} == names
    written = json.loads((tmp_path / "cmp" / "comparison.json").read_text(encoding="utf-8"))
    assert {**written, "files": said["files"]} == said
    kept = {name: (tmp_path / "cmp" / name).read_bytes() for name in names}
    assert main(["compare", runs["base"], runs["swap-told"], "--out", str(tmp_path / "cmp")]) == 1
    assert {name: (tmp_path / "cmp" / name).read_bytes() for name in names} == kept
    apart = compare_packs(read_pack(Path(runs["base"])), read_pack(Path(runs["few"])))
    assert not apart.same_rows
    assert not any(n.paired for n in apart.numbers)


@pytest.mark.parametrize(
    ("run", "policy", "code"),
    [
        ("base", None, 0),
        ("tuned", None, 1),
        ("few", None, 3),
        ("tuned", "allow: [exposed]", 0),
        ("base", "margins: {leak: 0.001}", 3),
        ("base", "alow: [removed]", 2),
        ("base", "attributes: [age]", 2),
    ],
)
def test_the_gate_answers_with_its_exit_code(runs, run, policy, code, tmp_path, capsys):
    arguments = ["gate", runs[run], "--json", "--junit", str(tmp_path / "gate.xml")]
    if policy is not None:
        (tmp_path / "policy.yaml").write_text(policy)
        arguments += ["--policy", str(tmp_path / "policy.yaml")]
    assert main(arguments) == code
    said = json.loads(capsys.readouterr().out)
    assert said["exit_code"] == code
    if code != 2:
        suite = ElementTree.parse(tmp_path / "gate.xml").getroot().find("testsuite")
        assert suite is not None
        counts = {int(suite.get(key, "")) for key in ("failures", "errors")}
        assert (counts == {0}) is (code == 0)


def test_a_baseline_lies_beside_the_policy(runs, tmp_path, capsys):
    shutil.copytree(runs["base"], tmp_path / "last")
    (tmp_path / "policy.yaml").write_text("allow: [removed, hidden, exposed]\nbaseline: last\n")
    assert main(["gate", runs["tuned"], "--policy", str(tmp_path / "policy.yaml")]) == 1
    assert main(["gate", runs["int8"], "--policy", str(tmp_path / "policy.yaml")]) == 0
    (tmp_path / "last" / "plan.json").write_text("{}")
    assert main(["gate", runs["int8"], "--policy", str(tmp_path / "policy.yaml")]) == 4
    (tmp_path / "policy.yaml").write_text("baseline: nowhere\n")
    assert main(["gate", runs["int8"], "--policy", str(tmp_path / "policy.yaml")]) == 2
    assert "nowhere" in capsys.readouterr().err


# Whole audits of planted models ------------------------------------------------------------------------------------


def codes(folder: Path, seed: int, *, n: int, checkpoints: int, versions: tuple[str, ...]) -> dict[str, Any]:
    """Exit code of each version against the base, and the comparison."""
    model = clean_model(seed, n=n, checkpoints=checkpoints)
    base = list(model.weights)
    told = [uses_the_group(model, weights) for weights in base]
    made = {
        "converted": base,
        "tuned": told,
        "int8": [int8(weights) for weights in base],
        "int8-told": [int8(weights) for weights in told],
        "swap": [on_another_base(weights, rng_of(seed)) for weights in base],
        "swap-told": [on_another_base(weights, rng_of(seed)) for weights in told],
    }
    packs = {}
    groups = {
        "base": {"planted": base, **{name: made[name] for name in versions if not name.startswith("swap")}},
        "other": {name: made[name] for name in versions if name.startswith("swap")},
    }
    for name, group in groups.items():
        if group:
            recipe = write_versions(folder / name, model, group, name=name, seed=seed)
            packs[name] = read_pack(run_audit(recipe, out=folder / "out", jobs=1).folder)
    return {
        name: compare_packs(packs["base"], packs["other" if name.startswith("swap") else "base"], [f"planted={name}"]) for name in versions
    }


def check(found: dict[str, Any]) -> None:
    for name, comparison in found.items():
        regressed = name.endswith("told") or name == "tuned"
        assert comparison.exit_code == (1 if regressed else 0), (name, comparison.outcomes)
        assert comparison.same_rows
        worse = {n.channel for n in comparison.numbers if n.word == "worse"}
        assert worse == ({"expressed", "used"} if regressed else set()), name
        assert not any(n.word == "better" for n in comparison.numbers)


def test_a_regression_planted_in_a_quantised_model_is_seen(tmp_path):
    check(codes(tmp_path, 0, n=1200, checkpoints=1, versions=("int8-told",)))


@pytest.mark.study
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("seed", "checkpoints"), [(1, 1), (2, 1), (3, 2), (4, 2)])
def test_fine_tuning_quantisation_base_swap_and_conversion(tmp_path, seed, checkpoints):
    versions = ("converted", "tuned", "int8", "int8-told", "swap", "swap-told")
    check(codes(tmp_path, seed, n=1600, checkpoints=checkpoints, versions=versions))


# Two seeds of one recipe -------------------------------------------------------------------------------------------

TRAINED = """\
name: trained
data: {path: rows.csv, target: pay, protected: [sex], discover: 0}
regimes: [real, {synthetic: {name: vendor, path: release.csv}}]
model: {kind: mlp, hidden: [16, 8], epochs: 8, batch_size: 64, learning_rate: 0.01}
references: {placebos: 20, reweighed: false}
"""


def people(n: int, seed: int, *, gap: float) -> pd.DataFrame:
    """Pay depends on the age, and directly on the sex by ``gap``; age and job know the sex."""
    rng = np.random.default_rng(seed)
    sex = rng.choice(["f", "m"], n)
    age = (rng.normal(40, 10, n) + 6 * (sex == "m")).round(3)
    job = np.where(rng.random(n) < 0.7, np.where(sex == "m", "smith", "nurse"), "clerk")
    pay = np.where(age + gap * (sex == "m") + rng.normal(0, 8, n) > 40 + gap / 2, "high", "low")
    return pd.DataFrame({"age": age, "hours": rng.normal(38, 4, n).round(3), "job": job, "sex": sex, "pay": pay})


@pytest.mark.study
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("rows", "repetitions"), [(1200, 2), (3000, 3)])
def test_seeds_of_one_recipe_do_not_differ_and_real_differs_from_a_cleaned_release(tmp_path, rows, repetitions):
    people(rows, 0, gap=14).to_csv(tmp_path / "rows.csv", index=False)
    people(rows, 1, gap=0).assign(age=np.random.default_rng(2).normal(43, 11, rows).round(3)).to_csv(tmp_path / "release.csv", index=False)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(TRAINED + f"seeds: {repetitions}\n")
    packs = [read_pack(run_audit(recipe, out=tmp_path / "out", jobs=1, overrides=(f"seed={seed}",)).folder) for seed in range(3)]
    for first in packs:
        for second in packs:
            comparison = compare_packs(first, second)
            assert comparison.exit_code == 0
            assert not any(n.word in ("worse", "better") for n in comparison.numbers)
    for pack in packs:
        comparison = compare_packs(pack, pack, ["real=vendor"])
        gap = next(n for n in comparison.numbers if n.kind == "gap")
        assert gap.paired
        assert gap.word == "better"
        assert compare_packs(pack, pack, ["vendor=real"]).exit_code == 1
