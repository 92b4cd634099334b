"""Who changes a plan, a policy, a seal or its time stamp after the fact is found."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("securesystemslib", reason="the extra 'sign' is not installed")
pytest.importorskip("rfc3161_client", reason="the extra 'sign' is not installed")

from released_packs import edit
from signers import PASSPHRASE, Authority, make_key, name_seal, public, refused, seal_run, sign

from proxyaudit.attestation.keys import read_signer
from proxyaudit.attestation.sealing import write_seal
from proxyaudit.cli.main import main
from proxyaudit.evidence.manifest import ATTESTATION
from proxyaudit.evidence.pack import EvidencePack, read_pack
from proxyaudit.publication import publish

Told = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority") / "openssl")


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text("allow: [removed, hidden, exposed]\nsealed: true\n")
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def sealed(today: Path, policy: Path, tmp_path: Path) -> Path:
    seal_run(today, tmp_path / "my.seal", digest(policy))
    return today


def test_a_policy_that_was_changed_after_the_seal_decides_nothing(sealed: Path, today: Path, policy: Path, capsys: Told) -> None:
    command = ["gate", str(sealed), "--policy", str(policy)]
    assert main(command) == 0
    assert main(["verify", str(sealed)]) == 0
    policy.write_text("allow: [removed, hidden, exposed]\nsealed: true\n# milder\n")
    assert main([*command, "--json"]) == 1
    assert "the seal fixes the policy" in capsys.readouterr().out
    policy.write_text("allow: [removed, hidden, exposed]\nsealed: plan\n")
    assert main([*command, "--json"]) == 0
    assert "fixes another policy" in capsys.readouterr().out


def test_no_seal_is_no_seal(today: Path, policy: Path, tmp_path: Path, capsys: Told) -> None:
    assert main(["gate", str(today), "--policy", str(policy), "--json"]) == 1
    assert "the run names no seal" in capsys.readouterr().out
    seal_run(Path(shutil.copytree(today, tmp_path / "other")), tmp_path / "my.seal")
    refused(capsys, ["verify", str(today), "--seal", str(tmp_path / "my.seal")], 4, "the run names no seal")
    assert main(["gate", str(tmp_path / "other"), "--policy", str(policy), "--json"]) == 1
    assert "the seal fixes no policy" in capsys.readouterr().out


@pytest.mark.long
def test_the_seal_of_another_plan_is_found(today: Path, forgeries: list[EvidencePack], policy: Path, tmp_path: Path, capsys: Told) -> None:
    publish(forgeries[0], tmp_path / "other")
    seal_run(tmp_path / "other", tmp_path / "other.seal", digest(policy))
    name_seal(today, tmp_path / "other.seal")
    assert main(["gate", str(today), "--policy", str(policy), "--json"]) == 1
    assert "the sealed one" in capsys.readouterr().out
    assert "The run does otherwise" in (today / "report.md").read_text()
    assert main(["verify", str(today)]) == 0  # it says so itself
    refused(capsys, ["verify", str(today), "--seal", str(tmp_path / "other.seal")], 4, "the run is not the sealed one")


def test_a_seal_that_was_made_after_the_run_is_found(sealed: Path, policy: Path, tmp_path: Path, capsys: Told) -> None:
    for began, why in (("2020-01-01T00:00:00+00:00", "after the run had begun"), ("tomorrow", "when the run began is not told")):
        name_seal(sealed, tmp_path / "my.seal", started=began)
        assert main(["gate", str(sealed), "--policy", str(policy), "--json"]) == 1
        assert why in capsys.readouterr().out


SEALS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "another policy": (lambda s: s["document"].update(policy="0" * 64), "does not have the digest"),
    "another plan": (lambda s: s["document"].update(plan="0" * 64), "does not have the digest"),
    "earlier": (lambda s: s["document"].update(made="2001-01-01T00:00:00+00:00"), "does not have the digest"),
    "a time of one's own": (lambda s: s.update(time="2001-01-01T00:00:00+00:00"), "the seal has no time stamp"),
    "a stamp of one's own": (lambda s: s.update(time="2001-01-01T00:00:00+00:00", timestamp="AAAA"), "does not hold"),
    "a stamp that is no text": (lambda s: s.update(time="2001-01-01T00:00:00+00:00", timestamp="~"), "does not hold"),
    "no envelope": (lambda s: s.update(envelope={"payload": ""}), "cannot be read"),
    "more than a seal": (lambda s: s.update(more=1), "holds what it cannot"),
    "no time": (lambda s: s["document"].update(made="yesterday"), "holds what it cannot"),
}


@pytest.mark.parametrize("name", list(SEALS))
def test_a_changed_seal_is_found(name: str, sealed: Path, capsys: Told) -> None:
    change, reason = SEALS[name]
    pack = read_pack(sealed)
    edit(sealed, lambda d: change(d["seal"]), "environment.json")
    assert pack.environment != json.loads((sealed / "environment.json").read_bytes())
    refused(capsys, ["verify", str(sealed)], 4, reason)


@pytest.mark.parametrize("whose", ["mallory's", "of another seal", "drawn"])
def test_a_seal_that_is_signed_in_the_name_of_another_is_found(
    whose: str, today: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Told
) -> None:
    monkeypatch.setenv("PROXYAUDIT_KEY_PASSPHRASE", PASSPHRASE)
    alice, mallory, plan = make_key(tmp_path), make_key(tmp_path, "mallory"), read_pack(today).plan
    for name, key, policy in (("my", alice, None), ("hers", mallory, None), ("other", alice, "0" * 64)):
        write_seal(tmp_path / f"{name}.seal", plan, policy, read_signer(key, PASSPHRASE))
    made = {name: json.loads((tmp_path / f"{name}.seal.dsse.json").read_bytes()) for name in ("my", "hers", "other")}
    name_seal(today, tmp_path / "my.seal")
    assert sign(today, alice) == 0
    assert main(["verify", str(today), "--key", public(alice)]) == 0
    assert "by its maker's word, signed by 'alice'" in capsys.readouterr().out
    stolen = {"mallory's": made["hers"], "of another seal": made["other"]}.get(whose, {"signatures": [{"sig": "A" * 86 + "=="}]})
    forged = {**made["my"], "signatures": [{**made["my"]["signatures"][0], "sig": stolen["signatures"][0]["sig"]}]}
    edit(today, lambda d: d["seal"].update(envelope=forged), "environment.json")
    (today / ATTESTATION).unlink()
    assert sign(today, alice) == 0  # nobody asks who signed the seal, and the run itself is what is signed
    refused(capsys, ["verify", str(today), "--key", public(alice)], 4, "the signature of the seal is not that of the key 'alice'")


def test_spoilt_seal_files(sealed: Path, tmp_path: Path, capsys: Told) -> None:
    data, path = (tmp_path / "my.seal").read_bytes(), tmp_path / "spoilt.seal"
    doubled = data.replace(b'"seed"', b'"seed": 1,\n "seed"')
    for text, why in ((doubled, "given twice"), (data + b" ", "were changed"), (b"{}", "Field required"), (b"[" * 100_000, "")):
        path.write_bytes(text)
        refused(capsys, ["verify", str(sealed), "--seal", str(path)], 2, why)
    refused(capsys, ["verify", str(sealed), "--seal", str(tmp_path / "none")], 2, "cannot be read")


def stamps(authority: Authority, today: Path, tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Two copies of a run under seals of their own, each with its time stamp."""
    for name in ("one", "two"):
        run, seal = Path(shutil.copytree(today, tmp_path / name)), tmp_path / f"{name}.seal"
        seal_run(run, seal, hashlib.sha256(name.encode()).hexdigest())
        seal.with_name(f"{seal.name}.tsr").write_bytes(authority.answer(seal.with_name(f"{seal.name}.tsq")))
        name_seal(run, seal)
        yield run, seal


