"""What we sign is read by code of others: openssl over an encoding made here, securesystemslib's verifier, in-toto's own messages."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("securesystemslib", reason="the extra 'sign' is not installed")
pytest.importorskip("in_toto_attestation", reason="the extra 'test' is not installed")

from google.protobuf import json_format
from in_toto_attestation.predicates.test_result.v0.test_result_pb2 import TestResult as Outcome
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as Message
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey
from signers import PASSPHRASE, make_key, public, sign

from proxyaudit.attestation.keys import PASSPHRASE as VARIABLE
from proxyaudit.attestation.keys import read_signer
from proxyaudit.attestation.sealing import write_seal
from proxyaudit.attestation.statements import read_statement
from proxyaudit.cli.main import main
from proxyaudit.evidence.manifest import ATTESTATION, MANIFEST
from proxyaudit.evidence.pack import read_pack
from proxyaudit.evidence.receipts import Receipt, write_receipt
from proxyaudit.evidence.tiers import RECEIPT, SIGNED_RECEIPT
from tests.helpers.changes import make_changes

SIGNED = {"run": 2, "change": 1, "purge": 1, "seal": 1}  # envelopes of each
ED25519 = bytes.fromhex("302a300506032b6570032100")  # a public key in DER up to its 32 bytes (RFC 8410)
Document = dict[str, Any]


@dataclass(frozen=True)
class World:
    """Everything that is ever signed, by one key, as it lies on the disk."""

    key: Path
    folders: dict[str, Path]
    files: dict[str, Path]

    def envelopes(self, what: str) -> list[Document]:
        """The envelopes of a file, read by nothing of ours."""
        found = json.loads(self.files[what].read_bytes())
        return found if isinstance(found, list) else [found]


@pytest.fixture(scope="module")
def world(fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("signed")
    key, run = make_key(folder), Path(shutil.copytree(fresh, folder / "run"))
    _, change = make_changes(folder / "out")
    purged = Path(shutil.copytree(fresh, folder / "purged"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, PASSPHRASE)
        patch.setenv("PROXYAUDIT_CACHE", str(folder / "cache"))
        assert sign(run, key) == 0
        assert sign(change, key) == 0
        write_receipt(purged, Receipt(receipt_version="1.0", plan_digest=read_pack(purged).plan["digest"], purges=()))
        assert main(["purge", str(purged), "--key", str(key)]) == 0
        write_seal(folder / "my.seal", read_pack(run).plan, None, read_signer(key, PASSPHRASE))
    files = {"run": run / ATTESTATION, "change": change / ATTESTATION, "purge": purged / SIGNED_RECEIPT}
    return World(key, {"run": run, "change": change, "purge": purged}, files | {"seal": folder / "my.seal.dsse.json"})


def encoded(envelope: Document) -> bytes:
    """The bytes that are signed, as DSSE's specification says (v1.0.0, "Signature Definition")."""
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
    return b" ".join((b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload))


