"""The whole way: a key, a sealed plan with its time stamp, the run under it, its signature, the gate and the check."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("securesystemslib", reason="the extra 'sign' is not installed")
pytest.importorskip("rfc3161_client", reason="the extra 'sign' is not installed")

from signers import PASSPHRASE, Authority
from small_project import SMALL, project, run

from proxyaudit.attestation.keys import PASSPHRASE as VARIABLE
from proxyaudit.cli.main import main
from proxyaudit.evidence.pack import find_run, read_pack

Told = pytest.CaptureFixture[str]


def test_from_the_seal_to_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Told) -> None:
    monkeypatch.setenv(VARIABLE, PASSPHRASE)
    monkeypatch.chdir(tmp_path)
    recipe, out, authority = project(tmp_path, SMALL), tmp_path / "out", Authority(tmp_path / "authority")
    root = str(authority.root)
    Path("policy.yaml").write_text("allow: [removed, hidden, exposed]\nregimes: all\nsealed: true\n")
    assert main(["keys", "new", "alice"]) == 0
    sealing = ["plan", str(recipe), "--seal", "my.seal", "--policy", "policy.yaml", "--key", "alice.key", "--json"]
    capsys.readouterr()
    assert main(sealing) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["seal"] == ["my.seal", "my.seal.tsq", "my.seal.dsse.json"]
    seal = json.loads(Path("my.seal").read_bytes())
    assert (seal["plan"], seal["data"], seal["seed"]) == (plan["digest"], plan["hashes"], 0)
    assert main(sealing) == 2
    assert "one that was made stays as it is" in capsys.readouterr().err
    assert main(["run", str(recipe), "--seal", "my.seal", "--tsa-root", root]) == 2
    assert "the seal has no time stamp" in capsys.readouterr().err
    Path("my.seal.tsr").write_bytes(authority.answer(Path("my.seal.tsq")))
    assert run(recipe, out, "--seal", "my.seal", "--tsa-root", root) == 0
    assert "not as sealed" not in capsys.readouterr().err
    assert run(recipe, out, "--seal", "my.seal") == 0  # it lies there, under this very seal
    folder = find_run(out)
    assert "**Sealed beforehand**: plan, data and policy, by the seal" in (folder / "report.md").read_text()
    assert "The run keeps to it." in (folder / "report.md").read_text()
    assert "seal" not in json.loads((folder / "evidence.json").read_bytes())["run"]
    assert main(["sign", str(out), "--key", "alice.key", "--policy", "policy.yaml"]) == 0
    assert "PASSED" in capsys.readouterr().out
    asked = ["--tsa-root", root]
    assert main(["gate", str(out), "--policy", "policy.yaml", "--signed-by", "alice.pub", *asked]) == 0
    assert main(["verify", str(out), "--key", "alice.pub", "--seal", "my.seal", "--strict", *asked]) == 0
    assert "signed by 'alice'" in capsys.readouterr().out

    Path("other.seal").write_bytes(Path("my.seal").read_bytes().replace(b'"seed": 0', b'"seed": 1'))
    assert main(["verify", str(out), "--seal", "other.seal"]) == 4
    assert "the run names the seal" in capsys.readouterr().err
    assert run(recipe, out, "--seal", "other.seal") == 2
    assert "was not made under this seal" in capsys.readouterr().err
    for name in ("my.seal.tsr", "my.seal.dsse.json"):
        Path(name.replace("my", "other")).write_bytes(Path(name).read_bytes())
        assert run(recipe, out, "--seal", "other.seal") == 2
        assert "this does not belong to the seal: it is about" in capsys.readouterr().err
        Path(name.replace("my", "other")).unlink()
    assert read_pack(folder).environment["seal"]["document"] == seal
    assert main(["plan", str(recipe), "--key", "alice.key"]) == 2
    assert "a plan alone is not signed" in capsys.readouterr().err
