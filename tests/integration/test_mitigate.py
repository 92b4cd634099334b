"""``mitigate`` end to end on a tiny run: what is saved, what the new audit finds, and every way in which it says no."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from released_packs import bytes_only
from safetensors.numpy import load_file

from proxyaudit.activations.capture import capture
from proxyaudit.audits.mitigation.run import _trained
from proxyaudit.cache import Cache, cache_folder
from proxyaudit.cli.main import main
from proxyaudit.evidence.changes import read_change
from proxyaudit.evidence.manifest import MANIFEST, write_files
from proxyaudit.evidence.pack import EvidencePack, find_run, read_pack, write_pack
from proxyaudit.pipeline.plan import prepare_file
from proxyaudit.types import Evidence

pytestmark = pytest.mark.long

RECIPE = """\
name: tiny
data: {path: real.csv, target: pay, protected: [sex], proxies: [job], exclude: [sex, job], discover: 0}
regimes: [real]
model: {kind: mlp, hidden: [8, 6], epochs: 4, batch_size: 64, learning_rate: 0.02}
references: {placebos: 20, reweighed: false}
seeds: 1
cures: false
"""


def table(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    sex = rng.choice(["f", "m"], n)
    age = (rng.normal(40, 10, n) + 8 * (sex == "m")).round(3)
    job = np.where(rng.random(n) < 0.7, np.where(sex == "m", "smith", "nurse"), rng.choice(["smith", "nurse"], n))
    score = (rng.normal(0, 1, n) + (sex == "m")).round(3)
    pay = np.where(age / 8 + 2 * score + rng.normal(0, 1.5, n) > 6.5, "high", "low")
    return pd.DataFrame({"age": age, "score": score, "hours": rng.normal(38, 4, n).round(3), "job": job, "sex": sex, "pay": pay})


@dataclass(frozen=True)
class Made:
    base: Path
    out: Path
    run: Path
    folder: Path
    document: dict[str, Any]
    evidence: Evidence


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A run of one model and its mitigation."""
    base = tmp_path_factory.mktemp("project")
    table(1200).to_csv(base / "real.csv", index=False)
    (base / "recipe.yaml").write_text(RECIPE)
    out = base / "reports"
    assert main(["run", str(base / "recipe.yaml"), "--out", str(out), "--jobs", "1"]) == 0
    run = find_run(out)
    assert mitigate(run, base, out) == 0
    folder = next((out / "tiny-mitigated").glob("mitigation-*"))
    document = json.loads((folder / "mitigation.json").read_text())
    return Made(base, out, run, folder, document, read_pack(find_run(out / "tiny-mitigated")).evidence)


def mitigate(run: Path, base: Path, out: Path, *more: str, attribute: str = "sex", regime: str = "real") -> int:
    given = ["mitigate", str(run), "--attribute", attribute, "--regime", regime, "--base", str(base), "--out", str(out), "--jobs", "1"]
    return main([*given, *more])


def refused(capsys: pytest.CaptureFixture[str], code: int, wanted: int = 2) -> str:
    """The one line of a refusal."""
    found = capsys.readouterr()
    assert code == wanted, found.err
    assert "Traceback" not in found.err
    assert found.err.count("\n") == 1
    return found.err


def channel(document: dict[str, Any], name: str, attribute: str = "sex") -> dict[str, Any]:
    return next(c for c in document["channels"] if c["channel"] == name and c["attribute"] == attribute)


def test_the_site_is_clean_on_fresh_rows_and_everything_is_stated(made: Made) -> None:
    linear, document = channel(made.document, "linear"), made.document
    assert linear["before"]["state"] == "present"
    assert linear["before"]["value"] > 0.05
    assert linear["after"]["value"] < 0.02
    assert document["status"] == "complete"
    assert main(["verify", str(made.folder)]) == main(["verify", str(made.out / "tiny-mitigated")]) == 0
    assert document["weights"]["origin"] == "cache"
    assert document["weights"]["same_task_figures"] is True
    task = document["task"]
    assert task["before"]["value"] > 0.8
    assert task["loss_per_model"] == [pytest.approx(task["before"]["value"] - task["after"]["value"], abs=1e-4)]
    assert [m[0]["rank"] for m in document["models"]] == [1]
    assert all(0 < m[0]["moved"] < 1 and m[0]["norm"] >= 0.99 for m in document["models"])
    # Before is what the run itself had found: the same models on the same rows.
    original = next(
        e
        for e in read_pack(made.run).evidence.estimates
        if (e.channel, e.attribute, e.regime, e.site, e.context) == ("linear", "sex", "real", "penultimate", None)
    )
    assert linear["before"]["value"] == pytest.approx(original.value)
    # The site before it was not touched, and the document says so.
    assert channel(document, "elsewhere")["after"]["value"] == channel(document, "elsewhere")["before"]["value"]
    assert any("earlier sites are untouched" in line and "hidden1" in line for line in document["remains"])
    assert {c["attribute"] for c in document["channels"]} == {"sex", "job"}
    text = (made.folder / "mitigation.md").read_text()
    assert "## What remains" in text
    assert "Linear leak at penultimate" in text
    assert str(made.base) not in text + json.dumps(document)
    record = read_change(made.folder)
    assert (record.verdict_before, record.audit.run_id if record.audit else None) == ("exposed", made.evidence.run.id)
    assert list(record.residual_risk) == document["remains"]


