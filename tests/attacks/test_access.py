"""The restricted tier: only named recipients open it, every opening is logged, and a log that was changed is found."""

from __future__ import annotations

import json
import shutil
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load

from proxyaudit.access.age import recipients_of
from proxyaudit.access.log import _digest, _line, first_link, read_log
from proxyaudit.audits.probe.inputs import ProbeRequest
from proxyaudit.audits.probe.run import probe_arrays
from proxyaudit.cli.main import main
from proxyaudit.digests import digest_of
from proxyaudit.errors import IntegrityError
from proxyaudit.evidence.manifest import replace_files
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.evidence.tiers import ACCESS_LOG, RUN_ENCRYPTED
from proxyaudit.publication import publish
from proxyaudit.recipe.recipe import parse_recipe

pyrage = pytest.importorskip("pyrage", reason="needs the extra 'access'")

SECRET = b'{"direction": "tells who is who"}'
PURPOSE = "scan of release 4"


@dataclass(frozen=True)
class World:
    """A run with a restricted tier, and the identity of one of two recipients."""

    run: Path
    identity: Path
    recipient: str
    pack: EvidencePack

    def open(self, *more: str, purpose: str = PURPOSE) -> int:
        return main(["access", str(self.run), "--identity", str(self.identity), "--purpose", purpose, *more])

    @property
    def log(self) -> Path:
        return self.run / ACCESS_LOG


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder, rng = tmp_path_factory.mktemp("access"), np.random.default_rng(0)
    keys = [pyrage.x25519.Identity.generate() for _ in range(2)]
    recipients = [str(key.to_public()) for key in keys]
    sex = rng.integers(0, 2, 700)
    acts = {name: {"pooled": rng.normal(size=(700, 4)) + gap * sex[:, None]} for name, gap in (("real", 0.0), ("vendor", 1.0))}
    pack = probe_arrays(acts, pd.DataFrame({"sex": np.array(["f", "m"])[sex]}), ProbeRequest(("sex",), real="real"), jobs=1)
    recipe = {**pack.recipe, "access": {"recipients": recipients}}
    content = {key: value for key, value in pack.plan.items() if key not in ("digest", "run_id", "code", "estimated_minutes")}
    digest = digest_of({"plan": content, "recipe": recipe, "code": pack.plan["code"]})
    run = pack.evidence.run.model_copy(update={"id": digest[:12], "plan_digest": digest})
    evidence = pack.evidence.model_copy(update={"run": run})
    pack = replace(pack, evidence=evidence, recipe=recipe, plan={**pack.plan, "digest": digest, "run_id": digest[:12]})
    publish(pack, folder / "probe" / digest[:12], {"signatures.json": SECRET, "signatures.safetensors": SECRET})
    identity = folder / "me.key"
    identity.write_text(f"# created: today\n# public key: {recipients[0]}\n{keys[0]}\n")
    identity.chmod(0o600)
    return World(folder / "probe" / digest[:12], identity, recipients[0], pack)


@pytest.fixture
def world(made: World, tmp_path: Path) -> World:
    shutil.copytree(made.run, tmp_path / "runs" / made.run.name)
    return replace(made, run=tmp_path / "runs" / made.run.name)


