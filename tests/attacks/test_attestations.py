"""Whoever rewrites a signed run so that all in it fits: only the signature tells. And who attacks signatures and seals themselves."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("securesystemslib", reason="the extra 'sign' is not installed")
pytest.importorskip("rfc3161_client", reason="the extra 'sign' is not installed")

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from signers import PASSPHRASE, make_key, public, refused, sign

from proxyaudit.attestation import signing
from proxyaudit.attestation.envelope import Envelope, envelopes_file, read_envelopes
from proxyaudit.attestation.keys import PASSPHRASE as VARIABLE
from proxyaudit.attestation.keys import read_signer
from proxyaudit.attestation.statements import PAYLOAD, TestResult, claims, make_statements, read_statement
from proxyaudit.attestation.trust import read_trust
from proxyaudit.cli.main import main
from proxyaudit.digests import digest_of, file_digest
from proxyaudit.errors import InputError
from proxyaudit.evidence.alone import alone_in
from proxyaudit.evidence.canonical import canonical_json
from proxyaudit.evidence.manifest import ATTESTATION, MANIFEST, read_manifest, replace_files
from proxyaudit.evidence.pack import EvidencePack, read_pack, write_pack
from proxyaudit.publication import publish
from proxyaudit.reporting.html import render_html
from proxyaudit.reporting.markdown import render_markdown
from proxyaudit.verification.run import verify_folder
from tests.conftest import build_pack

Told = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, PASSPHRASE)
    monkeypatch.setattr("os.fsync", lambda handle: None)  # thousands of files that nobody needs after the test


@pytest.fixture(scope="module")
def alice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("alice"))


@pytest.fixture(scope="module")
def mallory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("mallory"), "mallory")


@pytest.fixture(scope="module")
def original(fresh: Path, alice: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which an attribute is exposed, signed."""
    run = Path(shutil.copytree(fresh, tmp_path_factory.mktemp("signed") / "run"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, PASSPHRASE)
        assert sign(run, alice) == 0
    return run


@pytest.fixture
def signed(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "run"))


# Consistent rewrites ----------------------------------------------------------------------------------------------


def rewrite(run: Path, own: EvidencePack, forged: EvidencePack, pages: dict[str, str], rng: random.Random) -> None:
    """Put a forged audit into a run under the identity of its own; pages, digests and manifest fit, signatures stay as they are."""
    kept = (run / ATTESTATION).read_bytes()
    environment = {**own.environment, "seconds": round(rng.uniform(1, 9), 1), "jobs": rng.randrange(1, 9)}
    drawn = {name: f"keyed:{rng.randbytes(32).hex()}" for name in forged.plan["hashes"]}
    plan = {**forged.plan, "hashes": drawn, "cells": rng.randrange(1000)}
    content = {key: value for key, value in plan.items() if key not in ("digest", "run_id", "code")}
    made = digest_of({"plan": content, "recipe": forged.recipe, "code": plan["code"]}, default=str)
    plan |= {"digest": made, "run_id": made[:12]}
    evidence = forged.evidence.model_copy(update={"run": forged.evidence.run.model_copy(update={"plan_digest": made, "id": made[:12]})})
    bare = {forged.plan["hashes"][name].removeprefix("keyed:"): value.removeprefix("keyed:") for name, value in drawn.items()}
    for old, new in {forged.plan["digest"]: made, forged.plan["run_id"]: made[:12], **bare}.items():
        pages = {name: text.replace(old, new) for name, text in pages.items()}
    write_pack(replace(forged, evidence=evidence, plan=plan, environment=environment), run, reports=pages)
    (run / ATTESTATION).write_bytes(kept)


