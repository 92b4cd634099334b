"""Whoever rewrites a change record, swaps it, drops it, or puts one change's signature on another."""

from __future__ import annotations

import base64
import contextlib
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("securesystemslib", reason="the extra 'sign' is not installed")

from signers import PASSPHRASE, make_key, public, sign

from proxyaudit.attestation.keys import PASSPHRASE as VARIABLE
from proxyaudit.attestation.statements import CHANGE, read_statement
from proxyaudit.attestation.trust import Trust, read_trust
from proxyaudit.cli.main import main
from proxyaudit.comparison.records import reads_change
from proxyaudit.digests import file_digest
from proxyaudit.errors import IntegrityError
from proxyaudit.evidence.canonical import canonical_json, parse_json
from proxyaudit.evidence.changes import CHANGE_FILE, CHANGE_PAGE, parse_change, read_change
from proxyaudit.evidence.manifest import ATTESTATION, MANIFEST, seal_folder
from proxyaudit.evidence.pack import read_pack
from proxyaudit.evidence.tiers import is_restricted
from proxyaudit.keeping.changes import cited_changes
from proxyaudit.publication import write_record
from proxyaudit.secret import keyed_hash
from proxyaudit.verification.changes import verify_change
from tests.conftest import build_pack
from tests.helpers.changes import CANARY, close_cure, close_mitigation, make_changes

Told = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, PASSPHRASE)
    monkeypatch.setattr("os.fsync", lambda handle: None)  # thousands of files that nobody needs after the test


@pytest.fixture(scope="module")
def alice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("alice"))


@pytest.fixture(scope="module")
def mallory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("mallory"), "mallory")


@pytest.fixture(scope="module")
def originals(alice: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("changes") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, PASSPHRASE)
        for folder in make_changes(out):
            assert sign(folder, alice) == 0
    return out


