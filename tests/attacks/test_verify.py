"""Someone changes a run directory: by accident, or knowing what they do. ``verify`` must notice."""

from __future__ import annotations

import json
import os
import random
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from released_packs import PACKS, PLAIN_FILES, Document, edit, mitigation

from proxyaudit.cli.main import main
from proxyaudit.errors import InputError
from proxyaudit.evidence.manifest import replace_files, seal_folder
from proxyaudit.evidence.pack import find_run, list_runs
from proxyaudit.evidence.receipts import Purge, Receipt, Removed, write_receipt
from proxyaudit.verification.files import check_bytes
from proxyaudit.verification.run import find_folder, verify_folder


@pytest.mark.parametrize("archive", sorted(PACKS.glob("*.tar.xz")), ids=lambda path: path.name)
def test_packs_of_every_released_schema_verify(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, **PLAIN_FILES)
    folders = {path.parent for path in tmp_path.rglob("manifest.json")}
    assert folders
    for found in folders:
        # Pages and sentences of another version cannot be checked, so the whole is never called verified.
        assert main(["verify", str(found), "--json"]) == 3
        document = json.loads(capsys.readouterr().out)
        assert (document["verified"], document["outcome"], document["exit_code"]) == (False, "verified in part", 3)
        assert set(document["skipped"]) <= {"sentences", "reports", "page", "older schema", "change record"}
        assert document["problems"] == []
        assert all(check["state"] in ("passed", "skipped") for check in document["checks"])
        passed = {check["name"] for check in document["checks"] if check["state"] == "passed"}
        wanted = (
            {"files", "form", "checkpoints", "figures"}
            if document["kind"] == "mitigation"
            else {"files", "states", "verdicts", "plan digest"}
        )
        assert wanted <= passed


def _spoil(folder: Path, rng: random.Random) -> tuple[str, Callable[[], None]]:
    """Flip a byte, delete a file or add something; returns what was touched and how to undo it."""
    path = rng.choice(sorted(folder.iterdir()))
    kind = rng.choice(("flip", "flip", "flip", "delete", "append", "add file", "add folder", "add link"))
    data = path.read_bytes()
    if kind == "delete":
        path.unlink()
        return path.name, lambda: path.write_bytes(data) and None
    if kind in ("flip", "append"):
        changed = bytearray(data)
        if kind == "flip":
            changed[rng.randrange(len(changed))] ^= rng.randrange(1, 256)
        else:
            changed.insert(rng.choice((0, len(changed))), rng.choice(b"\n {0"))
        path.write_bytes(bytes(changed))
        return path.name, lambda: path.write_bytes(data) and None
    extra = folder / rng.choice((".hidden", "notes.txt", "evidence.json.bak", ".writing-plan.json", "Manifest.json "))
    if kind == "add folder":
        extra.mkdir()
        return extra.name, extra.rmdir
    if kind == "add link":
        extra.symlink_to(path.name)
    else:
        extra.write_bytes(b"" if rng.random() < 0.5 else data[:10])
    return extra.name, extra.unlink


@pytest.mark.parametrize(("kind", "trials"), [("run", 200), ("probe", 60), ("mitigation", 60)])
def test_every_random_change_is_found_and_named(kind: str, trials: int, folder: Callable[[str], Path]) -> None:
    own = folder(kind)
    own = mitigation(own) if kind == "mitigation" else own
    rng = random.Random(20261124)
    for trial in range(trials):
        name, undo = _spoil(own, rng)
        found = verify_folder(own)
        assert found.outcome == "altered", (trial, name)
        # A changed manifest is named itself, or by the file whose hash it no longer has.
        assert name == "manifest.json" or any(name in problem for problem in found.problems), (name, found.problems)
        undo()
    assert verify_folder(own).outcome == "verified in part"


