"""``scan`` end to end: a reference run with signatures, checkpoints in and out of the state, and every way in which it says no."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from released_packs import bytes_only
from safetensors.numpy import load_file, save, save_file

from proxyaudit.audits.scan.inputs import open_signatures, read_checkpoint, read_inputs, read_references
from proxyaudit.audits.scan.run import scan as scan_models
from proxyaudit.cli.main import main
from proxyaudit.consent import Consent
from proxyaudit.data.described_encoder import describe_encoder
from proxyaudit.data.encoding import FeatureColumn, fit_encoder
from proxyaudit.data.unseen import Unseen
from proxyaudit.errors import InputError
from proxyaudit.evidence.canonical import canonical_json
from proxyaudit.evidence.manifest import MANIFEST, check_manifest, replace_files, write_files
from proxyaudit.evidence.pack import EvidencePack, find_run, read_pack, write_pack
from proxyaudit.evidence.signatures import SIGNATURE_FILES, read_signatures, signature_files
from proxyaudit.pipeline.plan import prepare_file
from proxyaudit.planted.models import ATTRIBUTE, NETS, TARGET
from proxyaudit.types import Evidence, RunInfo
from tests.helpers.series import Series, known_of, make_series


@pytest.fixture(autouse=True)
def _packs_without_an_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    bytes_only(monkeypatch)


@dataclass(frozen=True)
class Made:
    base: Path
    run: Path
    series: Series


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A pack of two reference models; its audit is left out, which a scan does not read."""
    base = tmp_path_factory.mktemp("series")
    series = make_series(seed=1, references=2, rows=3000, scan_rows=2000)
    recipe = series.write(base)
    prepared, known = prepare_file(recipe), known_of(recipe)
    info = RunInfo(id="a" * 12, name="series", status="complete", plan_digest=prepared.plan.digest, versions={}, seed=0)
    evidence = Evidence(run=info, findings=(), estimates=(), controls=(), not_tested=())
    pack = EvidencePack(evidence, prepared.plan.as_dict(), prepared.recipe.model_dump(mode="json", exclude_none=True), {})
    write_pack(pack, base / "reports" / "series" / ("a" * 12), more=signature_files(known.signatures))
    return Made(base, find_run(base / "reports"), series)


def run_code(made: Made) -> list[str]:
    """Consent to the factory, which these tests have looked at."""
    return ["--run-code", f"{NETS}@sha256:{hashlib.sha256((made.base / NETS).read_bytes()).hexdigest()}"]


def scan(made: Made, capsys: pytest.CaptureFixture[str], model: str, inputs: str, *more: str, run: Path | None = None) -> tuple[int, Any]:
    capsys.readouterr()
    given = ["scan", "--signatures", str(run or made.run), "--model", str(made.base / model), "--inputs", str(made.base / inputs)]
    code = main([*given, *run_code(made), "--json", *more])
    return code, json.loads(capsys.readouterr().out)


def refused(made: Made, capsys: pytest.CaptureFixture[str], wanted: int, *given: str) -> str:
    capsys.readouterr()
    assert main(["scan", *given]) == wanted
    found = capsys.readouterr()
    assert "Traceback" not in found.err
    assert found.err.count("\n") == 1
    return found.err


@pytest.mark.parametrize("share", [0.05, 0.4, 0.9])
def test_inputs_that_the_model_cannot_see(made: Made, share: float) -> None:
    known = open_signatures(made.run, base=None, near=[made.base], consent=Consent.of(run_code(made)[1:]))
    table = pd.read_parquet(made.base / "fresh.parquet")
    features = tuple(FeatureColumn(name, "numeric") for name in known.signatures.document.features)
    standard = tuple(describe_encoder(fit_encoder(table, features, "standard")))
    document = known.signatures.document.model_copy(update={"encoder": standard})
    known = replace(known, signatures=replace(known.signatures, document=document))
    table.loc[table.index[: int(share * len(table))], features[0].name] = np.nan
    table.to_parquet(made.base / "gaps.parquet")
    if share > 0.8:
        with pytest.raises(InputError, match=f"column '{features[0].name}' lacks most of its values.*gaps.parquet"):
            read_inputs(known, made.base / "gaps.parquet")
        return
    (found,) = read_inputs(known, made.base / "gaps.parquet").unseen
    assert (found.column, found.bars_absence) == (features[0].name, share > 0.2)
    assert found.share == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize(
    ("model", "share", "answer"),
    [("step0", 0.1, "not in the state"), ("step0", 0.3, "cannot be told"), ("step9", 0.3, "in the state")],
)
def test_a_model_is_not_cleared_on_rows_that_it_cannot_see(made: Made, model: str, share: float, answer: str) -> None:
    known = open_signatures(made.run, base=None, near=[made.base], consent=Consent.of(run_code(made)[1:]))
    rows = replace(read_inputs(known, made.base / "fresh.parquet"), unseen=(Unseen("--inputs", "x", share, 2000),))
    scanned = read_checkpoint(known, made.base / f"{model}.safetensors", rows, read_references(known, rows))
    document = scan_models(known, scanned)
    assert document["answer"] == answer
    assert ("absence is not claimed" in document["notes"][0]["why"]) == (share > 0.2)


