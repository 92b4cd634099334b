"""``scan`` end to end: a reference run with signatures, checkpoints in and out of the state, and every way in which it says no."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save, save_file

from proxyaudit.cli import main
from proxyaudit.evidence.manifest import MANIFEST, replace_files
from proxyaudit.evidence.pack import check_manifest, find_run, read_pack
from proxyaudit.evidence.signatures import SIGNATURE_FILES, read_signatures
from proxyaudit.planted.models import ATTRIBUTE, TARGET
from proxyaudit.planted.series import Series, make_series


@dataclass(frozen=True)
class Made:
    base: Path
    run: Path
    series: Series


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    base = tmp_path_factory.mktemp("series")
    series = make_series(seed=1, references=1, rows=2400, scan_rows=2000)
    recipe = series.write(base, signatures=False)
    assert main(["run", str(recipe), "--out", str(base / "reports"), "--jobs", "1", "--signatures"]) == 0
    return Made(base, find_run(base / "reports"), series)


def scan(made: Made, capsys: pytest.CaptureFixture[str], model: str, inputs: str, *more: str, run: Path | None = None) -> tuple[int, Any]:
    capsys.readouterr()
    given = ["scan", "--signatures", str(run or made.run), "--model", str(made.base / model), "--inputs", str(made.base / inputs)]
    code = main([*given, "--json", *more])
    return code, json.loads(capsys.readouterr().out)


def refused(made: Made, capsys: pytest.CaptureFixture[str], wanted: int, *given: str) -> str:
    capsys.readouterr()
    assert main(["scan", *given]) == wanted
    found = capsys.readouterr()
    assert "Traceback" not in found.err
    assert found.err.count("\n") == 1
    return found.err


def options(made: Made, model: str = "step9.safetensors", inputs: str = "fresh.parquet") -> list[str]:
    return ["--signatures", str(made.run), "--model", str(made.base / model), "--inputs", str(made.base / inputs)]


def test_a_model_in_the_state_and_one_that_is_not(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    code, document = scan(made, capsys, "step9.safetensors", "fresh.parquet")
    found = document["attributes"][0]
    assert (code, document["exit_code"], document["answer"]) == (1, 1, "in the state")
    assert found["attribute"] == ATTRIBUTE
    assert found["measured"] is True
    assert found["leak"] > 0.05
    assert found["seeds_above"] == found["seeds"] == 1
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
    weights = load_file(made.base / "step0.safetensors")
    # The checkpoint holds mixtures of the noise columns; shift one that it reads strongly.
    held = np.abs(weights["block2.0.weight"] @ np.linalg.pinv(weights["block1.0.weight"].T)[: 56, :28]).sum(axis=0) if False else None
    assert held is None
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
    from proxyaudit.evidence.manifest import write_files

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


def test_table_types() -> None:
    series = make_series(seed=3, clean=True, references=1, rows=400, scan_rows=300)
    assert series.entered is None
    assert isinstance(series.fresh, pd.DataFrame)