@pytest.mark.long
def test_every_consistent_rewrite_is_caught_by_the_signature(
    signed: Path, alice: Path, mallory: Path, forgeries: list[EvidencePack], tmp_path: Path
) -> None:
    own, rng, trust = read_pack(signed), random.Random(18), read_trust((Path(public(alice)),))
    signatures, unsigned, verdicts = (signed / ATTESTATION).read_bytes(), tmp_path / "unsigned", set[str]()
    # A page names the minute in which the run began: the forger keeps that of the run.
    packs = [replace(forged, environment=own.environment) for forged in forgeries]
    rendered = [(forged, {"report.html": render_html(forged), "report.md": render_markdown(forged)}) for forged in packs]
    assert {f.verdict for f in own.evidence.findings} == {"removed", "exposed"}
    for trial in range(208):
        (signed / ATTESTATION).write_bytes(signatures)
        rewrite(signed, own, *rng.choice(rendered), rng)
        if trial % 16 == 0:
            verdicts |= {f"{f.regime} {f.verdict}" for f in read_pack(signed).evidence.findings}
            # Without the signature nobody could tell: that is the forger's whole skill.
            shutil.rmtree(unsigned, ignore_errors=True)
            shutil.copytree(signed, unsigned, ignore=shutil.ignore_patterns(ATTESTATION))
            assert (found := verify_folder(unsigned)).outcome == "verified", found.problems
            # Nor does a signature of one's own help, nor one's own bytes under the signature of another.
            assert sign(unsigned, mallory) == 0
            stolen = [
                {**json.loads(signatures)[k], "payload": e["payload"]}
                for k, e in enumerate(json.loads((unsigned / ATTESTATION).read_bytes()))
            ]
            for forged in ((unsigned / ATTESTATION).read_bytes(), canonical_json(stolen)):
                (unsigned / ATTESTATION).write_bytes(forged)
                assert verify_folder(unsigned, trust=trust).outcome == "altered"
        found = verify_folder(signed, trust=trust)
        assert found.outcome == "altered", trial
        assert all(line.startswith(f"{ATTESTATION}: ") for line in found.problems), (trial, found.problems)
    assert "vendor removed" in verdicts


def test_the_signed_run_itself_verifies_and_says_what_was_not_checked(signed: Path, alice: Path, capsys: Told) -> None:
    assert main(["verify", str(signed), "--key", public(alice)]) == 0
    assert main(["verify", str(signed), "--key", public(alice), "--strict"]) == 0
    assert main(["gate", str(signed), "--signed-by", public(alice)]) == 1  # exposed
    refused(capsys, ["verify", str(signed)], 3, "not checked: attestation (signed in the name of the key")
    refused(capsys, ["verify", str(signed), "--strict"], 4, "no --key was given")
    assert main(["gate", str(signed), "--json"]) == 1
    assert any("attestation (signed in the name of" in note for note in json.loads(capsys.readouterr().out)["notes"])


def test_an_unsigned_run_is_not_signed(today: Path, alice: Path, capsys: Told) -> None:
    refused(capsys, ["verify", str(today), "--key", public(alice)], 4, "nobody signed this run")
    refused(capsys, ["gate", str(today), "--signed-by", public(alice)], 4, "nobody signed this run")
    assert main(["verify", str(today)]) == 0


# Signatures themselves --------------------------------------------------------------------------------------------


def test_the_signature_of_another_run_is_no_signature(
    signed: Path, alice: Path, forgeries: list[EvidencePack], tmp_path: Path, capsys: Told
) -> None:
    publish(forgeries[0], tmp_path / "other")
    assert sign(tmp_path / "other", alice) == 0
    shutil.copy(tmp_path / "other" / ATTESTATION, signed / ATTESTATION)
    for more in ([], ["--key", public(alice)]):
        refused(capsys, ["verify", str(signed), *more], 4, "they are those of another run")
    refused(capsys, ["gate", str(signed)], 4, "they are those of another run")
    refused(capsys, ["sign", str(signed), "--key", str(alice)], 4, "they are those of another run")