def options(made: Made, model: str = "step9.safetensors", inputs: str = "fresh.parquet") -> list[str]:
    given = ["--signatures", str(made.run), "--model", str(made.base / model), "--inputs", str(made.base / inputs)]
    return [*given, *run_code(made)]


def test_a_model_in_the_state_and_one_that_is_not(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    code, document = scan(made, capsys, "step9.safetensors", "fresh.parquet")
    found = document["attributes"][0]
    assert (code, document["exit_code"], document["answer"]) == (1, 1, "in the state")
    assert found["attribute"] == ATTRIBUTE
    assert found["measured"] is True
    assert found["leak"] > 0.05
    assert found["seeds_above"] == found["seeds"] == 2
    assert found["contexts_above"] >= 4
    signature = found["signatures"][0]
    assert len(signature["held_out_contexts"]) == 3
    assert len(signature["fitted_contexts"]) == 3
    assert found["held_out"] == 3
    for line in (*signature["held_out_contexts"], *signature["fitted_contexts"]):
        assert line["rows"] > 100
        expected, seen = line["expected_activation"], line["activation"]
        assert abs(expected[0] - seen[0]) < 0.6
    code, document = scan(made, capsys, "step0.safetensors", "fresh.parquet")
    assert (code, document["answer"]) == (0, "not in the state")
    assert document["attributes"][0]["leak"] < 0.01
    assert document["false_alarms"]["placebos"] == 200
    assert document["false_alarms"]["upper_95"] < 0.05


def test_without_the_attribute_the_leak_is_inferred(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    code, document = scan(made, capsys, "step9.safetensors", "unlabelled.parquet")
    assert code == 1
    assert document["attributes"][0]["measured"] is False
    assert document["attributes"][0]["anywhere"] == []
    measured = scan(made, capsys, "step9.safetensors", "fresh.parquet")[1]["attributes"][0]["leak"]
    assert document["attributes"][0]["leak"] == pytest.approx(measured, rel=0.5)
    code, document = scan(made, capsys, "step0.safetensors", "unlabelled.parquet")
    assert code in (0, 3)
    assert document["attributes"][0]["leak"] < 0.02


def test_csv_and_parquet_say_the_same(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    made.series.fresh.head(800).to_csv(made.base / "few.csv", index=False)
    made.series.fresh.head(800).to_parquet(made.base / "few.parquet", index=False)
    one, other = (scan(made, capsys, "step9.safetensors", f"few.{kind}")[1] for kind in ("csv", "parquet"))
    assert {**one, "inputs": ""} == {**other, "inputs": ""}


def test_the_table_says_what_the_document_says(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["scan", *options(made)]) == 1
    out = capsys.readouterr().out
    assert "in the state" in out
    assert "held out" in out
    assert "False alarms of this scan" in out
    assert "Answer: in the state" in out
    assert str(made.base) not in out


def test_inputs_of_another_kind_cannot_be_inferred_from(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    moved = made.series.fresh.drop(columns=[ATTRIBUTE, TARGET]) + 3.0
    moved.to_parquet(made.base / "moved.parquet", index=False)
    code, document = scan(made, capsys, "step0.safetensors", "moved.parquet")
    assert (code, document["answer"]) == (3, "cannot be told")
    assert "differ" in document["attributes"][0]["reason"]


def test_a_model_that_speaks_another_language_cannot_be_told(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    weights = load_file(made.base / "step0.safetensors")
    # Nearly every unit reads one and the same input: what the reference holds beside its signature is gone.
    rng = np.random.default_rng(0)
    weights["block1.0.weight"] = np.outer(rng.normal(size=56), rng.normal(size=28)).astype(np.float32)
    save_file(weights, made.base / "deaf.safetensors")
    code, document = scan(made, capsys, "deaf.safetensors", "unlabelled.parquet")
    assert code == 3
    assert "of its own" in document["attributes"][0]["reason"]


def test_a_leak_beside_the_signature_is_an_alarm_too(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    """The attribute enters along an input that the reference never held."""
    fresh = made.series.fresh.copy()
    names = [name for name in fresh.columns if name not in (ATTRIBUTE, TARGET)]
    side = np.where(fresh[ATTRIBUTE] == "b", 0.5, -0.5)
    known = find_carriers(made)
    for name in names:
        if name not in known:
            fresh[name] += side
    fresh.to_parquet(made.base / "beside.parquet", index=False)
    code, document = scan(made, capsys, "step0.safetensors", "beside.parquet")
    found = document["attributes"][0]
    assert code == 1
    assert found["anywhere"][0]["answer"] == "in the state"


def find_carriers(made: Made) -> set[str]:
    table = made.series.table
    gaps = {n: table[n][table[ATTRIBUTE] == "b"].mean() - table[n][table[ATTRIBUTE] == "a"].mean() for n in table.columns[:-2]}
    return {name for name, gap in gaps.items() if abs(gap) > 0.3}


def test_signatures_hold_no_row_and_are_listed(made: Made) -> None:
    assert check_manifest(made.run) == []
    listed = json.loads((made.run / MANIFEST).read_text())["files"]
    assert set(SIGNATURE_FILES) <= set(listed)
    signatures = read_signatures(made.run)
    rows = len(made.series.table)
    audited = read_pack(made.run).plan["rows"]["audit"]
    for arrays in (*signatures.directions, *signatures.weights):
        for name, value in arrays.items():
            assert not {rows, audited} & set(value.shape), name
    text = (made.run / SIGNATURE_FILES[0]).read_text()
    assert str(made.base) not in text
    entry = signatures.document.entries[0]
    assert entry.known
    assert 0 < entry.threshold < 1
    assert entry.readings[0].by_group[0] < entry.readings[0].by_group[1]


def test_no_signatures_unless_asked_for(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "run"
    shutil.copytree(made.run, copy)
    for name in SIGNATURE_FILES:
        (copy / name).unlink()
    given = options(made)
    given[1] = str(copy)
    refused(made, capsys, 4, *given)
    keep = {p.name: p.read_bytes() for p in copy.iterdir() if p.name != MANIFEST}
    (copy / MANIFEST).unlink()
    write_files(copy, keep)
    assert "no signatures" in refused(made, capsys, 2, *given)


def test_a_changed_signature_is_refused(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "run"
    shutil.copytree(made.run, copy)
    given = options(made)
    given[1] = str(copy)
    arrays = load_file(copy / SIGNATURE_FILES[1])
    arrays["direction/0"] = -arrays["direction/0"]
    save_file(arrays, copy / SIGNATURE_FILES[1])
    assert "does not match" in refused(made, capsys, 4, *given)
    # With the hash mended too, what is no signature is still none.
    for change in ("shape", "nan", "more", "document"):
        again = dict(arrays)
        document = (made.run / SIGNATURE_FILES[0]).read_bytes()
        if change == "shape":
            again["shift/0"] = again["shift/0"][:, :-1].copy()
        elif change == "nan":
            again["shift/0"] = np.full_like(again["shift/0"], np.nan)
        elif change == "more":
            again["rows"] = np.zeros((3, 3), dtype=np.float32)
        else:
            document = document.replace(b'"width": 24', b'"width": 25')
        replace_files(copy, {SIGNATURE_FILES[1]: save(again), SIGNATURE_FILES[0]: document})
        assert "signatures cannot be used" in refused(made, capsys, 4, *given)


@pytest.mark.parametrize("consent", [[], ["any"], [f"{NETS}@sha256:{'0' * 64}"], ["other.py@sha256:{hash}"]])
def test_a_factory_that_a_pack_names_is_not_executed_without_its_hash(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str], consent: list[str]
) -> None:
    """A pack that fits itself, its hashes included: only the caller can vouch for what it would execute."""
    run, base, ran = tmp_path / "run", tmp_path / "base", tmp_path / "ran"
    shutil.copytree(made.run, run)
    base.mkdir()
    code = (made.base / NETS).read_bytes() + f"\nopen({str(ran)!r}, 'w').close()\n".encode()
    (base / NETS).write_bytes(code)
    digest = hashlib.sha256(code).hexdigest()
    plan = json.loads((run / "plan.json").read_bytes())
    plan["hashes"]["model factory"] = digest
    replace_files(run, {"plan.json": canonical_json(plan)})
    given = options(made)[:-2]
    given[1] = str(run)
    given += ["--base", str(base), *(f"--run-code={text.format(hash=digest)}" for text in consent)]
    line = refused(made, capsys, 2, *given)
    flag = f"--run-code {NETS}@sha256:{digest}"
    assert line.rstrip().endswith(flag)
    assert not ran.exists()
    assert main(["scan", *given, *flag.split()]) == 1
    assert ran.exists()


def test_bad_input_is_one_line(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such file" in refused(made, capsys, 2, *options(made, model="none.safetensors"))
    assert "no such file" in refused(made, capsys, 2, *options(made, inputs="none.csv"))
    made.series.fresh.drop(columns=["x1"]).to_parquet(made.base / "narrow.parquet", index=False)
    assert "'x1' is missing" in refused(made, capsys, 2, *options(made, inputs="narrow.parquet"))
    made.series.fresh.head(20).to_parquet(made.base / "short.parquet", index=False)
    assert "too few" in refused(made, capsys, 2, *options(made, inputs="short.parquet"))
    other = made.series.fresh.assign(**{ATTRIBUTE: "z"})
    other.to_parquet(made.base / "other.parquet", index=False)
    assert "none of the values" in refused(made, capsys, 2, *options(made, inputs="other.parquet"))
    save_file({"w": np.zeros(3, dtype=np.float32)}, made.base / "alien.safetensors")
    assert "lacks" in refused(made, capsys, 2, *options(made, model="alien.safetensors"))
    assert "unknown attribute" in refused(made, capsys, 2, *options(made), "--attribute", "height")
    (tmp_path / "nets.py").write_text("raise SystemExit\n")
    assert "not the one that was audited" in refused(made, capsys, 2, *options(made), "--base", str(tmp_path))


RECIPE = """\
name: tiny
data: {path: real.csv, target: pay, protected: [sex, job, height], bands: {height: [172]}, discover: 0}
regimes: [real]
model: {kind: mlp, hidden: [8, 6], epochs: 4, batch_size: 64, learning_rate: 0.02}
sites: {profile: [penultimate]}
references: {placebos: 20, reweighed: false}
seeds: 1
cures: false
"""


def people(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    sex = rng.choice(["f", "m"], n)
    age = (rng.normal(40, 10, n) + 8 * (sex == "m")).round(3)
    job = np.where(rng.random(n) < 0.7, np.where(sex == "m", "smith", "nurse"), rng.choice(["smith", "nurse", "cook"], n))
    score = (rng.normal(0, 1, n) + (sex == "m")).round(3)
    pay = np.where(age / 8 + 2 * score + rng.normal(0, 1.5, n) > 6.5, "high", "low")
    height = (rng.normal(165, 4, n) + 14 * (sex == "m")).round(1)
    hours = rng.normal(38, 4, n).round(3)
    return pd.DataFrame({"age": age, "score": score, "hours": hours, "job": job, "sex": sex, "height": height, "pay": pay})


@pytest.mark.long
def test_a_run_saves_signatures_and_its_own_models_are_in_their_state(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The package's own architecture, encoded columns, an attribute of several levels; no factory, no base."""
    people(900, 0).to_csv(tmp_path / "real.csv", index=False)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    out = tmp_path / "reports"
    assert main(["run", str(tmp_path / "recipe.yaml"), "--out", str(out), "--jobs", "1", "--signatures"]) == 0
    run = find_run(out)
    assert check_manifest(run) == []
    signatures = read_signatures(run)
    keys = {(entry.attribute, entry.level) for entry in signatures.document.entries}
    assert {("sex", "m"), ("job", "nurse"), ("job", "smith"), ("height", "172 and over")} <= keys
    assert next(e for e in signatures.document.entries if e.attribute == "sex").state == "present"
    # The weights that the signature keeps are a checkpoint like any other.
    save_file(signatures.weights[0], tmp_path / "own.safetensors")
    people(1500, 1).to_csv(tmp_path / "fresh.csv", index=False)
    people(1500, 1).drop(columns=["sex", "height", "pay"]).to_csv(tmp_path / "unlabelled.csv", index=False)
    for inputs, measured in (("fresh.csv", True), ("unlabelled.csv", False)):
        capsys.readouterr()
        given = ["scan", "--signatures", str(run), "--model", str(tmp_path / "own.safetensors"), "--inputs", str(tmp_path / inputs)]
        assert main([*given, "--json", "--attribute", "sex"]) == 1
        document = json.loads(capsys.readouterr().out)
        found = document["attributes"][0]
        assert (len(document["attributes"]), found["measured"]) == (1, measured)
        assert found["signatures"][0]["alignment"] > 0.99
        assert found["signatures"][0]["followed"] > 0.99
    # A number that was audited in bands stands in the inputs as the number that it is.
    capsys.readouterr()
    given[given.index("--inputs") + 1] = str(tmp_path / "fresh.csv")
    assert main([*given, "--json", "--attribute", "height"]) == 1
    assert json.loads(capsys.readouterr().out)["attributes"][0]["measured"] is True