def openssl(folder: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    return subprocess.run(["openssl", "pkeyutl", "-rawin", *words], cwd=folder, capture_output=True, check=False)


def with_payload(envelope: Document, change: Callable[[bytes], bytes]) -> Document:
    return {**envelope, "payload": base64.b64encode(change(base64.b64decode(envelope["payload"]))).decode()}


def with_signature(envelope: Document) -> Document:
    sig = bytearray(base64.b64decode(envelope["signatures"][0]["sig"]))
    sig[7] ^= 1
    return {**envelope, "signatures": [{**envelope["signatures"][0], "sig": base64.b64encode(bytes(sig)).decode()}]}


SPOILT: dict[str, Callable[[Document], Document]] = {
    "a byte more": lambda e: with_payload(e, lambda data: data + b" "),
    "a byte less": lambda e: with_payload(e, lambda data: data[:-1]),
    "another digit": lambda e: with_payload(e, lambda data: data.replace(b"0", b"1", 1)),
    "another kind": lambda e: {**e, "payloadType": e["payloadType"].upper()},
    "another signature": with_signature,
}


@pytest.mark.parametrize("what", list(SIGNED))
def test_openssl_believes_what_was_signed_and_nothing_else(what: str, world: World, tmp_path: Path) -> None:
    raw = bytes.fromhex(json.loads(Path(public(world.key)).read_bytes())["keyval"]["public"])
    (tmp_path / "pub.der").write_bytes(ED25519 + raw)
    words = ("-verify", "-pubin", "-keyform", "DER", "-inkey", "pub.der", "-in", "signed", "-sigfile", "sig")

    def believes(envelope: Document) -> bool:
        (one,) = envelope["signatures"]
        (tmp_path / "signed").write_bytes(encoded(envelope))
        (tmp_path / "sig").write_bytes(base64.b64decode(one["sig"]))
        return openssl(tmp_path, *words).returncode == 0

    found = world.envelopes(what)
    assert len(found) == SIGNED[what]
    for envelope in found:
        assert believes(envelope)
        assert not [name for name, spoil in SPOILT.items() if believes(spoil(envelope))]


@pytest.mark.parametrize("what", list(SIGNED))
def test_openssl_signs_the_same_bytes_with_the_same_key(what: str, world: World, tmp_path: Path) -> None:
    """Ed25519 draws nothing: two programs that agree on what is signed give one signature, and the key's file is one that others open."""
    words = ("-sign", "-inkey", str(world.key.resolve()), "-passin", f"pass:{PASSPHRASE}", "-in", "signed", "-out", "sig")
    for envelope in world.envelopes(what):
        (tmp_path / "signed").write_bytes(encoded(envelope))
        made = openssl(tmp_path, *words)
        assert made.returncode == 0, made.stderr
        assert base64.b64encode((tmp_path / "sig").read_bytes()).decode() == envelope["signatures"][0]["sig"]


@pytest.mark.parametrize("what", list(SIGNED))
def test_the_library_of_dsse_verifies_the_file_as_it_lies_there(what: str, world: World, tmp_path: Path) -> None:
    """Its reader and its verifier, on the file itself and on the public key's, without a line of ours between."""

    def key_of(path: str) -> SSlibKey:
        document = json.loads(Path(path).read_bytes())
        return SSlibKey(document["keyid"], document["keytype"], document["scheme"], document["keyval"])

    def believes(envelope: Document, key: SSlibKey) -> bool:
        try:
            # The library's reader writes into what it is given.
            return list(Envelope.from_dict(copy.deepcopy(envelope)).verify([key], 1)) == [key.keyid]
        except VerificationError:
            return False

    own, stranger = key_of(public(world.key)), key_of(public(make_key(tmp_path, "mallory")))
    for envelope in world.envelopes(what):
        assert believes(envelope, own)
        assert not believes(envelope, stranger)
        assert not [name for name, spoil in SPOILT.items() if believes(spoil(envelope), own)]


def message(payload: bytes) -> Message:
    """A statement as in-toto's own message, which takes no field that it does not have; ``ValueError`` for one that is none."""
    try:
        read = Statement.copy_from_pb(json_format.Parse(payload, Message()))
    except json_format.ParseError as error:
        raise ValueError(str(error)) from None
    read.validate()
    return read.pb


@pytest.mark.parametrize(("what", "listing"), [("run", MANIFEST), ("change", MANIFEST), ("purge", None)])
def test_in_toto_reads_our_statements(what: str, listing: str | None, world: World) -> None:
    folder, kinds = world.folders[what], set()
    for envelope in world.envelopes(what):
        assert envelope["payloadType"] == "application/vnd.in-toto+json"
        read = message(base64.b64decode(envelope["payload"]))
        named = {RECEIPT} if listing is None else set(json.loads((folder / listing).read_bytes())["files"])
        assert {one.name for one in read.subject} == named
        for one in read.subject:
            assert dict(one.digest) == {"sha256": hashlib.sha256((folder / one.name).read_bytes()).hexdigest()}
        kinds.add(read.predicate_type)
    own = {"run": "verdicts", "change": "change", "purge": "purge"}[what]
    outcome = {"https://in-toto.io/attestation/test-result/v0.1"} if what == "run" else set()
    assert kinds == {f"urn:proxyaudit:{own}:0.1"} | outcome


def test_in_toto_reads_the_outcome_as_one_of_its_test_results(world: World) -> None:
    payload = base64.b64decode(world.envelopes("run")[0]["payload"])
    outcome = json_format.ParseDict(json_format.MessageToDict(message(payload).predicate), Outcome())
    assert outcome.result == "FAILED"  # one regime is exposed
    assert list(outcome.failed_tests) == ["verdict: sex in vendor"]
    assert {one.name for one in outcome.configuration} == {"plan", "policy"}
    for one in outcome.configuration:
        ResourceDescriptor.copy_from_pb(one).validate()
    plan = next(dict(one.digest) for one in outcome.configuration if one.name == "plan")
    assert plan == {"sha256": json.loads((world.folders["run"] / "plan.json").read_bytes())["digest"]}


NO_STATEMENTS: dict[str, Callable[[Document], Document]] = {
    "another type": lambda d: {**d, "_type": "https://in-toto.io/Statement/v0.1"},
    "one field more": lambda d: {**d, "more": 1},
    "a file without a digest": lambda d: {**d, "subject": [{"name": "plan.json"}]},
    "a digest that is a number": lambda d: {**d, "subject": [{"name": "plan.json", "digest": {"sha256": [1]}}]},
    "a kind that is no text": lambda d: {**d, "predicateType": 1},
    "a predicate that is a list": lambda d: {**d, "predicate": []},
}


@pytest.mark.parametrize("name", list(NO_STATEMENTS))
def test_what_in_toto_does_not_read_we_do_not_read(name: str, world: World) -> None:
    payload = base64.b64decode(world.envelopes("run")[0]["payload"])
    spoilt = json.dumps(NO_STATEMENTS[name](json.loads(payload))).encode()
    for read in (message, read_statement):
        read(payload)
        with pytest.raises(ValueError):  # noqa: PT011 - the words are each reader's own
            read(spoilt)
