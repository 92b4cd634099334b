from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyaudit.errors import InputError, IntegrityError
from proxyaudit.evidence.canonical import canonical_json, parse_json
from proxyaudit.evidence.manifest import check_manifest, is_complete
from proxyaudit.evidence.pack import EvidencePack, describe_run, find_run, list_runs, read_pack, replace_reports, write_pack
from proxyaudit.evidence.schema import committed_schema, evidence_schema
from proxyaudit.files import write_file

REPORTS = {"report.html": "<p>one</p>", "report.md": "one"}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_canonical_json_comes_back_and_is_a_fixed_point(value: object) -> None:
    data = canonical_json(value)
    assert parse_json(data) == value
    assert canonical_json(parse_json(data)) == data


def test_canonical_json_does_not_depend_on_the_order_of_keys() -> None:
    assert canonical_json({"a": 1, "b": {"d": 1, "c": 2}}) == canonical_json({"b": {"c": 2, "d": 1}, "a": 1})


def test_canonical_json_takes_numpy_values() -> None:
    assert canonical_json({"n": np.int64(3), "x": np.float64(0.5), "a": np.arange(2)}) == canonical_json({"n": 3, "x": 0.5, "a": [0, 1]})


def test_canonical_json_keeps_a_lone_surrogate() -> None:
    assert parse_json(canonical_json(["\ud800"])) == ["\ud800"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float64("nan")])
def test_canonical_json_refuses_what_json_cannot_say(value: float) -> None:
    with pytest.raises(ValueError, match=r"JSON|range"):
        canonical_json({"x": value})


@pytest.mark.parametrize("text", [b'{"a": NaN}', b'{"a": 1, "a": 2}', b"\xff", b"{"])
def test_parse_json_is_strict(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)


def test_a_pack_comes_back_as_it_was_written(pack: EvidencePack, tmp_path: Path) -> None:
    write_pack(pack, tmp_path / "run", reports=REPORTS)
    again = read_pack(tmp_path / "run")
    assert again.evidence == pack.evidence
    assert (again.plan, again.recipe, again.environment) == (pack.plan, pack.recipe, pack.environment)
    assert sorted(again.arrays) == sorted(pack.arrays)
    for name, array in pack.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], array)
        assert again.arrays[name].dtype == array.dtype


def test_the_same_pack_gives_the_same_bytes(pack: EvidencePack, tmp_path: Path) -> None:
    other = replace(pack, arrays=dict(reversed(pack.arrays.items())), plan=dict(reversed(pack.plan.items())))
    write_pack(pack, tmp_path / "a", reports=REPORTS)
    write_pack(other, tmp_path / "b", reports=REPORTS)
    names = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert names == sorted(p.name for p in (tmp_path / "b").iterdir())
    assert [(tmp_path / "a" / n).read_bytes() for n in names] == [(tmp_path / "b" / n).read_bytes() for n in names]


def test_an_array_of_another_memory_order_is_kept(pack: EvidencePack, tmp_path: Path) -> None:
    turned = np.arange(6.0).reshape(2, 3).T
    write_pack(replace(pack, arrays={"t": turned}), tmp_path / "run")
    np.testing.assert_array_equal(read_pack(tmp_path / "run").arrays["t"], turned)


def test_arrays_are_copied_in_and_read_only(pack: EvidencePack) -> None:
    mine = np.zeros(3)
    held = replace(pack, arrays={"x": mine})
    mine[0] = 1
    assert held.arrays["x"][0] == 0
    with pytest.raises(ValueError, match="read-only"):
        held.arrays["x"][0] = 2


def test_a_pack_without_arrays_can_be_written(pack: EvidencePack, tmp_path: Path) -> None:
    write_pack(replace(pack, arrays={}), tmp_path / "run")
    assert read_pack(tmp_path / "run").arrays == {}


