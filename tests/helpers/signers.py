"""Signers, sealed runs and a time stamp authority, as tests need them."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from proxyaudit.attestation.keys import new_key
from proxyaudit.attestation.sealing import read_named, write_seal
from proxyaudit.cli.main import main
from proxyaudit.evidence.pack import read_pack
from proxyaudit.publication import publish

PASSPHRASE = "correct horse battery staple"
_AUTHORITY = """\
[tsa]
default_tsa = this
[this]
serial = serial
crypto_device = builtin
signer_cert = tsa.pem
signer_key = tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
ess_cert_id_alg = sha256
[extensions]
extendedKeyUsage = critical,timeStamping
keyUsage = critical,digitalSignature
"""


def make_key(folder: Path, name: str = "alice", not_after: str | None = None) -> Path:
    """A private key; the public one lies beside it."""
    return new_key(name, folder, PASSPHRASE, not_after)[0]


def public(key: Path) -> str:
    return str(key.with_suffix(".pub"))


def sign(run: Path, key: Path, *more: str) -> int:
    return main(["sign", str(run), "--key", str(key), *more])


def seal_run(run: Path, seal: Path, policy: str | None = None, *, answer: bytes | None = None) -> Path:
    """Seal the plan of a run, and put the seal into the run as if it had been made under it."""
    pack = read_pack(run)
    write_seal(seal, pack.plan, policy)
    if answer is not None:
        seal.with_name(f"{seal.name}.tsr").write_bytes(answer)
    name_seal(run, seal)
    return seal


def name_seal(run: Path, seal: Path, **environment: object) -> None:
    """Write a run again as one that names a seal, and began long after it."""
    pack = read_pack(run)
    named = {"seal": read_named(seal).as_dict(), "started": "2099-01-01T00:00:00+00:00", **environment}
    publish(replace(pack, environment={**pack.environment, **named}), run)


class Authority:
    """A time stamp authority of openssl with a root of its own, made for one test."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("openssl is not installed")
        self.folder, self.root = folder, folder / "root.pem"
        folder.mkdir()
        (folder / "tsa.cnf").write_text(_AUTHORITY)
        (folder / "serial").write_text("01\n")
        self._openssl("req -x509 -newkey rsa:2048 -nodes -keyout root.key -out root.pem -subj /CN=Root -days 3650")
        self._openssl("req -newkey rsa:2048 -nodes -keyout tsa.key -out tsa.csr -subj /CN=Authority")
        issue = "x509 -req -in tsa.csr -CA root.pem -CAkey root.key -CAcreateserial -out tsa.pem -days 3650"
        self._openssl(f"{issue} -extfile tsa.cnf -extensions extensions")

    def answer(self, request: Path) -> bytes:
        """The answer to a request."""
        self._openssl(f"ts -reply -config tsa.cnf -queryfile {request.resolve()} -out answer.tsr")
        return (self.folder / "answer.tsr").read_bytes()

    def believes(self, answer: Path, data: Path) -> bool:
        """Whether openssl itself finds that the answer is about the data."""
        words = ["ts", "-verify", "-data", str(data.resolve()), "-in", str(answer.resolve()), "-CAfile", "root.pem"]
        return subprocess.run(["openssl", *words], cwd=self.folder, capture_output=True, check=False).returncode == 0

    def _openssl(self, words: str) -> None:
        subprocess.run(["openssl", *words.split()], cwd=self.folder, capture_output=True, check=True)


def refused(capsys: pytest.CaptureFixture[str], words: list[str], code: int, reason: str) -> None:
    """The command ends with the code, and says why in one line."""
    capsys.readouterr()
    assert main(words) == code, capsys.readouterr()
    told = [line for line in capsys.readouterr().err.splitlines() if reason in line]
    assert told
    assert "Traceback" not in told[0]