def test_wrong_and_expired_keys(signed: Path, alice: Path, mallory: Path, tmp_path: Path, capsys: Told) -> None:
    refused(capsys, ["verify", str(signed), "--key", public(mallory)], 4, "'mallory'")
    refused(capsys, ["verify", str(signed), "--key", str(alice)], 2, "this is the private key")
    refused(capsys, ["verify", str(signed), "--key", str(tmp_path / "none.pub")], 2, "cannot be read")
    document = json.loads(Path(public(alice)).read_bytes())
    old, claimed = tmp_path / "old.pub", tmp_path / "claimed.pub"
    old.write_bytes(canonical_json({**document, "not_after": "2020-02-29"}))
    refused(capsys, ["verify", str(signed), "--key", str(old)], 4, "expired on 2020-02-29")
    refused(capsys, ["gate", str(signed), "--signed-by", str(old)], 4, "expired on 2020-02-29")
    claimed.write_bytes(canonical_json({**json.loads(Path(public(mallory)).read_bytes()), "keyid": document["keyid"]}))
    refused(capsys, ["verify", str(signed), "--key", str(claimed)], 2, "its id is another key's")
    claimed.write_bytes(Path(public(alice)).read_bytes().replace(b'"name"', b'"name": "bob",\n "name"'))
    refused(capsys, ["verify", str(signed), "--key", str(claimed)], 2, "given twice")
    expired = make_key(tmp_path, "expired", "2020-02-29")
    refused(capsys, ["sign", str(signed), "--key", str(expired)], 2, "expired on 2020-02-29")


def test_truncated_garbled_and_doubled_envelopes(signed: Path, alice: Path, capsys: Told) -> None:
    path, rng, trust = signed / ATTESTATION, random.Random(3), read_trust((Path(public(alice)),))
    data = path.read_bytes()
    spoilt = [data[: rng.randrange(len(data))] for _ in range(20)]
    for _ in range(60):
        changed = bytearray(data)
        changed[rng.randrange(len(data))] ^= rng.randrange(1, 256)
        spoilt.append(bytes(changed))
    spoilt += [data + b" ", b"", b"[]\n", b"{}", b"[" * 100_000, data.replace(b'"payload":', b'"payload": "",\n  "payload":', 1)]
    document = json.loads(data)
    for change in (
        {"signatures": document[0]["signatures"] * 2},
        {"payloadType": "\ud800"},
        {"payloadType": "a\u202eb"},
        {"payloadType": 1},
    ):
        spoilt.append(canonical_json([document[0] | change, *document[1:]]))
    for text in spoilt:
        path.write_bytes(text)
        assert verify_folder(signed, trust=trust).outcome == "altered", text[:80]
    path.write_bytes(data.replace(b'"payload":', b'"payload": "",\n  "payload":', 1))
    refused(capsys, ["verify", str(signed)], 4, "'payload' is given twice")
    path.write_bytes(data[:500])
    refused(capsys, ["sign", str(signed), "--key", str(alice)], 4, "cannot be read")


def resigned(run: Path, key: Path, change: Callable[[bytes], bytes]) -> None:
    """Statements that were changed and then signed with the very key that is believed."""
    signer = read_signer(key, PASSPHRASE)
    made = [Envelope(change(envelope.payload), PAYLOAD).signed_by(signer) for envelope in read_envelopes((run / ATTESTATION).read_bytes())]
    (run / ATTESTATION).write_bytes(envelopes_file(made))


ODD: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a key twice": (lambda d: d.replace(b'"predicate":', b'"predicate": {},\n "predicate":'), "given twice"),
    "a file twice": (lambda d: canonical_json((s := json.loads(d)) | {"subject": s["subject"] * 2}), "does not name each file once"),
    "a file less": (lambda d: canonical_json((s := json.loads(d)) | {"subject": s["subject"][1:]}), "not those of arrays.safetensors"),
    "no file": (lambda d: canonical_json(json.loads(d) | {"subject": []}), "not those of"),
    "an odd name": (lambda d: d.replace(b'"plan.json"', b'"../plan.json"'), "not those of ../plan.json, plan.json"),
    "another verdict": (lambda d: d.replace(b'"exposed"', b'"removed"'), "the signed verdicts is not that of the run"),
    "another seal": (lambda d: d.replace(b'"seal": null', b'"seal": "' + b"0" * 64 + b'"'), "the signed seal is not that of the run"),
    "another kind": (lambda d: d.replace(b"urn:proxyaudit:verdicts", b"urn:somebody:else"), "did not sign the verdicts"),
    "no statement": (lambda d: b"{}", "a statement has not just"),
    "nested": (lambda d: b"[" * 100_000, "nested too deeply"),
    "no JSON": (lambda d: b"\xff", "cannot be read"),
}