def test_time_stamps_are_those_of_openssl(authority: Authority, today: Path, tmp_path: Path, capsys: Told) -> None:
    (run, seal), (other, _) = stamps(authority, today, tmp_path)
    root = str(authority.root)
    assert authority.believes(tmp_path / "one.seal.tsr", seal)
    assert not authority.believes(tmp_path / "two.seal.tsr", seal)
    assert main(["verify", str(run), "--tsa-root", root, "--seal", str(seal)]) == 0
    refused(capsys, ["verify", str(run)], 3, "no --tsa-root was given")
    assert ", time-stamped 20" in (run / "report.md").read_text()
    stranger = Authority(tmp_path / "stranger")
    refused(capsys, ["verify", str(run), "--tsa-root", str(stranger.root)], 4, "no root certificate that was given vouches for it")
    refused(capsys, ["gate", str(run), "--tsa-root", str(stranger.root)], 4, "no root certificate that was given vouches for it")
    refused(capsys, ["verify", str(run), "--tsa-root", str(seal)], 2, "the certificate cannot be read")
    stolen = json.loads((other / "environment.json").read_bytes())["seal"]
    edit(run, lambda d: d["seal"].update(timestamp=stolen["timestamp"], time=stolen["time"]), "environment.json")
    refused(capsys, ["verify", str(run), "--tsa-root", root], 4, "it is about other bytes")
    edit(other, lambda d: d["seal"].update(time="2001-01-01T00:00:00+00:00"), "environment.json")
    refused(capsys, ["verify", str(other), "--tsa-root", root], 4, "was stamped at 2001")