@pytest.fixture
def made(originals: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A signed cure and a signed mitigation, with their runs."""
    out = Path(shutil.copytree(originals, tmp_path / "out"))
    return next((out / "quickstart-cured").iterdir()), next((out / "quickstart-mitigated").glob("mitigation-*"))


def outcome(folder: Path, trust: Trust = Trust()) -> str:  # noqa: B008 - a frozen value
    return verify_change(folder, trust).outcome


def leaves(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Places of all numbers, words and truth values of a JSON document."""
    if isinstance(document, dict):
        return [leaf for key in document for leaf in leaves(document[key], (*path, key))]
    if isinstance(document, list):
        return [leaf for index in range(len(document)) for leaf in leaves(document[index], (*path, index))]
    return [path]


def changed(document: Any, path: tuple[Any, ...], rng: random.Random) -> None:
    """Put another value at a place."""
    for key in path[:-1]:
        document = document[key]
    old = document[path[-1]]
    number = isinstance(old, int | float) and not isinstance(old, bool)
    document[path[-1]] = round(rng.uniform(-1, 1), 3) if number else f"{old} not" if isinstance(old, str) else 0.5


def test_both_are_verified_with_the_key_and_in_part_without(made: tuple[Path, Path], alice: Path, capsys: Told) -> None:
    for folder in made:
        assert main(["verify", str(folder), "--key", public(alice)]) == 0, capsys.readouterr()
        assert main(["verify", str(folder)]) == 3
        assert main(["verify", str(folder / CHANGE_FILE), "--key", public(alice)]) == 0


@pytest.mark.long
def test_200_rewrites_that_fit_throughout_are_found_by_the_key(made: tuple[Path, Path], alice: Path) -> None:
    """Figures, record, page and manifest are all made anew, and the runs that would tell are taken away."""
    rng, trust, caught = random.Random(1), read_trust([Path(public(alice))]), 0
    for folder in (made[0].parent.parent / "quickstart", *made[1].parent.glob("b*")):
        shutil.rmtree(folder)
    for folder, name, close in ((made[0], "cure.json", close_cure), (made[1], "mitigation.json", close_mitigation)):
        document, attestation = json.loads((folder / name).read_text()), (folder / ATTESTATION).read_bytes()
        version = ("cure_version",), ("mitigation_version",), ("release", "file")
        places = [path for path in leaves(document) if path not in version and path[0] != "checkpoints"]
        for path in (rng.choice(places) for _ in range(100)):
            forged = json.loads(json.dumps(document))
            changed(forged, path, rng)
            try:
                close(forged, folder)
            except (KeyError, ValueError, TypeError):
                seal_folder(folder)  # it is none that could be written any more
            (folder / ATTESTATION).write_bytes(attestation)
            caught += outcome(folder, trust) == "altered"
    assert caught == 200


@pytest.mark.parametrize("number", range(6))
def test_numbers_that_are_not_those_of_the_run_are_found_without_a_key(made: tuple[Path, Path], number: int) -> None:
    rng = random.Random(number)
    for folder, name, close, key in (
        (made[0], "cure.json", close_cure, "promised"),
        (made[1], "mitigation.json", close_mitigation, "channels"),
    ):
        document = json.loads((folder / name).read_text())
        places = [path for path in leaves(document) if path[0] == key and path[-1] in ("value", "low", "high")]
        changed(document, rng.choice([path for path in places if path]), rng)
        close(document, folder)
        found = verify_change(folder, Trust())
        assert any(check.name == "figures" and check.problems for check in found.checks), found


def test_a_rewritten_record_does_not_follow_from_the_figures_beside_it(made: tuple[Path, Path], capsys: Told) -> None:
    rng, tried = random.Random(2), 0
    for folder in made:
        original = json.loads((folder / CHANGE_FILE).read_text())
        for path in rng.sample([path for path in leaves(original) if path[0] not in ("change_version", "id")], 12):
            forged = json.loads(json.dumps(original))
            changed(forged, path, rng)
            (folder / CHANGE_FILE).write_bytes(canonical_json(forged))
            with contextlib.suppress(ValueError, KeyError):  # a page is made where one can be
                write_record(folder, parse_change(canonical_json(forged)))
            seal_folder(folder)
            assert main(["verify", str(folder)]) == 4, path
            tried += 1
    assert tried == 24
    assert "Traceback" not in capsys.readouterr().err


def other_cure(folder: Path) -> Path:
    """Another cure of the same run."""
    other = folder.with_name("f" * 12)
    shutil.copytree(folder, other)
    document = json.loads((folder / "cure.json").read_text())
    close_cure({**document, "words": "something else", "columns": ["age"]}, other)
    return other


def swap_record(folder: Path) -> None:
    other = other_cure(folder)
    for name in (CHANGE_FILE, CHANGE_PAGE):
        shutil.copy(other / name, folder / name)
    seal_folder(folder)


def swap_everything(folder: Path) -> None:
    other = other_cure(folder)
    shutil.rmtree(folder)
    shutil.copytree(other, folder)


def drop_record(folder: Path) -> None:
    (folder / CHANGE_FILE).unlink()
    (folder / CHANGE_PAGE).unlink()
    seal_folder(folder)


def link_record(folder: Path) -> None:
    (folder / CHANGE_FILE).rename(folder.parent / CHANGE_FILE)
    (folder / CHANGE_FILE).symlink_to(folder.parent / CHANGE_FILE)


def double_key(folder: Path) -> None:
    text = (folder / CHANGE_FILE).read_text()
    (folder / CHANGE_FILE).write_text(text.replace("{\n", '{\n "attribute": "sex",\n', 1))
    seal_folder(folder)


def other_page(folder: Path) -> None:
    (folder / CHANGE_PAGE).write_text((folder / CHANGE_PAGE).read_text().replace("exposed", "removed"))
    seal_folder(folder)


def other_release(folder: Path) -> None:
    (folder / "release.csv").write_text("job,pay\nsmith,low\n")
    seal_folder(folder)


@pytest.mark.parametrize(
    "attack", [swap_record, swap_everything, drop_record, link_record, double_key, other_page, other_release], ids=lambda f: f.__name__
)
def test_swapped_dropped_and_spoilt_records(made: tuple[Path, Path], attack: Callable[[Path], None], capsys: Told) -> None:
    attack(made[0])
    capsys.readouterr()
    assert main(["verify", str(made[0])]) == 4
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert told


def test_a_signature_belongs_to_one_change(made: tuple[Path, Path], alice: Path, mallory: Path, capsys: Told) -> None:
    cure, mitigation = made
    assert main(["verify", str(cure), "--key", public(mallory)]) == 4
    assert "did not sign this change" in capsys.readouterr().err
    own = (mitigation / ATTESTATION).read_bytes()
    shutil.copy(cure / ATTESTATION, mitigation / ATTESTATION)
    assert main(["verify", str(mitigation)]) == main(["verify", str(mitigation), "--key", public(alice)]) == 4
    (mitigation / ATTESTATION).write_bytes(own)
    (cure / ATTESTATION).unlink()
    assert main(["verify", str(cure), "--key", public(alice)]) == 4
    assert main(["verify", str(mitigation), "--key", public(alice)]) == 0
    # That of a run is none of a change, whatever its files are called.
    run = next((cure.parent.parent / "quickstart").iterdir())
    shutil.copy(mitigation / ATTESTATION, run / ATTESTATION)
    assert main(["verify", str(run), "--key", public(alice)]) == 4


@pytest.mark.parametrize("whose", ["mallory's", "of the other change", "drawn"])
def test_a_signature_in_the_name_of_another(whose: str, made: tuple[Path, Path], alice: Path, mallory: Path) -> None:
    """The right statement about the right files, the id of the right key, and bytes that this key never signed for it."""
    listed = [json.loads((folder / ATTESTATION).read_bytes()) for folder in made]
    own, stolen = listed[0][0]["signatures"][0]["keyid"], [one[0]["signatures"][0]["sig"] for one in listed]
    for place, folder in enumerate(made):
        if whose == "mallory's":
            (folder / ATTESTATION).unlink()
            assert sign(folder, mallory) == 0
            sig = json.loads((folder / ATTESTATION).read_bytes())[0]["signatures"][0]["sig"]
        else:
            sig = stolen[1 - place] if whose == "of the other change" else base64.b64encode(random.Random(place).randbytes(64)).decode()
        document = [{**listed[place][0], "signatures": [{"keyid": own, "sig": sig}]}]
        (folder / ATTESTATION).write_bytes(canonical_json(document))
        assert outcome(folder) == "verified in part"  # nobody checked
        found = verify_change(folder, read_trust((Path(public(alice)),)))
        assert found.outcome == "altered"
        assert any("a signature is not that of the key 'alice'" in line for line in found.problems)
        (folder / ATTESTATION).write_bytes(canonical_json(listed[place]))
        assert outcome(folder, read_trust((Path(public(alice)),))) == "verified"


def test_what_is_signed_is_the_record_and_every_file(made: tuple[Path, Path]) -> None:
    for folder in made:
        (envelope,) = json.loads((folder / ATTESTATION).read_text())
        statement = read_statement(base64.b64decode(envelope["payload"]))
        assert statement.kind == CHANGE
        assert statement.subjects == parse_json((folder / MANIFEST).read_bytes())["files"]
        assert statement.says["change"]["residual_risk"] == list(read_change(folder).residual_risk)


def test_no_row_stands_in_what_is_public(made: tuple[Path, Path]) -> None:
    for folder in made:
        public_files = [path for path in folder.iterdir() if not is_restricted(path.name)]
        assert {CHANGE_FILE, CHANGE_PAGE, ATTESTATION} <= {path.name for path in public_files}
        assert not [path.name for path in public_files if CANARY.encode() in path.read_bytes()]


def test_history_and_compare_cite_records_and_leave_out_what_was_altered(
    made: tuple[Path, Path], alice: Path, tmp_path: Path, capsys: Told
) -> None:
    cure, mitigation = made
    out = tmp_path / "out"
    source, audit = (next((out / name).glob(glob)) for name, glob in (("quickstart", "*"), ("quickstart-mitigated", "b*")))
    capsys.readouterr()
    code = main(["history", str(out), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert [one["folder"] for one in told["changes"]] == [f"quickstart-cured/{cure.name}", f"quickstart-mitigated/{mitigation.name}"]
    assert all(len(one["signed_in_the_name_of"]) == 1 for one in told["changes"])
    assert main(["history", str(out)]) == code
    assert "Recorded changes" in capsys.readouterr().out
    record = read_change(mitigation)
    assert record.audit is not None
    assert record.audit.run_id == read_pack(audit).evidence.run.id
    assert record.source.run_id == source.name
    other_page(mitigation)
    assert main(["history", str(out), "--json"]) == 4
    told = json.loads(capsys.readouterr().out)
    assert mitigation.name in " ".join(one["folder"] for one in told["left_out"])
    assert main(["sign", str(mitigation), "--key", str(alice)]) == 4


def test_mistakes_of_a_signer(made: tuple[Path, Path], alice: Path, tmp_path: Path, capsys: Told) -> None:
    (tmp_path / "policy.yaml").write_text("allow: [removed]\n")
    assert main(["sign", str(made[0]), "--key", str(alice), "--policy", str(tmp_path / "policy.yaml")]) == 2
    assert "no policy decides on a change record" in capsys.readouterr().err
    assert main(["verify", str(made[0]), "--seal", str(tmp_path / "policy.yaml")]) == 2


def test_compare_cites_what_run_b_audits_and_nothing_else(made: tuple[Path, Path], tmp_path: Path) -> None:
    cure, mitigation = made
    source, audit = (next((tmp_path / "out" / name).glob(glob)) for name, glob in (("quickstart", "*"), ("quickstart-mitigated", "b*")))
    cited, (line,) = cited_changes(read_pack(audit), (source, audit))
    assert [one["change"]["id"] for one in cited] == [mitigation.name]
    assert "erased from the models of 'real'" in line
    assert "signed in the name of the key" in line
    assert cited_changes(read_pack(source), (source, source)) == ((), [])
    cited, lines = cited_changes(read_pack(audit), (source,), [cure])
    assert [one["change"]["id"] for one in cited] == [mitigation.name]
    assert "run B does not audit what cure" in lines[0]
    other_page(cure)
    with pytest.raises(IntegrityError, match=r"change\.md"):
        cited_changes(read_pack(audit), (source,), [cure])
    other_page(mitigation)
    cited, lines = cited_changes(read_pack(audit), (audit,))
    assert cited == ()
    assert "was altered and is not cited" in lines[0]


def test_a_run_of_the_cured_release_is_known_by_its_digest(made: tuple[Path, Path]) -> None:
    record, pack = read_change(made[0]), build_pack()
    digest, name = record.artefacts["release.csv"], f"release {record.changed_regime}"
    for value, known in ((digest, True), (keyed_hash(digest), True), ("0" * 64, False)):
        assert reads_change(replace(pack, plan={**pack.plan, "hashes": {name: value}}), record) is known
    assert not reads_change(replace(pack, plan={**pack.plan, "hashes": {"release other": digest}}), record)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("release", "file"), "../../../own.txt"),
        (("release", "file"), "/proc/kmsg"),
        (("release", "file"), "cured.yaml"),
        (("release", "file"), "a" * 5000),
        (("source", "name"), "../.."),
        (("source", "name"), "a" * 5000),
        (("source", "run_id"), "."),
        (("cure_version",), "9.9"),
    ],
)
def test_no_path_of_a_cure_is_followed(path: tuple[str, ...], value: str, made: tuple[Path, Path], tmp_path: Path) -> None:
    """Whether somebody's file has a digest is nobody else's business, and some files never end."""
    (tmp_path / "own.txt").write_text("salary")
    document = json.loads((made[0] / "cure.json").read_text())
    inner = document if len(path) == 1 else document[path[0]]
    inner[path[-1]] = value
    if path[-1] == "file" and value.endswith(("own.txt", "cured.yaml")):
        inner["sha256"] = file_digest(made[0] / value)
    close_cure(document, made[0])
    (made[0] / ATTESTATION).unlink(missing_ok=True)
    assert outcome(made[0]) == "altered"
    assert main(["verify", str(made[0])]) == 4


@pytest.mark.parametrize("run_id", ["..", "/etc", "a" * 5000, "\0"])
def test_nor_is_one_of_a_mitigation(run_id: str, made: tuple[Path, Path]) -> None:
    document = json.loads((made[1] / "mitigation.json").read_text())
    document["audit"]["run_id"] = run_id
    close_mitigation(document, made[1])
    assert main(["verify", str(made[1])]) == 4


def test_a_cure_without_its_release_is_none(made: tuple[Path, Path]) -> None:
    document = json.loads((made[0] / "cure.json").read_text())
    (made[0] / "release.csv").unlink()
    close_cure(document, made[0])
    assert main(["verify", str(made[0])]) == 4