def test_the_checkpoints_hold_the_map_and_nothing_else_changed(made: Made) -> None:
    before, after = (load_file(made.folder / f"{kind}-0.safetensors") for kind in ("before", "mitigated"))
    assert set(after) - set(before) == {"erase/penultimate/weight", "erase/penultimate/bias"}
    assert all(np.array_equal(after[name], before[name]) for name in before)
    weight = after["erase/penultimate/weight"]
    assert np.allclose(weight @ weight, weight)
    assert np.linalg.matrix_rank(weight - np.eye(6)) == 1


def test_the_recipe_is_an_ordinary_one_and_the_site_is_linearly_clean_of_it(made: Made) -> None:
    recipe = yaml.safe_load((made.folder / "mitigated.yaml").read_text())
    assert [r["name"] for r in recipe["regimes"]] == ["real", "real-mitigated"]
    prepared = prepare_file(made.folder / "mitigated.yaml")
    mended, kind = _trained(prepared, prepared.regime("real-mitigated"), Cache(cache_folder()))
    assert kind == "checkpoints"
    train = prepared.dataset.train
    sex = (train["sex"] == "m").to_numpy(dtype=float)
    acts = capture(mended[0], prepared.dataset.encoder.transform(train)).acts["penultimate"].astype(np.float64)
    correlation = (acts - acts.mean(axis=0)).T @ (sex - sex.mean()) / len(sex)
    assert np.abs(correlation).max() < 1e-6 * np.abs(acts).max()


def test_again_is_the_same_and_nothing_is_measured_twice(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path.name: path.read_bytes() for path in made.folder.iterdir()}
    assert mitigate(made.run, made.base, made.out, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["attribute"] == "sex"
    assert Path(document["folder"]) == made.folder
    assert {path.name: path.read_bytes() for path in made.folder.iterdir()} == before


def test_without_the_cache_the_same_models_are_trained_again(made: Made, tmp_path: Path) -> None:
    prepared = prepare_file(made.base / "recipe.yaml")
    regime = prepared.regime("real")
    kept, first = _trained(prepared, regime, Cache(cache_folder()))
    again, second = _trained(prepared, regime, Cache(tmp_path / "cache"))
    assert (first, second) == ("cache", "retrained")
    for one, other in zip(kept, again, strict=True):
        assert all(bool((value == other.module.state_dict()[name]).all()) for name, value in one.module.state_dict().items())
    # A cache whose weights were changed is not believed.
    shutil.copytree(cache_folder() / "train", tmp_path / "spoilt" / "train")
    for weights in (tmp_path / "spoilt").rglob("weights.safetensors"):
        weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert _trained(prepared, regime, Cache(tmp_path / "cache"))[1] == "cache"
    assert _trained(prepared, regime, Cache(tmp_path / "spoilt"))[1] == "retrained"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"attribute": "sx"}, ("unknown attribute 'sx'", "sex")),
        ({"regime": "rael"}, ("unknown regime 'rael'", "real")),
        ({"regime": "untrained"}, ("is a reference", "real")),
        ({"regime": "placebo"}, ("is a reference",)),
        ({"site": "hiden1"}, ("unknown site 'hiden1'", "hidden1")),
        ({"method": "lease"}, ("lease", "leace")),
        ({"out": "real.csv"}, ("is a file, not a folder",)),
    ],
)
def test_wrong_names_are_refused_with_the_nearest(
    made: Made, more: dict[str, str], words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    options = [part for key in ("site", "method") if key in more for part in (f"--{key}", more[key])]
    out = made.base / more.get("out", "reports")
    code = mitigate(made.run, made.base, out, *options, attribute=more.get("attribute", "sex"), regime=more.get("regime", "real"))
    line = refused(capsys, code)
    assert all(word in line for word in words), line


def altered(made: Made, tmp_path: Path, **changes: Any) -> Path:
    """A copy of the run whose files fit its manifest but not each other."""
    pack = read_pack(made.run)
    parts = {key: getattr(pack, key) for key in ("evidence", "plan", "recipe", "environment", "arrays")}
    write_pack(EvidencePack(**{**parts, **changes}), tmp_path / "run", reports={"report.html": "", "report.md": ""})
    return tmp_path / "run"


def test_runs_that_cannot_be_mended(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = read_pack(made.run)
    partial = pack.evidence.model_copy(update={"run": pack.evidence.run.model_copy(update={"status": "partial"})})
    bare = {"name": "probe", "attributes": ["sex"]}
    other = {**pack.recipe, "data": {**pack.recipe["data"], "path": "gone.csv"}}
    hashes = {**pack.plan, "hashes": {**pack.plan["hashes"], "data": "0" * 64}}
    module = {**pack.recipe, "model": {"kind": "module", "factory": "evil.py:make"}}
    (made.base / "evil.py").write_text("raise SystemExit('executed')\n")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"evidence": partial}, "the run is partial"),
        ({"recipe": bare}, "audit of bare activations"),
        ({"recipe": other}, "no such file"),
        ({"recipe": {**pack.recipe, "seeds": "many"}}, "seeds"),
        ({"plan": hashes}, "'data' is not what it was"),
        ({"plan": {"attributes": [], "regimes": []}}, "unknown attribute"),
        ({"recipe": module}, "'model factory' is not what it was"),
    ]
    texts = {
        **{key: value for key, value in pack.recipe.items() if key not in ("sites", "localisation")},
        "data": {"path": "real.csv", "target": "pay", "protected": ["sex"], "text": "words"},
        "model": {"kind": "huggingface", "path": "m", "trust_remote_code": True},
    }
    cases.append(({"recipe": texts}, "in models of tables only"))
    runs = [altered(made, tmp_path / str(index), **changes) for index, (changes, _) in enumerate(cases)]
    # A pack that does not fit itself is refused before anything of it is prepared or executed.
    for run in runs:
        refused(capsys, mitigate(run, made.base, tmp_path / "out"), wanted=4)
    # And were it made to fit, its parts are still looked at one by one.
    bytes_only(monkeypatch)
    for run, (_, words) in zip(runs, cases, strict=True):
        assert words in refused(capsys, mitigate(run, made.base, tmp_path / "out"))
    # What cannot be a plan at all is refused where it is read.
    shapeless = altered(made, tmp_path / "shapeless", plan={"attributes": None, "regimes": 3})
    assert "plan.json holds what it cannot (regimes" in refused(capsys, mitigate(shapeless, made.base, tmp_path / "out"), wanted=4)
    assert not (tmp_path / "out").exists()


