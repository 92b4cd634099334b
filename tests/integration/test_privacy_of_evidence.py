"""Rows of people in whom canaries are planted, through every command that signs, seals, opens, cures and purges."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from canaries import CANARIES, NAMES, PEOPLE, RECIPE, people, plant

pytest.importorskip("securesystemslib", reason="the extra 'sign' is not installed")
pytest.importorskip("pyrage", reason="the extra 'access' is not installed")

from pyrage import x25519
from signers import PASSPHRASE, make_key, public

from proxyaudit.cli.main import _command, main
from proxyaudit.evidence.manifest import ATTESTATION
from proxyaudit.evidence.pack import find_run
from proxyaudit.evidence.tiers import AGE, BESIDE, RECEIPT, RUN_ENCRYPTED, SIGNED_RECEIPT, tier_of
from tests.integration import test_privacy
from tests.integration.test_privacy import canaries_in, read

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

# Who reads no row of a table: sentences of two groups that are no people's, planted worlds, lists of what comes along.
WITHOUT_ROWS = {"init", "datasets", "schema", "selftest", "prompts"}
ELSEWHERE = {"probe", "mitigate", "doctor"}  # asked in test_privacy
INPUTS = {"people.csv", "release.csv", "recipe.yaml", "me.key"}


@dataclass
class World:
    """A folder with people and a recipe; what each command said, and what lay below ``--out`` after it."""

    folder: Path
    said: dict[str, str] = field(default_factory=dict)
    lay: dict[str, list[str]] = field(default_factory=dict)
    cure: str = ""

    def command(self, *words: str, codes: tuple[int, ...] = (0,)) -> str:
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            code = main([str(word) for word in words])
        name = f"{len(self.said)} {words[0]}"
        assert code in codes, (name, out.getvalue())
        self.said[name] = out.getvalue()
        self.lay[name] = [path.name for path in (self.folder / "runs").rglob("*") if not path.is_dir()]
        return out.getvalue()

    def written(self) -> Iterator[tuple[str, str]]:
        """Everything that was written outside of the cache and of what was opened, but the data themselves."""
        apart = ("cache", "opened", "opened-cure")
        for name, text in read(self.folder):
            if name not in INPUTS and Path(name).parts[0] not in apart:
                yield name, text


def make(folder: Path) -> World:
    real, release = plant(people(PEOPLE, seed=0)), people(300, seed=1)
    real.to_csv(folder / "people.csv", index=False)
    release.loc[:5, "job"] = CANARIES["category of a release"]
    release.drop(columns=["note", "person"]).to_csv(folder / "release.csv", index=False)
    identity = x25519.Identity.generate()
    (folder / "me.key").write_text(f"{identity}\n")
    (folder / "me.key").chmod(0o600)
    more = f"access: {{recipients: [{identity.to_public()}]}}\nretain_until: 2020-01-01\n"
    (folder / "recipe.yaml").write_text(RECIPE.replace("cures: false\n", "cures: true\n") + more)
    (folder / "policy.yaml").write_text("allow: [removed, hidden, exposed]\ninconclusive: allow\nregimes: all\nsealed: true\n")
    return World(folder)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = make(tmp_path_factory.mktemp("canaries"))
    folder = made.folder
    at = {name: str(folder / name) for name in (*INPUTS, "policy.yaml", "runs", "cache", "my.seal", "opened", "opened-cure")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROXYAUDIT_KEY_PASSPHRASE", PASSPHRASE)
        patch.setenv("PROXYAUDIT_CACHE", at["cache"])
        patch.setenv("PROXYAUDIT_JOBS", "1")
        made.command("keys", "new", "alice", "--out", str(folder))
        key, pub, me = str(folder / "alice.key"), str(folder / "alice.pub"), at["me.key"]
        made.command("plan", at["recipe.yaml"], "--seal", at["my.seal"], "--policy", at["policy.yaml"], "--key", key)
        made.command("run", at["recipe.yaml"], "--out", at["runs"], "--seal", at["my.seal"])
        run = str(find_run(Path(at["runs"]) / "canaries"))
        made.command("sign", run, "--key", key, "--policy", at["policy.yaml"])
        made.command("gate", run, "--policy", at["policy.yaml"], "--signed-by", pub, codes=(0, 1, 3))
        made.command("verify", run, "--key", pub, "--seal", at["my.seal"])
        made.command("access", run, "--identity", me, "--purpose", "a test", "--out", at["opened"])
        weights = str(next((folder / "cache").glob("train/*/weights.safetensors")))
        scan = ("scan", "--signatures", run, "--opened", at["opened"], "--model", weights, "--inputs", at["people.csv"])
        made.command(*scan, "--base", str(folder), codes=(0, 1, 3))
        tried = {e["subject"] for e in json.loads((Path(run) / "evidence.json").read_bytes())["estimates"] if e["channel"] == "cure"}
        made.cure = next(name for name in ("resampled", "permuted-1", "aligned-1") if name in tried)
        cure = ("cure", run, "--attribute", "sex", "--regime", "real", "--cure", made.cure)
        made.command(*cure, "--base", str(folder), "--out", at["runs"])
        cured = str(next((Path(at["runs"]) / "canaries-cured").iterdir()))
        made.command("sign", cured, "--key", key)
        made.command("verify", cured, "--key", pub, codes=(0, 3))
        made.command("access", cured, "--identity", me, "--purpose", "a test", "--out", at["opened-cure"])
        made.command("controls", run, "--oscal", str(folder / "oscal.json"))
        made.command("history", at["runs"], "--out", str(folder / "history.html"))
        made.command("compare", run, run, "--out", str(folder / "compared"), codes=(0, 3))
        made.command("report", run)
        made.command("ls", at["runs"], "--due")
    return made


def test_every_command_is_asked_or_reads_no_row(world: World) -> None:
    asked = {name.split()[1] for name in world.said} | {"purge"}
    assert asked & (WITHOUT_ROWS | ELSEWHERE) == set()
    assert asked | WITHOUT_ROWS | ELSEWHERE == set(_command().commands)
    source = Path(test_privacy.__file__).read_text(encoding="utf-8")
    assert all(f'"{name}": [' in source for name in ELSEWHERE)


def test_what_is_read_holds_canaries_so_that_the_search_can_find(world: World) -> None:
    opened = dict(read(world.folder / "opened-cure"))
    assert any(where.startswith("category of a feature") for where in canaries_in(opened))
    assert canaries_in({"said": f"row of {NAMES[0]}"}) == ["person in said"]


def test_no_canary_in_anything_that_was_written_or_said(world: World) -> None:
    written = dict(world.written())
    names = {Path(name).name for name in written}
    expected = {
        "my.seal",
        "my.seal.tsq",
        "my.seal.dsse.json",
        "alice.key",
        "alice.pub",
        "oscal.json",
        "history.html",
        "cure.json",
        "change.md",
    }
    assert expected | {ATTESTATION, "environment.json", "access.log.jsonl", "evidence.json", "comparison.json"} <= names
    assert canaries_in({**written, **world.said}) == []


def test_after_no_command_does_anything_lie_open_among_the_results(world: World) -> None:
    assert {name for name in world.lay["2 run"] if name.endswith(AGE)} == set(RUN_ENCRYPTED)
    for command, names in world.lay.items():
        closed = [name for name in names if name.endswith(AGE) and tier_of(name) == "restricted"]
        rest = [name for name in names if name not in (*closed, ATTESTATION, *BESIDE) and tier_of(name) != "public"]
        assert rest == [], command


@pytest.mark.parametrize("place", ["signing", "opening", "sealing", "purging"])
def test_what_fails_says_no_row_and_leaves_none(place: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full, or the key does not open, at the worst moment."""
    monkeypatch.setenv("PROXYAUDIT_KEY_PASSPHRASE", PASSPHRASE)
    monkeypatch.setenv("PROXYAUDIT_CACHE", str(world.folder / "cache"))
    run, own = str(find_run(world.folder / "runs" / "canaries")), make_key(tmp_path)
    before = sorted(world.lay["2 run"])

    def full(path: Path, data: bytes, **more: object) -> None:
        raise OSError(28, "No space left on device", str(path))

    words, module = {
        "signing": (["sign", run, "--key", str(own)], "proxyaudit.attestation.signing"),
        "opening": (
            ["access", run, "--identity", str(world.folder / "me.key"), "--purpose", "x", "--out", str(tmp_path / "o")],
            "proxyaudit.access.opening",
        ),
        "sealing": (["plan", str(world.folder / "recipe.yaml"), "--seal", str(tmp_path / "s.seal")], "proxyaudit.attestation.sealing"),
        "purging": (["purge", run, "--key", str(own)], "proxyaudit.evidence.receipts"),
    }[place]
    monkeypatch.setattr(f"{module}.write_file", full)
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = main(words)
    assert code in (2, 4, 5), out.getvalue()
    assert "Traceback" not in out.getvalue()
    left = dict(read(tmp_path))
    assert canaries_in({"said": out.getvalue(), **left}) == []
    assert {Path(name).name for name in left} <= {"alice.key", "alice.pub"}
    assert sorted(set(before) - {path.name for path in Path(run).iterdir()}) == []
    assert main(["verify", run, "--key", public(world.folder / "alice.key")]) == 0


# The last of the file: other tests look into what it deletes -----------------------------------------------------------


def test_a_signed_purge_leaves_receipts_and_nothing_that_holds_rows(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXYAUDIT_KEY_PASSPHRASE", PASSPHRASE)
    monkeypatch.setenv("PROXYAUDIT_CACHE", str(world.folder / "cache"))
    runs, key = world.folder / "runs", world.folder / "alice.key"
    said = world.command("purge", str(runs), "--key", str(key))
    assert {SIGNED_RECEIPT, RECEIPT} <= {path.name for path in runs.rglob("*")}
    assert {tier_of(path.name) for path in runs.rglob("*") if path.is_file() and path.name not in (ATTESTATION, *BESIDE)} == {"public"}
    assert canaries_in({"purge": said, **dict(world.written())}) == []
    assert main(["verify", str(find_run(runs / "canaries")), "--key", public(key), "--receipt-key", public(key), "--strict"]) == 0
