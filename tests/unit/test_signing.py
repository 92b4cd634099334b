"""Keys, several signers, and what is stated: the gate's outcome in the words of in-toto."""

from __future__ import annotations

import base64
import io
import json
import shutil
import stat
import sys
import tarfile
from pathlib import Path

import pytest

pytest.importorskip("securesystemslib", reason="the extra 'sign' is not installed")
pytest.importorskip("rfc3161_client", reason="the extra 'sign' is not installed")

from released_packs import PLAIN_FILES, todays_pack
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey
from signers import PASSPHRASE, make_key, public, sign

from proxyaudit.attestation.keys import PASSPHRASE as VARIABLE
from proxyaudit.cli.main import main
from proxyaudit.evidence.manifest import ATTESTATION
from proxyaudit.evidence.pack import read_pack
from proxyaudit.publication import publish
from proxyaudit.verification.run import verify_folder

FIXTURE = Path(__file__).parents[1] / "fixtures" / "signed" / "signed-0.1.tar.xz"
Told = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, PASSPHRASE)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return todays_pack(tmp_path_factory.mktemp("made"))


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


def statements(run: Path) -> list[tuple[dict[str, object], list[str]]]:
    """What was signed, and by whose keys."""
    listed = json.loads((run / ATTESTATION).read_bytes())
    return [(json.loads(base64.b64decode(e["payload"])), [s["keyid"] for s in e["signatures"]]) for e in listed]


def test_a_key_is_encrypted_private_and_never_overwritten(tmp_path: Path, capsys: Told) -> None:
    assert main(["keys", "new", "alice", "--out", str(tmp_path), "--not-after", "2099-12-31", "--json"]) == 0
    told, key = json.loads(capsys.readouterr().out), tmp_path / "alice.key"
    assert told["not_after"] == "2099-12-31"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert b"ENCRYPTED PRIVATE KEY" in key.read_bytes()
    assert json.loads((tmp_path / "alice.pub").read_bytes())["keyid"] == told["keyid"]
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert main(["keys", "new", "alice", "--out", str(tmp_path)]) == 2
    assert "never overwritten" in capsys.readouterr().err
    key.unlink()
    assert main(["keys", "new", "alice", "--out", str(tmp_path)]) == 2
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == {p: d for p, d in before.items() if p != key}


@pytest.mark.parametrize(
    ("option", "why"), [("2027-13-01", "is no day"), ("tomorrow", "is no day"), ("20271231", "is no day"), ("2020-02-29", "has passed")]
)
def test_days_that_are_none(option: str, why: str, tmp_path: Path, capsys: Told) -> None:
    assert main(["keys", "new", "alice", "--out", str(tmp_path), "--not-after", option]) == 2
    assert why in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_passphrases(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Told) -> None:
    key = make_key(tmp_path)
    monkeypatch.setenv(VARIABLE, "wrong")
    assert sign(run, key) == 2
    assert "does not open the private key" in capsys.readouterr().err
    assert main(["keys", "new", "bob", "--out", str(tmp_path)]) == 2
    assert "the passphrase has 5 characters" in capsys.readouterr().err
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert sign(run, key) == 2
    assert "nobody can be asked here" in capsys.readouterr().err
    monkeypatch.setenv(VARIABLE, PASSPHRASE)
    key.chmod(0o644)
    assert sign(run, key) == 2
    assert "others on this machine can read the private key" in capsys.readouterr().err
    key.chmod(0o600)
    capsys.readouterr()
    assert sign(run, Path(public(key))) == 2
    assert "this is no private key" in capsys.readouterr().err
    key.write_text("no key")
    assert sign(run, key) == 2
    assert "this is no private key" in capsys.readouterr().err
    assert not (run / ATTESTATION).exists()


def test_a_passphrase_is_asked_for_twice_where_it_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Told) -> None:
    monkeypatch.delenv(VARIABLE)
    typed = iter([PASSPHRASE, PASSPHRASE, PASSPHRASE, "another passphrase"])
    monkeypatch.setattr("proxyaudit.cli.sign.getpass", lambda prompt: next(typed))
    monkeypatch.setattr("proxyaudit.cli.sign.sys.stdin", type("Terminal", (), {"isatty": lambda self: True})())
    assert main(["keys", "new", "alice", "--out", str(tmp_path)]) == 0
    assert main(["keys", "new", "bob", "--out", str(tmp_path)]) == 2
    assert "the passphrases differ" in capsys.readouterr().err


def test_several_signers_sign_the_same_bytes(run: Path, tmp_path: Path, capsys: Told) -> None:
    alice, bob = make_key(tmp_path), make_key(tmp_path, "bob")
    assert sign(run, alice) == 0
    alone = (run / ATTESTATION).read_bytes()
    assert sign(run, alice) == 0
    assert (run / ATTESTATION).read_bytes() == alone
    assert sign(run, bob) == 0
    assert [len(keyids) for _, keyids in statements(run)] == [2, 2]
    assert main(["verify", str(run), "--key", public(alice), "--key", public(bob)]) == 0
    capsys.readouterr()
    assert main(["verify", str(run), "--key", public(bob)]) == 0
    assert "and in the name of the key" in capsys.readouterr().out
    # Under a policy of one's own the outcome is another statement, which the other signer did not make.
    policy = tmp_path / "policy.yaml"
    policy.write_text("allow: [removed, hidden, exposed]\n")
    assert main(["gate", str(run), "--signed-by", public(make_key(tmp_path, "carol"))]) == 4
    assert "or name the keys of those who signed it" in capsys.readouterr().err
    assert sign(run, bob, "--policy", str(policy)) == 0
    assert [len(keyids) for _, keyids in statements(run)] == [1, 1, 1, 1]
    assert main(["verify", str(run), "--key", public(alice), "--key", public(bob), "--strict"]) == 0