def test_incomplete_tampered_and_absent_runs(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    shutil.copytree(made.run, run)
    (run / MANIFEST).unlink()
    assert "manifest.json is missing" in refused(capsys, mitigate(run, made.base, tmp_path / "out"), wanted=4)
    shutil.copy(made.run / MANIFEST, run)
    (run / "recipe.yaml").write_text("name: other\n")
    assert "recipe.yaml does not match" in refused(capsys, mitigate(run, made.base, tmp_path / "out"), wanted=4)
    assert "no such run folder" in refused(capsys, mitigate(tmp_path / "gone", made.base, tmp_path / "out"))
    write_files(tmp_path / "empty", {"plan.json": b"{}"})
    assert refused(capsys, mitigate(tmp_path / "empty", made.base, tmp_path / "out"), wanted=4)


def test_a_recipe_of_another_folder_asks_for_its_base(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code = main(["mitigate", str(made.run), "--attribute", "sex", "--regime", "real", "--out", str(tmp_path / "out")])
    assert "--base" in refused(capsys, code)


def test_a_factory_of_a_run_needs_its_hash(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table(700).drop(columns="job").to_csv(tmp_path / "real.csv", index=False)
    ran = tmp_path / "ran"
    (tmp_path / "nets.py").write_text(
        f"from pathlib import Path\nfrom torch import nn\nPath({str(ran)!r}).touch()\n"
        "def make(n):\n    return nn.Sequential(nn.Linear(n, 6), nn.ReLU(), nn.Linear(6, 1))\n"
    )
    recipe = yaml.safe_load(RECIPE)
    recipe["data"] |= {"proxies": [], "exclude": ["sex"]}
    recipe["model"] = {"kind": "module", "factory": "nets.py:make", "epochs": 2}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    out = tmp_path / "out"
    assert main(["run", str(tmp_path / "recipe.yaml"), "--out", str(out), "--jobs", "1"]) == 0
    run = find_run(out)
    ran.unlink()
    capsys.readouterr()
    for more in ((), ("--run-code", "any"), ("--run-code", "nets.py@sha256:" + "0" * 64)):
        line = refused(capsys, mitigate(run, tmp_path, out, *more))
        flag = f"--run-code nets.py@sha256:{hashlib.sha256((tmp_path / 'nets.py').read_bytes()).hexdigest()}"
        assert line.rstrip().endswith(flag)
        assert not ran.exists()
    assert mitigate(run, tmp_path, out, *flag.split()) == 0
    assert ran.exists()
