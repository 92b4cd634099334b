"""Receipts of ``purge`` that are signed: what is signed, what holds, and what somebody who wants to look clean might try."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("securesystemslib", reason="the extra 'sign' is not installed")

from released_packs import todays_pack
from signers import PASSPHRASE, make_key, public

from proxyaudit.attestation.keys import PASSPHRASE as VARIABLE
from proxyaudit.attestation.trust import read_trust
from proxyaudit.cache import Cache
from proxyaudit.cli.main import main
from proxyaudit.evidence.manifest import check_manifest
from proxyaudit.evidence.pack import read_pack
from proxyaudit.evidence.receipts import Receipt, read_receipt, write_receipt
from proxyaudit.evidence.tiers import RECEIPT, SIGNED_RECEIPT
from proxyaudit.verification.beside import receipt_checks
from tests.unit.test_purge import RUN, make_run

Told = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setenv("PROXYAUDIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(VARIABLE, PASSPHRASE)
    return Cache(tmp_path / "cache")


@pytest.fixture
def alice(tmp_path: Path) -> Path:
    return make_key(tmp_path / "keys")


@pytest.fixture
def purged(tmp_path: Path, alice: Path) -> Path:
    folder = make_run(tmp_path / "reports")
    assert main(["purge", str(folder), "--key", str(alice)]) == 0
    return folder


def states(folder: Path, *keys: Path) -> dict[str, str]:
    trust = read_trust(receipts=[Path(public(key)) for key in keys])
    return {check.name: check.state for check in receipt_checks(folder, trust)}


def test_a_signed_receipt_holds_with_its_key_and_is_unchecked_without(purged: Path, alice: Path) -> None:
    assert states(purged, alice) == {"purge": "passed", "receipt's signature": "passed"}
    assert states(purged) == {"purge": "passed", "receipt's signature": "skipped"}
    assert check_manifest(purged) == [], "a signature beside a run is no part of it"
    told = " ".join(check.detail for check in receipt_checks(purged, read_trust()))
    assert "nobody checked" in told
    assert "nobody vouches" not in told


def test_an_unsigned_one_says_so_and_is_refused_where_a_key_is_asked_for(tmp_path: Path, alice: Path) -> None:
    folder = make_run(tmp_path / "reports")
    assert states(folder, alice) == {"purge": "failed"}
    assert main(["purge", str(folder)]) == 0
    assert states(folder) == {"purge": "passed"}
    assert "nobody vouches" in receipt_checks(folder, read_trust())[0].detail
    assert states(folder, alice)["receipt's signature"] == "failed"


def test_what_was_changed_swapped_or_signed_by_another_does_not_hold(purged: Path, alice: Path, tmp_path: Path) -> None:
    assert states(purged, make_key(tmp_path / "keys", "mallory"))["receipt's signature"] == "failed"
    receipt, signature = read_receipt(purged), (purged / SIGNED_RECEIPT).read_bytes()
    assert receipt is not None
    fewer = receipt.purges[0].model_copy(update={"removed": receipt.purges[0].removed[:2]})
    write_receipt(purged, receipt.model_copy(update={"purges": (fewer,)}))
    assert states(purged, alice)["receipt's signature"] == states(purged)["receipt's signature"] == "failed"
    write_receipt(purged, receipt)
    assert states(purged, alice)["receipt's signature"] == "passed"
    other = make_run(tmp_path / "reports", "ba9876543210")
    for name in (RECEIPT, SIGNED_RECEIPT):
        shutil.copy(purged / name, other / name)
    assert "failed" in states(other, alice).values()
    document = json.loads(signature)
    document[0]["signatures"][0]["sig"] = document[0]["signatures"][0]["sig"][::-1].replace("=", "A")[:86] + "=="
    (purged / SIGNED_RECEIPT).write_text(json.dumps(document))
    assert states(purged, alice)["receipt's signature"] == "failed"
    (purged / SIGNED_RECEIPT).unlink()
    (purged / SIGNED_RECEIPT).symlink_to(other / SIGNED_RECEIPT)
    assert states(purged, alice)["receipt's signature"] == "failed"
    assert f"{SIGNED_RECEIPT} is not a plain file" in check_manifest(purged)


def test_a_signature_without_its_receipt_is_found(purged: Path) -> None:
    (purged / RECEIPT).unlink()
    assert states(purged) == {"purge": "failed"}


def test_a_second_signer_joins_and_a_second_purge_takes_the_signature_away(
    purged: Path, alice: Path, own_cache: Cache, tmp_path: Path
) -> None:
    bob = make_key(tmp_path / "keys", "bob")
    assert main(["purge", str(purged), "--key", str(bob)]) == 0  # nothing is left to delete: the same receipt
    assert states(purged, alice, bob)["receipt's signature"] == "passed"
    own = Cache(own_cache.root, RUN)
    own.commit("train", "c" * 64, lambda made: (made / "rows").write_text("rows") and None)
    assert main(["purge", str(purged)]) == 0
    assert not (purged / SIGNED_RECEIPT).exists(), "it was about the receipt as it was"
    assert main(["purge", str(purged), "--key", str(alice)]) == 0
    assert states(purged, alice)["receipt's signature"] == "passed"


def test_the_receipt_of_a_cache_is_verified_by_itself(own_cache: Cache, alice: Path, capsys: Told) -> None:
    own_cache.commit("train", "c" * 64, lambda made: (made / "rows").write_text("rows") and None)
    assert main(["purge", str(own_cache.root), "--key", str(alice)]) == 0
    receipt = str(own_cache.root / RECEIPT)
    assert main(["verify", receipt, "--receipt-key", public(alice)]) == 0, capsys.readouterr()
    assert main(["verify", receipt]) == 3
    assert main(["verify", str(own_cache.root), "--receipt-key", public(alice)]) == 0
    text = (own_cache.root / RECEIPT).read_text()
    (own_cache.root / RECEIPT).write_text(text.replace('"kept result"', '"row sums"'))
    assert main(["verify", receipt, "--receipt-key", public(alice)]) == 4


def test_a_key_that_does_not_open_is_found_out_before_anything_is_deleted(
    tmp_path: Path, alice: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run(tmp_path / "reports")
    before = {path.name for path in folder.iterdir()}
    monkeypatch.setenv(VARIABLE, "the wrong passphrase")
    assert main(["purge", str(folder), "--key", str(alice)]) == 2
    assert {path.name for path in folder.iterdir()} == before


@pytest.mark.long
@pytest.mark.parametrize("command", [["gate", "RUN"], ["compare", "RUN", "RUN"], ["sign", "RUN", "--key", "KEY"], ["controls", "RUN"]])
def test_a_receipt_that_nobody_asked_to_check_locks_no_command(command: list[str], tmp_path: Path, alice: Path, capsys: Told) -> None:
    run = todays_pack(tmp_path / "made")
    write_receipt(run, Receipt(receipt_version="1.0", plan_digest=read_pack(run).plan["digest"], purges=()))
    assert main(["purge", str(run), "--key", str(alice)]) == 0
    assert (run / SIGNED_RECEIPT).exists()
    words = [{"RUN": str(run), "KEY": str(alice)}.get(part, part) for part in command]
    capsys.readouterr()
    assert main(words) in (0, 1, 3), capsys.readouterr().err
    told = capsys.readouterr()
    assert command[0] == "sign" or "no --receipt-key was given" in told.out
    (run / SIGNED_RECEIPT).write_bytes(b"[]")
    assert main(words) == 4, "a signature that does not hold"