@pytest.mark.parametrize(
    ("policy", "result", "code"),
    [
        ("{}", "FAILED", 1),
        ("{allow: [removed, hidden, exposed]}", "PASSED", 0),
        ("{allow: [exposed], margins: {leak: 0.001}}", "WARNED", 3),
    ],
)
def test_the_outcome_that_is_signed_is_that_of_the_gate(
    policy: str, result: str, code: int, run: Path, tmp_path: Path, capsys: Told
) -> None:
    key, path = make_key(tmp_path), tmp_path / "policy.yaml"
    path.write_text(policy)
    assert main(["gate", str(run), "--policy", str(path)]) == code
    assert sign(run, key, "--policy", str(path)) == 0
    (outcome, _), (verdicts, _) = statements(run)
    predicate, own = outcome["predicate"], verdicts["predicate"]
    assert isinstance(predicate, dict)
    assert isinstance(own, dict)
    assert predicate["result"] == result
    assert predicate[f"{result.lower()}Tests"] == ["verdict: sex in vendor"]
    pack = read_pack(run)
    assert predicate["configuration"][0] == {"name": "plan", "digest": {"sha256": pack.plan["digest"]}}
    assert own["policy"]["sha256"] == predicate["configuration"][1]["digest"]["sha256"]
    assert own["margins"] == pack.plan["margins"]
    assert [v["verdict"] for v in own["verdicts"]] == [f.verdict for f in pack.evidence.findings]
    # The library's own reader and verifier take it as it is.
    document = json.loads(Path(public(key)).read_bytes())
    signer = SSlibKey(document["keyid"], document["keytype"], document["scheme"], document["keyval"])
    for envelope in json.loads((run / ATTESTATION).read_bytes()):
        Envelope.from_dict(envelope).verify([signer], 1)


def test_what_is_written_again_is_signed_by_nobody(run: Path, tmp_path: Path) -> None:
    key = make_key(tmp_path)
    assert sign(run, key) == 0
    publish(read_pack(run), run)
    assert not (run / ATTESTATION).exists()
    assert main(["verify", str(run)]) == 0


def test_without_the_packages_a_signature_is_said_to_be_unchecked(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Told
) -> None:
    key = make_key(tmp_path)
    assert sign(run, key) == 0
    for name in [name for name in sys.modules if name.partition(".")[0] in ("securesystemslib", "rfc3161_client", "cryptography")]:
        monkeypatch.setitem(sys.modules, name, None)
    capsys.readouterr()
    assert main(["verify", str(run)]) == 3
    assert "no --key was given" in capsys.readouterr().err
    for words in (["verify", str(run), "--key", public(key)], ["sign", str(run), "--key", str(key)], ["keys", "new", "bob"]):
        assert main(words) == 2
        assert "pip install '.[sign]'" in capsys.readouterr().err


def test_what_was_signed_and_sealed_once_keeps_verifying(tmp_path: Path) -> None:
    """A run of the first version that signs, its seal and time stamp: later versions must go on believing them."""
    from proxyaudit.attestation.trust import read_trust

    with tarfile.open(FIXTURE) as tar:
        tar.extractall(tmp_path, **PLAIN_FILES)
    trust = read_trust((tmp_path / "alice.pub",), tmp_path / "root.pem", tmp_path / "my.seal")
    found = verify_folder(tmp_path / "run", trust=trust)
    assert found.problems == ()
    states = {check.name: check.state for check in found.checks}
    assert {states[name] for name in ("attestation", "seal", "time stamp", "verdicts", "states", "plan digest")} == {"passed"}


def test_a_seal_that_is_there_is_told_before_any_work(tmp_path: Path, capsys: Told) -> None:
    (tmp_path / "my.seal.tsr").write_bytes(b"")
    assert main(["plan", str(tmp_path / "none.yaml"), "--seal", str(tmp_path / "my.seal")]) == 2
    assert "there is a file of this name" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("key", "words"),
    [("none.key", "the private key cannot be read"), ("public", "this is no private key"), ("folder", "the private key cannot be read")],
)
def test_a_wrong_key_is_told_before_anybody_is_asked_and_alone(
    run: Path, tmp_path: Path, key: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: Told
) -> None:
    named = {"public": Path(public(make_key(tmp_path))), "folder": run}.get(key, tmp_path / key)
    monkeypatch.delenv(VARIABLE, raising=False)
    capsys.readouterr()
    for command in (["sign", str(run), "--key", str(named)], ["purge", str(run), "--key", str(named)]):
        assert main(command) == 2
        told = capsys.readouterr().err
        assert words in told
        assert told.count("\n") == 1
