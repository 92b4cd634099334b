"""Public keys that are none: points under which anybody signs anything, and names that would write into what is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("securesystemslib", reason="the extra 'sign' is not installed")
pytest.importorskip("rfc3161_client", reason="the extra 'sign' is not installed")

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.signer import SSlibKey
from signers import PASSPHRASE, make_key, public, refused, sign

from proxyaudit.attestation.envelope import Envelope, envelopes_file, read_envelopes
from proxyaudit.attestation.keys import PASSPHRASE as VARIABLE
from proxyaudit.attestation.keys import read_public
from proxyaudit.cli.main import main
from proxyaudit.evidence.canonical import canonical_json
from proxyaudit.evidence.manifest import ATTESTATION

Told = pytest.CaptureFixture[str]
FIELD = 2**255 - 19
D = -121665 * pow(121666, -1, FIELD) % FIELD  # of the curve -x^2 + y^2 = 1 + D x^2 y^2
FORGED = bytes([1]) + bytes(63)  # R is the neutral point, S is 0: nobody's private key was needed
# y of every point of small order, and second spellings of two (RFC 8032 takes none; libraries do).
SMALL = {
    "the neutral one": 1,
    "of order two": FIELD - 1,
    "of order four": 0,
    "of order eight": int.from_bytes(bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little"),
    "the other of order eight": int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"),
    "of order four, spelt otherwise": FIELD,
    "the neutral one, spelt otherwise": FIELD + 1,
}
POINTS = {f"{name}, sign {sign}": (y + sign * 2**255).to_bytes(32, "little") for name, y in SMALL.items() for sign in (0, 1)}


def doubled(y: int) -> int:
    """y of twice a point (RFC 8032, 5.1.4, from the curve's own equation)."""
    xx = (y * y - 1) * pow(D * y * y + 1, -1, FIELD) % FIELD
    return (y * y + xx) * pow(1 - D * xx * y * y, -1, FIELD) % FIELD


def key_file(path: Path, raw: bytes, name: str = "bob") -> Path:
    """A public key's file that is right in all but its point, or its name."""
    made = SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(raw))
    path.write_bytes(canonical_json({"name": name, "keyid": made.keyid, "not_after": None, **made.to_dict()}))
    return path


def takes(raw: bytes, message: bytes) -> bool:
    """Whether the bare primitive takes the forged signature."""
    try:
        Ed25519PublicKey.from_public_bytes(raw).verify(FORGED, message)
    except InvalidSignature:
        return False
    return True


def test_the_points_are_of_small_order_and_all_others_are_not() -> None:
    for y in SMALL.values():
        assert doubled(doubled(doubled(y % FIELD))) == 1
    assert doubled(doubled(doubled(4 * pow(5, -1, FIELD) % FIELD))) != 1  # the base point


@pytest.mark.parametrize("name", list(POINTS))
def test_a_point_under_which_anybody_signs_is_no_key(name: str, tmp_path: Path, today: Path, capsys: Told) -> None:
    raw = POINTS[name]
    assert any(takes(raw, f"message {number}".encode()) for number in range(200))
    weak = key_file(tmp_path / "bob.pub", raw)
    for command, option in (("verify", "--key"), ("gate", "--signed-by"), ("verify", "--receipt-key")):
        refused(capsys, [command, str(today), option, str(weak)], 2, "anybody can sign in its name")


def test_two_signers_of_whom_neither_signed(today: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Told) -> None:
    """Who forges a run adds the signatures of others without their keys: two spellings of the neutral point are two ids."""
    monkeypatch.setenv(VARIABLE, PASSPHRASE)
    assert sign(today, make_key(tmp_path)) == 0
    keys = [key_file(tmp_path / f"{k}.pub", POINTS[f"the neutral one{k}"]) for k in (", sign 0", ", spelt otherwise, sign 0")]
    ids = [json.loads(path.read_bytes())["keyid"] for path in keys]
    assert len(set(ids)) == 2
    forged = [dict.fromkeys(ids, "AQ" + "A" * 84 + "==") for _ in range(2)]
    envelopes = read_envelopes((today / ATTESTATION).read_bytes())
    (today / ATTESTATION).write_bytes(
        envelopes_file([Envelope(one.payload, one.kind, own) for one, own in zip(envelopes, forged, strict=True)])
    )
    for path in keys:
        words = ["--key", str(path)]
        refused(capsys, ["verify", str(today), *words], 2, "anybody can sign in its name")
    assert main(["verify", str(today)]) == 3  # nobody checked


@pytest.mark.parametrize(
    "name", ["", "alice\nverified", "\x1b[2Kalice", "alice' (0123456789ab); signed by 'bob", "ali\u202ece", "x" * 90, "a b"]
)
def test_a_name_that_would_write_into_what_is_told_is_none(name: str, today: Path, tmp_path: Path, capsys: Told) -> None:
    good = make_key(tmp_path)
    raw = bytes.fromhex(json.loads(Path(public(good)).read_bytes())["keyval"]["public"])
    path = key_file(tmp_path / "own.pub", raw, name)
    refused(capsys, ["verify", str(today), "--key", str(path)], 2, "its name is none that 'keys new' gives")
    assert read_public(key_file(path, raw, "alice-2.b_c")).name == "alice-2.b_c"
    shutil.rmtree(today)