def test_every_single_byte_of_the_manifest_counts(folder: Callable[[str], Path]) -> None:
    own = folder("run")
    manifest = own / "manifest.json"
    data = manifest.read_bytes()
    maker = json.loads(data)["rendered_by"]
    for place in range(0, len(data), 3):
        manifest.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        # Another digest of the renderer alone says "another version": the one thing there that no file has.
        assert check_bytes(own, (), None) or json.loads(manifest.read_bytes())["rendered_by"] != maker, place


def estimate(document: Document, **where: Any) -> Document:
    return next(e for e in document["estimates"] if all(e[key] == value for key, value in where.items()))


def _set(document: Document, index: int, **values: Any) -> None:
    document["findings"][index].update(values)


def _drop_control(document: Document, renumber: bool) -> None:
    gone = next(
        k for k, c in enumerate(document["controls"]) if c["passed"] is False and c["kind"] == "positive" and c["channel"] == "linear"
    )
    removed = document["controls"].pop(gone)["id"]
    names = {c["id"]: f"C{k + 1}" for k, c in enumerate(document["controls"])}
    for finding in document["findings"]:
        finding["control_refs"] = [names[c] if renumber else c for c in finding["control_refs"] if c != removed]
    for control in document["controls"] if renumber else ():
        control["id"] = names[control["id"]]


def _drop_estimate(document: Document) -> None:
    """Remove the one estimate of a channel and number the rest anew."""
    gone = estimate(document, channel="elsewhere", state="present")
    document["estimates"].remove(gone)
    names = {e["id"]: f"E{k + 1}" for k, e in enumerate(document["estimates"])}
    for e in document["estimates"]:
        e["id"] = names[e["id"]]
    for finding in document["findings"]:
        finding["decided_by"] = [names[e] for e in finding["decided_by"]]


def _mend_passed(document: Document) -> None:
    next(c for c in document["controls"] if c["kind"] == "positive" and c["passed"] is False)["passed"] = True