@pytest.mark.parametrize("name", list(ODD))
def test_odd_statements_of_the_right_key(name: str, signed: Path, alice: Path, capsys: Told) -> None:
    change, reason = ODD[name]
    resigned(signed, alice, change)
    refused(capsys, ["verify", str(signed), "--key", public(alice)], 4, reason)


def test_links_folders_and_listed_signatures(signed: Path, alice: Path, tmp_path: Path, capsys: Told) -> None:
    path = signed / ATTESTATION
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    refused(capsys, ["verify", str(signed), "--key", public(alice)], 4, "is not a plain file")
    path.unlink()
    path.symlink_to(tmp_path / "nowhere")
    refused(capsys, ["verify", str(signed)], 4, "is not a plain file")
    path.unlink()
    path.mkdir()
    refused(capsys, ["verify", str(signed)], 4, "is not a plain file")
    path.rmdir()
    (signed / "attestation.dsse.json ").write_bytes(b"[]")
    refused(capsys, ["verify", str(signed)], 4, "is not listed in")
    (signed / "attestation.dsse.json ").unlink()
    document = json.loads((signed / MANIFEST).read_bytes())
    document["files"][ATTESTATION] = "0" * 64
    (signed / MANIFEST).write_bytes(canonical_json(document))
    refused(capsys, ["verify", str(signed)], 4, "no plain file name")


@pytest.mark.parametrize("name", ["../alice", "a/b", "", ".key", "é", "a b", "x" * 90])
def test_odd_names_of_keys(name: str, tmp_path: Path, capsys: Told) -> None:
    refused(capsys, ["keys", "new", name, "--out", str(tmp_path)], 2, "cannot name a key")
    assert not list(tmp_path.iterdir())


def test_odd_names_in_a_pack_are_signed_as_they_are() -> None:
    pack = build_pack(("se\u202ex", "<b>\n\0", "\ud800"))
    decided = TestResult("FAILED", ("\ud800 in \n",), (), (), "0" * 64, {})
    for payload in make_statements({"report.html ": "1" * 64, "\u202e": "2" * 64}, pack, decided):
        assert all(byte >= 32 or byte == 10 for byte in payload)
        statement = read_statement(payload)
        assert statement.subjects == {"report.html ": "1" * 64, "\u202e": "2" * 64}
        own = claims(pack)
        assert digest_of({key: statement.says[key] for key in own if key in statement.says}) in (digest_of(own), digest_of({}))


def test_signatures_hold_for_independent_code(signed: Path, alice: Path) -> None:
    """DSSE as its specification says: the encoding is made here, and the bare primitive checks it."""
    key = json.loads(Path(public(alice)).read_bytes())
    plain = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key["keyval"]["public"]))
    listed = json.loads((signed / MANIFEST).read_bytes())["files"]
    kinds = set()
    for envelope in json.loads((signed / ATTESTATION).read_bytes()):
        payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"]
        encoded = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)
        (one,) = envelope["signatures"]
        assert one["keyid"] == key["keyid"]
        plain.verify(base64.b64decode(one["sig"]), encoded)
        with pytest.raises(InvalidSignature):
            plain.verify(base64.b64decode(one["sig"]), encoded + b" ")
        statement = json.loads(payload)
        assert (kind, statement["_type"]) == ("application/vnd.in-toto+json", "https://in-toto.io/Statement/v1")
        for subject in statement["subject"]:
            assert hashlib.sha256((signed / subject["name"]).read_bytes()).hexdigest() == subject["digest"]["sha256"]
        assert {subject["name"] for subject in statement["subject"]} == set(listed)
        kinds.add(statement["predicateType"])
    assert kinds == {"https://in-toto.io/attestation/test-result/v0.1", "urn:proxyaudit:verdicts:0.1"}


