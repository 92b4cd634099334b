"""Seals, receipts, logs, retention and own frameworks that fit by their digests and say what cannot be."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from released_packs import edit, sign_again

from proxyaudit.access.log import Opening, check_purpose
from proxyaudit.cli.main import main
from proxyaudit.controls.claims import claims
from proxyaudit.controls.framework import shipped_frameworks
from proxyaudit.controls.oscal import assessment_results
from proxyaudit.errors import InputError
from proxyaudit.evidence.canonical import canonical_json
from proxyaudit.evidence.manifest import replace_files
from proxyaudit.evidence.pack import read_pack
from proxyaudit.evidence.seal import make_seal
from proxyaudit.evidence.tiers import RECEIPT

Told = pytest.CaptureFixture[str]
MOMENT, LATER = "2026-11-01T00:00:00+00:00", "2026-11-01T00:00:01+00:00"
ODD_MOMENTS = [
    "2026-99-99T00:00:00+00:00",
    "0000-01-01T00:00:00+00:00",
    "\u0662\u0660\u0662\u0666-11-01T00:00:00+00:00",
    f"{MOMENT}\n",
    "2026-11-01",
]


def name_seal(run: Path, change: Callable[[dict[str, Any]], Any] | None = None, started: str = "2099-01-01T00:00:00+00:00") -> None:
    """Let a run name a seal of its plan that was changed before its digest was taken, as its maker could."""
    seal = json.loads(make_seal(read_pack(run).plan, None, MOMENT).content)
    if change is not None:
        change(seal)
    named = {"sha256": hashlib.sha256(canonical_json(seal)).hexdigest(), "document": seal}
    edit(run, lambda d: d.update(seal=named, started=started), "environment.json")
    assert main(["report", str(run)]) in (0, 4)


def seal_answer(run: Path, tmp_path: Path) -> int:
    policy = tmp_path / "sealed.yaml"
    policy.write_text("allow: [removed, hidden, exposed]\nsealed: plan\n")
    return main(["gate", str(run), "--policy", str(policy)])


SEALS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "margins": lambda s: s.update(margins={"leak": 0.001}),
    "seed": lambda s: s.update(seed=77),
    "data": lambda s: s.update(data={"labels": "keyed:" + "0" * 64}),
    "versions": lambda s: s.update(versions={"proxyaudit": "9.9"}),
    "program": lambda s: s.update(code="0" * 64),
    "name": lambda s: s.update(name="another audit"),
}


@pytest.mark.parametrize("name", list(SEALS))
def test_a_seal_of_the_very_plan_that_says_otherwise_is_none(name: str, today: Path, tmp_path: Path) -> None:
    name_seal(today, SEALS[name])
    assert seal_answer(today, tmp_path) == 1
    assert "The run does otherwise" in (today / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("moment", ODD_MOMENTS)
def test_a_moment_that_is_none_comes_neither_before_nor_after(moment: str, today: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(today, tmp_path / "other"))
    name_seal(today, started=moment)
    assert seal_answer(today, tmp_path) == 1
    name_seal(other, lambda s: s.update(made=moment))
    assert main(["verify", str(other)]) == 4


def receipt(run: Path, **one: Any) -> None:
    removed = {"what": "row sums", "name": "x", "bytes": 1, "sha256": "keyed:" + "0" * 64, **one.pop("removed", {})}
    purges = [{"began": MOMENT, "ended": LATER, "removed": [removed], **one}]
    plan = json.loads((run / "plan.json").read_bytes())["digest"]
    (run / RECEIPT).write_bytes(canonical_json({"receipt_version": "1.0", "plan_digest": plan, "purges": purges}))


RECEIPTS: list[dict[str, Any]] = [
    *({"began": moment} for moment in ODD_MOMENTS),
    {"ended": ODD_MOMENTS[0]},
    {"removed": {"what": "restricted file", "name": "../../x", "sha256": "0" * 64}},
    {"removed": {"what": "restricted file", "name": "evidence.json", "sha256": "0" * 64}},
    {"removed": {"sha256": "0" * 64}},
    {"removed": {"what": "kept result", "sha256": "0" * 64}},
]


@pytest.mark.parametrize("one", RECEIPTS, ids=range(len(RECEIPTS)))
def test_a_receipt_of_what_purge_cannot_have_deleted_is_none(one: dict[str, Any], today: Path) -> None:
    receipt(today)
    assert main(["verify", str(today)]) == 0
    receipt(today, **one)
    assert main(["verify", str(today)]) == 4


OPENING: dict[str, Any] = {
    **{"number": 1, "time": MOMENT, "purpose": "a scan", "opened_by": "age1qq", "previous": "0" * 64, "digest": "0" * 64},
    "files": {"signatures.json.age": "0" * 64},
}


@pytest.mark.parametrize(
    "change",
    [
        *({"time": moment} for moment in ODD_MOMENTS),
        *({"purpose": text} for text in (" ", "a\nb", "a\x1b[2J", " a", "\u3164\u3164", "1234")),
        *({"files": files} for files in ({}, {"evidence.json": "0" * 64}, {"signatures.json": "0" * 64})),
    ],
)
def test_a_line_that_access_does_not_write_is_no_line_of_its_log(change: dict[str, Any]) -> None:
    Opening.model_validate(OPENING)
    with pytest.raises(ValidationError):
        Opening.model_validate(OPENING | change)


@pytest.mark.parametrize("purpose", ["\u3164\u3164", "\u115f", "\u200b", "\u2800"])
def test_a_purpose_that_nobody_sees_is_none(purpose: str) -> None:
    with pytest.raises(InputError):
        check_purpose(purpose)


def dated(run: Path, day: str) -> Path:
    recipe = yaml.safe_load((run / "recipe.yaml").read_bytes())
    replace_files(run, {"recipe.yaml": yaml.safe_dump({**recipe, "retain_until": day}, sort_keys=False, allow_unicode=True).encode()})
    sign_again(run)
    return run


DUE: dict[str, Callable[[Path], Any]] = {
    "never purged": lambda run: None,
    "half purged": lambda run: receipt(run, ended=None),
    "the receipt of another run": lambda run: (receipt(run), edit_receipt(run)),
    "damaged": lambda run: (run / "evidence.json").write_bytes(b"{"),
    "not ended": lambda run: (run / "manifest.json").unlink(),
    "with a restricted file again": lambda run: (receipt(run), (run / "signatures.json.age").write_bytes(b"x")),
}


def edit_receipt(run: Path) -> None:
    document = json.loads((run / RECEIPT).read_bytes())
    (run / RECEIPT).write_bytes(canonical_json({**document, "plan_digest": "0" * 64}))


@pytest.mark.parametrize("name", list(DUE))
def test_nothing_hides_a_run_whose_day_has_passed(name: str, today: Path, capsys: Told) -> None:
    DUE[name](dated(today, "2020-01-31"))
    capsys.readouterr()
    assert main(["ls", str(today.parent), "--due", "--json"]) == 0
    assert [line["folder"] for line in json.loads(capsys.readouterr().out)] == [str(today)]


@pytest.mark.parametrize(
    ("recipe", "file"), [("cured.yaml", "release.csv"), ("mitigated.yaml", "mitigated-a-0.safetensors"), ("cured.yaml", "release.csv.age")]
)
def test_what_cure_and_mitigate_made_is_due_too(recipe: str, file: str, tmp_path: Path, capsys: Told) -> None:
    folder = tmp_path / "audit-made" / "0123456789ab"
    folder.mkdir(parents=True)
    (folder / recipe).write_text("# Written by 'proxyaudit cure': a test.\nname: x\nretain_until: '2020-01-31'\n")
    for there, told in ((True, [str(folder)]), (False, [])):
        (folder / file).write_bytes(b"rows") if there else (folder / file).unlink()
        assert main(["ls", str(tmp_path), "--due", "--json"]) == 0
        assert [line["folder"] for line in json.loads(capsys.readouterr().out)] == told


# Frameworks -------------------------------------------------------------------------------------------------------

NEED: dict[str, Any] = {"estimate": {"channel": "linear"}, "otherwise": "nobody looked"}


def own(path: Path, needs: dict[str, Any] = NEED, more: int = 0, clause: dict[str, Any] | None = None, **head: Any) -> Path:
    support = {"evidence_for": "looking", "needs": [needs]}
    made = {
        "id": "r1",
        "clause": "Rule 1",
        "asks": "Look.",
        "supports": [support] * (1 + more),
        "not_covered": "the rest",
        **(clause or {}),
    }
    document = {"name": "own", "title": "Our rules", "version": 1, "as_of": "2026-11-30", "source": "a book", "kind": "internal"}
    path.write_text(yaml.safe_dump({**document, "wording": "primary", "clauses": [made], **head}, allow_unicode=True), encoding="utf-8")
    return path


PASSES_FOR: list[dict[str, Any]] = [
    {"name": "eu-ai-act"},
    {"name": "eu-act", "title": "EU AI Act"},
    {"title": "eu  ai ACT"},
    {"title": " "},
    {"title": "Ours\nEU AI Act: evidence for 11 of 11 clauses"},
    {"clause": {"not_covered": "  "}},
    {"clause": {"asks": "Look\u202e."}},
    {"clause": {"clause": "\u3164"}},
    {"needs": {"estimate": {}, "otherwise": "x"}},
    {"needs": {"estimate": {"measured": False}, "otherwise": "x"}},
    {"needs": {"finding": {}, "otherwise": "x"}},
    {"more": 1},
    {"version": True},
]


@pytest.mark.parametrize("change", PASSES_FOR, ids=range(len(PASSES_FOR)))
def test_a_framework_of_ones_own_passes_for_no_other_and_asks_for_something(change: dict[str, Any], today: Path, tmp_path: Path) -> None:
    assert main(["controls", str(today), "--framework", str(own(tmp_path / "own.yaml"))]) == 0
    assert main(["controls", str(today), "--framework", str(own(tmp_path / "own.yaml", **change))]) == 2


def test_it_is_told_as_that_and_two_of_one_name_are_refused(today: Path, tmp_path: Path, capsys: Told) -> None:
    first, second = own(tmp_path / "a.yaml"), own(tmp_path / "b.yaml", title="Other rules")
    assert main(["controls", str(today), "--framework", str(first)]) == 0
    assert "A framework of your own." in " ".join(capsys.readouterr().out.split())
    assert main(["controls", str(today), "--framework", str(first), "--framework", str(second)]) == 2
    assert main(["controls", str(today), "--framework", str(first), "--framework", "gdpr", "--oscal", str(tmp_path / "o.json")]) == 0
    results = json.loads((tmp_path / "o.json").read_bytes())["assessment-results"]["results"]
    assert ["reader's own" in one["description"] for one in results] == [True, False]


@pytest.mark.parametrize(("change", "answer"), [(None, True), (SEALS["margins"], False), ("none", False)])
def test_a_sealed_run_is_claimed_as_sealed_where_it_keeps_to_its_seal(change: Any, answer: bool, today: Path) -> None:
    if change != "none":
        name_seal(today, change)
    law = next(one for one in claims(read_pack(today), shipped_frameworks()) if one.framework.name == "eu-ai-act")
    (records,) = [clause for clause in law.clauses if clause.id == "art-4a-1-f"]
    assert (records.answer == "supported") == answer
    assert answer or "names no seal that it keeps to" in records.unsupported[0].why
    assert "maker's word" in records.not_covered


def test_a_day_to_delete_rows_is_no_day_to_keep_documents(today: Path) -> None:
    law = next(one for one in claims(read_pack(dated(today, "2026-01-31")), shipped_frameworks()) if one.framework.name == "eu-ai-act")
    answers = {clause.id: clause.answer for clause in law.clauses}
    assert (answers["art-18"], answers["art-4a-1-e"]) == ("not_supported", "in_part")


@pytest.mark.parametrize(("name", "traced"), [("example", [9]), ("example-release", [2]), ("example-text", [1])])
def test_what_the_gallery_leaves_open_is_not_claimed(name: str, traced: list[int]) -> None:
    pack = read_pack(Path(__file__).parents[2] / "reports" / name)
    found = {one.framework.name: {clause.id: clause for clause in one.clauses} for one in claims(pack, shipped_frameworks())}
    trace = found["fca-synthetic-data"]["auditability"]
    assert [len(said.findings) for said in trace.supported] == traced
    assert trace.answer == "in_part", "a release has a digest, and rows that the audit had made have none"
    used = {(e.attribute, e.regime) for e in pack.evidence.estimates if e.channel == "used" and e.state in ("present", "absent")}
    explained = found["nist-ai-rmf"]["measure-2.9"].supported
    assert {(one.attribute, one.regime) for said in explained for one in said.findings} == used
    results = assessment_results(pack, claims(pack, shipped_frameworks()))["assessment-results"]["results"]
    told = [one for result in results for one in result.get("observations", ())]
    left = [said for one in claims(pack, shipped_frameworks()) if one.applies for clause in one.told for said in clause.supported]
    assert ["remarks" in one for one in told] == [bool(said.left) for said in left]