EDITS: dict[str, tuple[str, Callable[[Document], None], str]] = {
    "verdict flipped": ("run", lambda d: _set(d, 0, verdict="removed"), "verdict is removed"),
    "verdict of activations flipped": ("probe", lambda d: _set(d, 0, verdict="hidden"), "verdict is hidden"),
    "verdict, use and mechanisms flipped": (
        "run",
        lambda d: _set(d, 0, verdict="removed", use=["none"], mechanisms=[], decided_by=[], encoding="absent"),
        "verdict is removed",
    ),
    "at least hidden left out": ("run", lambda d: _set(d, 1, at_least="hidden"), "at_least is hidden"),
    "encoding": ("probe", lambda d: _set(d, 1, encoding="linear"), "encoding is linear"),
    "recoverable": ("run", lambda d: _set(d, 0, recoverable=["none"]), "recoverable is none"),
    "state flipped": ("run", lambda d: estimate(d, channel="expressed", state="present").update(state="absent"), "says absent"),
    "state quietened": (
        "probe",
        lambda d: estimate(d, channel="linear", state="present").update(state="unknown", reason="x"),
        "says unknown",
    ),
    "unknown made absent": ("probe", lambda d: estimate(d, id="E41").update(state="absent", reason=None), "says absent"),
    "p across its threshold": ("run", lambda d: estimate(d, channel="expressed", state="present").update(p_present=0.04), "says present"),
    "p of absence across": ("probe", lambda d: estimate(d, id="E5").update(p_absent=0.02), "says absent"),
    "p of absence given": ("probe", lambda d: estimate(d, id="E41").update(p_absent=0.001, p_present=1.0, value=0.001), "E41"),
    "null said to be exceeded": ("run", lambda d: estimate(d, channel="linear", state="present").update(beyond_null=False), "says present"),
    "margin moved": ("run", lambda d: estimate(d, channel="linear", state="present").update(margin=0.9), "margin of 0.9"),
    "value moved": (
        "run",
        lambda d: estimate(d, channel="linear", state="present").update(value=0.001, low=0.0),
        "mean of its repetitions",
    ),
    "value outside": ("probe", lambda d: estimate(d, id="E1").update(value=0.9, seed_values=[0.9]), "outside its own interval"),
    "repetitions moved": (
        "run",
        lambda d: estimate(d, channel="linear", state="present").update(value=0.2, low=0.1, high=0.3, seed_values=[0.2, 0.2]),
        "arrays.safetensors",
    ),
    "failed control dropped": ("run", lambda d: _drop_control(d, False), "not numbered one by one"),
    "failed control dropped, others renumbered": ("run", lambda d: _drop_control(d, True), "positive control of"),
    "failed control passed": ("run", _mend_passed, "its figures say otherwise"),
    "estimate dropped, others renumbered": ("run", _drop_estimate, "no elsewhere estimate"),
    "finding dropped": ("run", lambda d: d["findings"].pop(0) and None, "is missing"),
    "finding invented": ("run", lambda d: d["findings"].append({**d["findings"][0], "attribute": "age"}), "asks for no finding"),
    "regime invented": ("probe", lambda d: d["findings"].append({**d["findings"][0], "regime": "new"}), "asks for no finding"),
    "reference invented": ("run", lambda d: _set(d, 0, decided_by=["E999"]), "decided_by is E999"),
    "control reference invented": ("run", lambda d: _set(d, 0, control_refs=["C1"]), "control_refs is C1"),
    "change": ("probe", lambda d: d["findings"][1]["change"].update(encoding="unchanged"), "change.encoding is unchanged"),
    "change of use": ("run", lambda d: d["findings"][1]["change"].update(use="reduced"), "change.use is reduced"),
    "ratio": ("run", lambda d: _set(d, 1, retention="E1"), "retention is E1"),
    "origin": ("run", lambda d: d["findings"][0]["origin"].update(encoding="learned"), "origin.encoding is learned"),
    "basis": ("run", lambda d: _set(d, 0, basis="explained_by_label"), "basis is explained_by_label"),
    "role": ("run", lambda d: _set(d, 0, role="proxy"), "role is proxy"),
    "what was not tested": ("probe", lambda d: d["run"].update(seed=7), "seed of the run"),
    "run id": ("run", lambda d: d["run"].update(id="0" * 12), "id of the run"),
    "status": ("run", lambda d: d["run"].update(status="partial"), "the run is partial"),
    "schema": ("run", lambda d: d.update(schema_version="1.1"), "schema version"),
}