def edit_maker(run: Path) -> None:
    """Say that another version rendered the pages."""
    document = json.loads((run / MANIFEST).read_bytes())
    (run / MANIFEST).write_bytes(canonical_json({**document, "rendered_by": "0" * 64}))


def test_signatures_over_a_report_that_was_forged(signed: Path, alice: Path, capsys: Told) -> None:
    replace_files(signed, {"report.html": b"<!doctype html><title>Removed</title>"})
    edit_maker(signed)
    refused(capsys, ["verify", str(signed), "--key", public(alice)], 4, "the report was rendered again, or this one was changed")
    refused(capsys, ["verify", str(signed)], 3, "report.html changed since")
    assert main(["report", str(signed)]) == 0
    assert "no longer cover" not in capsys.readouterr().err
    assert main(["verify", str(signed), "--key", public(alice)]) == 0  # the very bytes that were signed


def test_signatures_over_a_report_that_was_rendered_again(signed: Path, alice: Path, capsys: Told) -> None:
    page = file_digest(signed / "report.md").encode()
    resigned(signed, alice, lambda d: d.replace(page, b"0" * 64))  # as if an older version had rendered the page that was signed
    edit_maker(signed)
    refused(capsys, ["report", str(signed)], 0, "its signatures no longer cover these pages")
    refused(capsys, ["verify", str(signed)], 3, "report.md changed since ('proxyaudit sign' signs anew)")
    refused(capsys, ["verify", str(signed), "--key", public(alice)], 4, "not those of report.md: the report was rendered again")
    refused(capsys, ["sign", str(signed), "--key", str(alice)], 0, "2 signed statements about other bytes")
    assert main(["verify", str(signed), "--key", public(alice)]) == 0


def test_who_did_not_sign_is_named_and_no_file_is_called_changed(signed: Path, alice: Path, tmp_path: Path, capsys: Told) -> None:
    carol, dave = make_key(tmp_path, "carol"), make_key(tmp_path, "dave", "2020-02-29")
    for key, lines in ((carol, ["did not sign"]), (dave, ["did not sign", "expired on 2020-02-29"])):
        capsys.readouterr()
        assert main(["verify", str(signed), "--key", public(alice), "--key", public(key)]) == 4
        out, err = capsys.readouterr()
        assert f"signed by 'alice' ({read_trust((Path(public(alice)),)).keys[0].keyid[:12]}); not signed by '{key.stem}'" in out
        assert "NOT as it was written" not in out
        assert "as its manifest says" in out.splitlines()[-1]
        assert all(f"the key '{key.stem}'" in line for line in err.splitlines() if "the key" in line)
        assert all(any(words in line for line in err.splitlines()) for words in lines)
    assert main(["verify", str(signed), "--receipt-key", public(carol)]) == 4
    assert "as its manifest says" in capsys.readouterr().out.splitlines()[-1]
    with (signed / "report.md").open("a") as page:
        page.write("more")
    assert main(["verify", str(signed), "--key", public(carol)]) == 4
    assert "NOT as it was written" in capsys.readouterr().out


def test_signers_at_once_keep_all_signatures(
    today: Path, alice: Path, mallory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each read the list, and wrote it with one more: of two at a moment the first was lost, and both were told that they had signed."""
    keys = [alice, mallory, make_key(tmp_path, "carol")]
    signers, pack = [read_signer(key, PASSPHRASE) for key in keys], read_pack(today)
    payloads = make_statements(read_manifest(today)[0], pack, TestResult("PASSED", ("verdict",), (), (), "0" * 64, {}))
    quickly = signing._there

    def there(folder: Path) -> list[Envelope]:
        found = quickly(folder)
        time.sleep(0.2)
        return found

    monkeypatch.setattr(signing, "_there", there)
    threads = [threading.Thread(target=signing.sign_folder, args=(today, payloads, signer)) for signer in signers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    monkeypatch.undo()
    assert set(signing.signers_of(today)) == {signer.public_key.keyid for signer in signers}


def test_who_holds_a_folder_for_ever_is_told(today: Path) -> None:
    with alone_in(today), pytest.raises(InputError, match="another process is writing here"), alone_in(today, seconds=0.1):
        pass