def test_the_manifest_comes_last(pack: EvidencePack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []

    def watch(path: Path, data: bytes, **more: bool) -> None:
        assert not is_complete(path.parent)
        written.append(path.name)
        write_file(path, data, **more)

    monkeypatch.setattr("proxyaudit.evidence.manifest.write_file", watch)
    write_pack(pack, tmp_path, reports=REPORTS)
    write_pack(pack, tmp_path, reports=REPORTS)
    assert written.index("manifest.json") == 7
    assert written[-1] == "manifest.json"


def test_a_crash_in_the_middle_leaves_no_complete_run(pack: EvidencePack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pack(pack, tmp_path, reports=REPORTS)

    def crash(path: Path, data: bytes, **more: bool) -> None:
        if path.name == "plan.json":
            raise OSError("disk full")
        write_file(path, data, **more)

    with monkeypatch.context() as patch:
        patch.setattr("proxyaudit.evidence.manifest.write_file", crash)
        with pytest.raises(OSError, match="disk full"):
            write_pack(pack, tmp_path, reports=REPORTS)
    assert not is_complete(tmp_path)
    with pytest.raises(InputError, match="not complete"):
        read_pack(tmp_path)
    (tmp_path / ".writing-plan.json").write_text("half")
    write_pack(pack, tmp_path, reports=REPORTS)
    assert check_manifest(tmp_path) == []


def test_reports_are_replaced_only_when_they_change(pack: EvidencePack, tmp_path: Path) -> None:
    write_pack(pack, tmp_path, reports=REPORTS)
    assert not replace_reports(tmp_path, REPORTS)
    before = (tmp_path / "manifest.json").read_bytes()
    assert replace_reports(tmp_path, {**REPORTS, "report.md": "two"})
    assert (tmp_path / "manifest.json").read_bytes() != before
    assert check_manifest(tmp_path) == []
    assert read_pack(tmp_path).evidence == pack.evidence


def test_find_run(pack: EvidencePack, tmp_path: Path) -> None:
    run = tmp_path / "reports" / "audit" / "one"
    write_pack(pack, run)
    assert find_run(run) == find_run(tmp_path / "reports") == find_run(run / "evidence.json") == run
    with pytest.raises(InputError, match="no such run folder"):
        find_run(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no run below"):
        find_run(tmp_path / "empty")
    write_pack(pack, tmp_path / "reports" / "audit" / "two")
    with pytest.raises(InputError, match="2 runs below"):
        find_run(tmp_path / "reports")


def test_runs_are_listed_with_their_state(pack: EvidencePack, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_pack(pack, tmp_path / "audit" / name)
    (tmp_path / "audit" / "b" / "manifest.json").unlink()
    (tmp_path / "audit" / "c" / "plan.json").write_text("{}")
    (tmp_path / ".cache" / "x").mkdir(parents=True)
    (tmp_path / ".cache" / "x" / "plan.json").write_text("{}")
    lines = [describe_run(path) for path in list_runs(tmp_path)]
    assert [line.status for line in lines] == ["complete", "incomplete", "damaged"]
    assert lines[0].verdicts == {"exposed": 6, "hidden": 2, "inconclusive": 4}
    assert lines[0].date == "2026-11-23T12:00:00Z"
    assert lines[1].id == "abc123"


def test_the_committed_schema_is_the_one_of_the_types() -> None:
    assert committed_schema() == evidence_schema()


def test_evidence_follows_the_schema(pack: EvidencePack) -> None:
    document = pack.evidence.model_dump(mode="json")
    validator = jsonschema.Draft202012Validator(committed_schema())
    validator.validate(document)
    document["findings"][0]["verdict"] = "fine"
    assert not validator.is_valid(document)


def test_a_newer_schema_is_refused_in_words(pack: EvidencePack, tmp_path: Path) -> None:
    newer = pack.evidence.model_copy(update={"schema_version": "2.0"})
    write_pack(replace(pack, evidence=newer), tmp_path)
    with pytest.raises(InputError, match=r"schema version '2\.0'"):
        read_pack(tmp_path)


def test_evidence_that_breaks_its_schema_is_named(pack: EvidencePack, tmp_path: Path) -> None:
    write_pack(pack, tmp_path)
    from proxyaudit.evidence.manifest import replace_files

    document = json.loads((tmp_path / "evidence.json").read_text(encoding="utf-8"))
    document["findings"][0]["verdict"] = "fine"
    replace_files(tmp_path, {"evidence.json": canonical_json(document)})
    with pytest.raises(IntegrityError, match=r"evidence\.json does not follow its schema at findings\.0\.verdict"):
        read_pack(tmp_path)