@pytest.mark.parametrize("name", list(EDITS))
def test_an_edit_with_mended_hashes_is_still_found(name: str, folder: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    kind, change, words = EDITS[name]
    own = folder(kind)
    edit(own, change)
    assert main(["verify", str(own)]) == 4
    out = capsys.readouterr()
    assert words in out.err, out.err
    assert "NOT as it was written" in out.out
    assert main(["gate", str(own)]) == 4
    assert main(["compare", str(own), str(own)]) == 4


PLANS: dict[str, tuple[str, Callable[[Document], None], str]] = {
    "margins": ("plan.json", lambda d: d["margins"].update(leak=0.5), "digest"),
    "regimes": ("plan.json", lambda d: d["regimes"].pop() and None, "digest"),
    "hash of the data": ("plan.json", lambda d: d["hashes"].update(data="0" * 64), "digest"),
    "digest": ("plan.json", lambda d: d.update(digest="0" * 64), "digest"),
    "failures": ("environment.json", lambda d: d["failures"].append("train real, repetition 0: x"), "lists 1 failures"),
}


@pytest.mark.parametrize("name", list(PLANS))
def test_a_plan_changed_afterwards_is_found(name: str, folder: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    file, change, words = PLANS[name]
    own = folder("run")
    edit(own, change, file)
    assert main(["verify", str(own)]) == 4
    assert words in capsys.readouterr().err


def test_a_recipe_changed_afterwards_is_found(folder: Callable[[str], Path]) -> None:
    own = folder("run")
    text = (own / "recipe.yaml").read_text(encoding="utf-8")
    replace_files(own, {"recipe.yaml": text.replace("epochs: 2", "epochs: 3").encode()})
    assert any("digest" in line for line in verify_folder(own).problems)


def _twice(data: bytes) -> bytes:
    return data.replace(b'"schema_version": "1.0"', b'"schema_version": "1.0",\n "schema_version": "1.0"', 1)


FORMS: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "key twice": ("evidence.json", _twice, "given twice"),
    "bytes after the end": ("evidence.json", lambda data: data + b"{}", "cannot be read"),
    "line after the end": ("plan.json", lambda data: data + b"\n", "not in the form"),
    "spaces": ("evidence.json", lambda data: data.replace(b": ", b":  ", 1), "not in the form"),
    "NaN": ("evidence.json", lambda data: data.replace(b'"value": 0', b'"value": NaN, "x": 0', 1), "cannot be read"),
    "no UTF-8": ("environment.json", lambda data: data[:-3] + b"\xff\n}\n", "cannot be read"),
    "no JSON object": ("environment.json", lambda data: b"[]\n", "environment.json"),
    "nested too deeply": ("environment.json", lambda data: b"[" * 100_000, "environment.json cannot be read"),
    "recipe key twice": ("recipe.yaml", lambda data: data + b"name: other\n", "given twice"),
    "recipe with an object": ("recipe.yaml", lambda data: data + b"x: !!python/object/apply:os.system ['true']\n", "cannot be read"),
    "arrays cut": ("arrays.safetensors", lambda data: data[:-1], "arrays.safetensors"),
    "arrays longer": ("arrays.safetensors", lambda data: data + b"\0", "arrays.safetensors"),
    "array metadata": ("arrays.safetensors", lambda data: _header(data, {"__metadata__": {"a": "b"}}), "metadata"),
    "array header spaced": ("arrays.safetensors", lambda data: _header(data, {}, separators=(", ", ": ")), "another form"),
    "no arrays": ("arrays.safetensors", lambda data: (2).to_bytes(8, "little") + b"{}", "not those of evidence.json"),
    "empty": ("arrays.safetensors", lambda data: b"", "cut short"),
    "report edited": ("report.md", lambda data: data + b"x", "report.md is not what the evidence gives"),
    "page edited": ("report.html", lambda data: data.replace(b"exposed", b"removed"), "report.html is not what the evidence gives"),
}


def _header(data: bytes, more: Document, separators: tuple[str, str] = (",", ":")) -> bytes:
    size = int.from_bytes(data[:8], "little")
    header = json.dumps({**json.loads(data[8 : 8 + size]), **more}, separators=separators).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


@pytest.mark.parametrize("name", list(FORMS))
def test_a_file_in_another_form_is_found(name: str, folder: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    file, change, words = FORMS[name]
    own = folder("run")
    if file.startswith("report"):
        # The reports of a pack are made again where the same version wrote them: here, just now.
        assert main(["report", str(own)]) == 0
        # Some of the older version's sentences would be worded otherwise by now.
        assert verify_folder(own).skipped == ("older schema", "sentences")
        capsys.readouterr()
    data = (own / file).read_bytes()
    assert change(data) != data
    replace_files(own, {file: change(data)})
    assert main(["verify", str(own)]) == 4
    assert words in capsys.readouterr().err


def test_a_removed_manifest_is_an_incomplete_run(folder: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    own = folder("run")
    (own / "manifest.json").unlink()
    for path in (own, own.parent):
        assert main(["verify", str(path)]) == 4
        assert "incomplete" in capsys.readouterr().err
    for name in ("plan.json", "evidence.json"):
        (own / name).unlink()
    assert main(["verify", str(own)]) == 4


def test_links_in_the_place_of_files_are_found(folder: Callable[[str], Path]) -> None:
    own = folder("run")
    for name in ("manifest.json", "plan.json"):
        kept = own.parent / f"kept-{name}"
        (own / name).rename(kept)
        (own / name).symlink_to(kept)
        assert any(f"{name} is not a plain file" in line for line in verify_folder(own).problems)


def test_a_file_added_to_the_manifest_too_is_found(folder: Callable[[str], Path]) -> None:
    own = folder("run")
    replace_files(own, {"notes.txt": b"all is well"})
    assert any("notes.txt" in line for line in verify_folder(own).problems)


def test_names_that_terminals_would_obey_are_shown_harmlessly(folder: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    own = folder("run")
    (own / "a\x1b[31m\nb\u202e").write_text("x")
    (own / os.fsdecode(b"caf\xe9")).write_text("x")
    assert main(["verify", str(own)]) == 4
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert err.count("\n") == 2
    assert main(["verify", str(own), "--json"]) == 4
    assert len(json.loads(capsys.readouterr().out)["problems"]) == 2


def test_a_report_left_out_of_folder_and_manifest_is_found(folder: Callable[[str], Path]) -> None:
    own = folder("run")
    (own / "report.html").unlink()
    seal_folder(own)
    assert any("report.html is not listed" in line for line in verify_folder(own).problems)


def test_a_path_that_is_no_run_is_bad_usage(tmp_path: Path, folder: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("x")
    for path in ("nowhere", "empty", "file.txt"):
        assert main(["verify", str(tmp_path / path), "--json"]) == 2
        assert json.loads(capsys.readouterr().out)["exit_code"] == 2
    folder("run"), folder("probe")
    with pytest.raises(InputError, match="2 runs"):
        find_folder(tmp_path)


def test_a_newer_schema_is_said_in_words(folder: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    own = folder("run")
    edit(own, lambda d: d.update(schema_version="7.0"))
    assert main(["verify", str(own)]) == 2
    assert "schema version '7.0'" in capsys.readouterr().err


def test_a_mitigation_is_no_run(originals: dict[str, Path]) -> None:
    assert list_runs(originals["mitigation"]) == [find_run(originals["mitigation"])]
    assert not find_run(originals["mitigation"]).name.startswith("mitigation")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["verdicts"][0]["after"].update(verdict="removed"), "verdicts is not that of the audit"),
        (lambda d: d["channels"][0]["after"].update(value=0.0), "channels is not that of the audit"),
        (lambda d: d["checkpoints"].update({"mitigated-0.safetensors": "0" * 64}), "mitigated-0.safetensors is not the checkpoint"),
        (lambda d: d["audit"].update(plan_digest="0" * 64), "names another audit"),
        (lambda d: d.pop("channels") and None, "lacks what a mitigation holds"),
    ],
)
def test_a_mitigation_that_its_audit_does_not_bear_out_is_found(
    change: Callable[[Document], None], words: str, folder: Callable[[str], Path]
) -> None:
    own = mitigation(folder("mitigation"))
    edit(own, change, "mitigation.json")
    assert any(words in line for line in verify_folder(own).problems)


@pytest.mark.parametrize("name", ["plain", "encrypted", "encrypted, of another digest"])
def test_a_receipt_excuses_no_checkpoint_that_the_manifest_does_not_list(name: str, folder: Callable[[str], Path]) -> None:
    """Taken out of the folder and of its manifest, and said to have been purged."""
    made = mitigation(folder("mitigation"))
    checkpoints = json.loads((made / "mitigation.json").read_text())["checkpoints"]
    lost = min(checkpoints)
    (made / lost).unlink()
    seal_folder(made)
    told = {"plain": (lost, checkpoints[lost]), "encrypted": (f"{lost}.age", checkpoints[lost])}.get(name, (f"{lost}.age", "0" * 64))
    gone = Removed(what="restricted file", name=told[0], bytes=1, sha256=told[1])
    purge = Purge(began="2026-11-30T00:00:00+00:00", ended=None, removed=(gone,))
    write_receipt(made, Receipt(receipt_version="1.0", plan_digest=None, purges=(purge,)))
    problems = [line for check in verify_folder(made).checks if check.name == "checkpoints" for line in check.problems]
    assert problems == [f"{lost} is not the checkpoint that mitigation.json names"]