def test_nothing_restricted_lies_open_and_the_run_is_verified(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert {path.name for path in world.run.iterdir()} >= set(RUN_ENCRYPTED)
    assert all(SECRET not in path.read_bytes() for path in world.run.iterdir())
    assert main(["verify", str(world.run)]) == 0
    assert "3 files, encrypted to 2 recipients" in capsys.readouterr().out


def test_a_recipient_opens_it_and_the_log_says_so(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "opened"
    assert world.open("--out", str(out), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["files"]["signatures.json"] == len(SECRET)
    assert (out / "signatures.json").read_bytes() == SECRET
    sums = load((out / "row-sums.safetensors").read_bytes())
    assert sums.keys() == world.pack.row_sums.keys()
    assert [stat.S_IMODE(path.stat().st_mode) for path in (out, *out.iterdir())] == [0o700, 0o600, 0o600, 0o600]
    assert stat.S_IMODE(world.log.stat().st_mode) == 0o600
    assert world.open(purpose="  a second\n look ") == 0
    assert f"Opening 2 of {world.run} is logged" in capsys.readouterr().out
    first, second = read_log(world.run, world.pack.plan["digest"])
    assert (first.purpose, second.purpose) == (PURPOSE, "a second look")
    assert (first.opened_by, first.digest, second.previous) == (world.recipient, told["head"], told["head"])
    assert SECRET not in world.log.read_bytes()
    assert main(["verify", str(world.run)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"2 openings, head {second.digest}" in said
    assert "only who kept a later head can tell" in said
    assert main(["report", str(world.run)]) == 0
    assert main(["gate", str(world.run)]) in (0, 1, 3)


@pytest.mark.long
def test_an_identity_may_have_a_passphrase(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encrypted = tmp_path / "me.age"
    encrypted.write_bytes(pyrage.passphrase.encrypt(world.identity.read_bytes(), "correct horse"))
    encrypted.chmod(0o600)
    locked = replace(world, identity=encrypted)
    assert locked.open() == 2
    monkeypatch.setenv("PROXYAUDIT_IDENTITY_PASSPHRASE", "battery staple")
    assert locked.open() == 2
    monkeypatch.setenv("PROXYAUDIT_IDENTITY_PASSPHRASE", "correct horse")
    assert locked.open() == 0


def test_who_may_not_open_it_gets_one_line_and_leaves_no_trace(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stranger, public, empty = tmp_path / "other.key", tmp_path / "open.key", tmp_path / "empty.key"
    stranger.write_text(f"{pyrage.x25519.Identity.generate()}\n")
    public.write_bytes(world.identity.read_bytes())
    empty.write_text("nothing\n")
    for path in (stranger, empty):
        path.chmod(0o600)
    public.chmod(0o644)
    (tmp_path / "full").mkdir()
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    (tmp_path / "full" / "x").write_text("x")
    for other, more, purpose, words in (
        (replace(world, identity=stranger), (), PURPOSE, "the identity is none of the recipients"),
        (replace(world, identity=public), (), PURPOSE, "others on this machine can read the identity"),
        (replace(world, identity=empty), (), PURPOSE, "holds no age identity"),
        (replace(world, identity=tmp_path / "none"), (), PURPOSE, "cannot be read"),
        (world, (), "  ", "this says no purpose"),
        (world, (), "x" * 600, "this says no purpose"),
        (world, ("--out", str(world.run / "opened")), PURPOSE, "a run folder takes no further files"),
        (world, ("--out", str(tmp_path / "full")), PURPOSE, "there is something already"),
        (world, ("--out", str(tmp_path / "nowhere")), PURPOSE, "there is something already"),
    ):
        assert other.open(*more, purpose=purpose) == 2, words
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1
    assert not world.log.exists()
    assert main(["verify", str(world.run)]) == 0


@pytest.mark.parametrize("place", ["runs", "runs/opened", "runs/probe", "runs/probe/opened", "runs/other/opened", "runs/probe/../opened"])
def test_what_is_opened_is_not_put_among_the_results(place: str, made: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever hands the folder of runs on would hand on rows."""
    world = replace(made, run=Path(shutil.copytree(made.run, tmp_path / "runs" / "probe" / made.run.name)))
    before = sorted(tmp_path.rglob("*"))
    assert world.open("--out", str(tmp_path / place)) == 2
    assert "lies among the results" in capsys.readouterr().err or place in ("runs", "runs/probe")
    assert sorted(tmp_path.rglob("*")) == before
    assert world.open("--out", str(tmp_path / "opened")) == 0


def lines(world: World, count: int = 3) -> list[dict[str, Any]]:
    for number in range(count):
        assert world.open(purpose=f"look {number}") == 0
    return [json.loads(line) for line in world.log.read_text().splitlines()]


def write(world: World, entries: list[dict[str, Any]]) -> None:
    world.log.write_text("".join(_line(entry) + "\n" for entry in entries))


def chained(entries: list[dict[str, Any]], about: str) -> list[dict[str, Any]]:
    """Chain lines as somebody would who knows how."""
    previous, found = first_link(about), []
    for number, entry in enumerate(entries, start=1):
        fields = {**entry, "number": number, "previous": previous}
        fields.pop("digest")
        found.append({**fields, "digest": (previous := _digest(fields))})
    return found


FORGERIES = {
    "purpose changed": lambda found: [found[0], {**found[1], "purpose": "nothing"}, found[2]],
    "purpose and digest changed": lambda found: [
        found[0],
        (changed := {**found[1], "purpose": "nothing"}) | {"digest": _digest({k: v for k, v in changed.items() if k != "digest"})},
        found[2],
    ],
    "first line cut": lambda found: found[1:],
    "middle line cut": lambda found: [found[0], found[2]],
    "middle line cut, numbers mended": lambda found: [found[0], {**found[2], "number": 2}],
    "swapped": lambda found: [found[1], found[0], found[2]],
    "doubled": lambda found: [found[0], found[0], *found[1:]],
    "key added": lambda found: [{**found[0], "note": "x"}, *found[1:]],
    "of another run": lambda found: chained(found, "0" * 64),
}


def test_a_log_that_was_changed_is_found_and_nothing_more_is_opened(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = lines(world)
    sound = world.log.read_bytes()
    about = world.pack.plan["digest"]
    for forge in FORGERIES.values():
        write(world, forge(list(found)))
        with pytest.raises(IntegrityError):
            read_log(world.run, about)
    for data in (sound[:-20], sound[:-1], sound.replace(b'","', b'", "', 1), sound + b"\n", sound + b"\xff\n"):
        world.log.write_bytes(data)
        with pytest.raises(IntegrityError):
            read_log(world.run, about)
    assert main(["verify", str(world.run)]) == 4
    assert world.open("--out", str(tmp_path / "opened")) == 4
    assert not (tmp_path / "opened").exists()
    world.log.write_bytes(b"")
    assert main(["verify", str(world.run)]) == 4
    world.log.unlink()
    (tmp_path / "log").write_bytes(sound)
    world.log.symlink_to(tmp_path / "log")
    assert main(["verify", str(world.run)]) == 4
    assert world.open() == 4
    assert (tmp_path / "log").read_bytes() == sound
    world.log.unlink()
    world.log.write_bytes(sound)
    assert main(["verify", str(world.run)]) == 0
    capsys.readouterr()


def test_lines_cut_off_the_end_are_told_by_whoever_kept_the_head(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    found = lines(world)
    capsys.readouterr()
    assert main(["verify", str(world.run), "--access-head", found[1]["digest"]]) == 0
    write(world, found[:2])
    assert main(["verify", str(world.run)]) == 0
    assert main(["verify", str(world.run), "--access-head", found[1]["digest"]]) == 0
    assert main(["verify", str(world.run), "--access-head", found[2]["digest"]]) == 4
    assert "lines were cut off its end" in capsys.readouterr().out
    world.log.unlink()
    assert main(["verify", str(world.run), "--access-head", found[0]["digest"]]) == 4
    assert main(["verify", str(world.run), "--access-head", "me"]) == 2


@pytest.mark.parametrize("forgery", ["purpose changed", "middle line cut", "swapped"])
def test_a_log_that_was_written_anew_is_told_by_whoever_kept_a_head(forgery: str, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """No secret makes the chain: whoever changes a line can make all later digests again."""
    found = lines(world)
    write(world, chained(FORGERIES[forgery](found), world.pack.plan["digest"]))
    capsys.readouterr()
    assert main(["verify", str(world.run)]) == 0
    assert "or all written anew" in " ".join(capsys.readouterr().out.split())
    assert main(["verify", str(world.run), "--access-head", found[2]["digest"]]) == 4
    assert "or it was written anew" in capsys.readouterr().err


@pytest.mark.parametrize("fault", ["changed", "taken away", "open beside", "fewer recipients", "not age"])
def test_restricted_files_that_are_not_what_they_were_are_found(fault: str, world: World) -> None:
    path = world.run / "signatures.json.age"
    data = path.read_bytes()
    if fault == "changed":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif fault == "taken away":
        path.unlink()
    elif fault == "open beside":
        replace_files(world.run, {"signatures.json": SECRET + b"\n"})
    elif fault == "fewer recipients":
        only = pyrage.x25519.Recipient.from_str(world.recipient)
        replace_files(world.run, {path.name: pyrage.encrypt(SECRET, [only])})
    else:
        replace_files(world.run, {path.name: SECRET})
    assert main(["verify", str(world.run)]) == 4
    if fault in ("changed", "taken away"):
        assert world.open() == 4


def second_line_for_nobody(data: bytes) -> bytes:
    """As a program might hide whom it lets in: kinds that end so are skipped by whoever does not know them."""
    return data.replace(b"\n--- ", b"\n-> own-grease x\nAAAA\n--- ", 1)


def ssh_recipient() -> Any:
    forms = pytest.importorskip("cryptography.hazmat.primitives.serialization", reason="needs the extra 'sign'")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate().public_key().public_bytes(forms.Encoding.OpenSSH, forms.PublicFormat.OpenSSH)
    return pyrage.ssh.Recipient.from_str(key.decode())


HIDDEN = {
    "a key of age": lambda: pyrage.x25519.Identity.generate().to_public(),
    "a key of ssh": ssh_recipient,
    "a line for nobody": lambda: None,
}


@pytest.mark.parametrize("who", list(HIDDEN))
def test_a_recipient_whom_the_recipe_does_not_name_is_found(who: str, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    named = [pyrage.x25519.Recipient.from_str(text) for text in world.pack.recipe["access"]["recipients"]]
    for _ in range(20):  # a line for nobody has a kind and a length that are drawn
        assert recipients_of(pyrage.encrypt(SECRET, named)) == 2
    more = HIDDEN[who]()
    data = pyrage.encrypt(SECRET, [*named, more]) if more is not None else second_line_for_nobody(pyrage.encrypt(SECRET, named))
    replace_files(world.run, {"signatures.json.age": data})
    assert main(["verify", str(world.run)]) == 4
    assert "signatures.json.age is encrypted to 3 recipients, and the recipe names 2" in capsys.readouterr().err


def test_purged_it_cannot_be_opened_and_the_run_is_verified(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert world.open() == 0
    assert main(["purge", str(world.run)]) == 0
    assert not list(world.run.glob("*.age"))
    assert main(["verify", str(world.run)]) == 0
    assert "things that held rows or helped to infer were deleted" in " ".join(capsys.readouterr().out.split())
    assert world.open() == 2
    assert world.log.exists()
    assert main(["report", str(world.run)]) == 0
    assert main(["verify", str(world.run)]) == 0


def test_a_signature_covers_the_encrypted_files_and_outlives_opening_and_purge(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("securesystemslib", reason="needs the extra 'sign'")
    from signers import PASSPHRASE, make_key, public, sign

    monkeypatch.setenv("PROXYAUDIT_KEY_PASSPHRASE", PASSPHRASE)
    key = make_key(tmp_path)
    assert sign(world.run, key) == 0
    assert world.open() == 0
    assert main(["purge", str(world.run)]) == 0
    assert main(["verify", str(world.run), "--key", public(key), "--strict"]) == 0


@pytest.mark.parametrize(
    ("recipients", "words"),
    [
        (["age1me"], "write an age recipient"),
        (["AGE-SECRET-KEY-1" + "Q" * 58], "this is a private key"),
        ([], "at least 1"),
        (["age1" + "q" * 58] * 2, "named twice"),
    ],
)
def test_recipients_that_are_none_are_told(recipients: list[str], words: str) -> None:
    recipe = {"name": "t", "data": {"path": "x", "target": "y", "protected": ["sex"]}, "regimes": ["real"], "model": {"kind": "mlp"}}
    with pytest.raises(Exception, match=words):
        parse_recipe({**recipe, "access": {"recipients": recipients}})
