"""``probe`` with an intersection and recipients, end to end: verified, gated, compared, opened, and nothing of a row in what is public."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from proxyaudit.cli.main import main
from proxyaudit.evidence.pack import find_run, read_pack
from proxyaudit.evidence.tiers import is_restricted

pyrage = pytest.importorskip("pyrage", reason="needs the extra 'access'")
Told = pytest.CaptureFixture[str]
CANARY = "canary-x17"


@dataclass(frozen=True)
class Made:
    folder: Path
    run: Path
    words: list[str]
    identity: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Activations that tell who is both f and x: neither the sex nor the origin alone explains that."""
    folder, rng, n = tmp_path_factory.mktemp("probe"), np.random.default_rng(0), 900
    sex, origin = rng.integers(0, 2, n), rng.integers(0, 2, n)
    both = (sex == 0) & (origin == 0)
    save_file({"pooled": (rng.normal(size=(n, 5)) + 1.2 * both[:, None]).astype(np.float32)}, folder / "acts.safetensors")
    labels = pd.DataFrame({"sex": np.array(["f", "m"])[sex], "origin": np.array(["x", "y"])[origin]})
    labels.loc[:4, "origin"] = CANARY
    labels.to_csv(folder / "people.csv", index=False)
    identity = pyrage.x25519.Identity.generate()
    (folder / "me.key").write_text(f"{identity}\n")
    (folder / "me.key").chmod(0o600)
    words = ["probe", "--activations", f"vendor={folder / 'acts.safetensors'}", "--labels", str(folder / "people.csv")]
    words += ["--attribute", "sex", "--attribute", "origin", "--jobs", "1", "--out", str(folder / "out")]
    assert main([*words, "--intersection", "sex,origin", "--recipient", str(identity.to_public())]) == 0
    return Made(folder, find_run(folder / "out"), words, folder / "me.key")


def test_the_intersection_is_audited_beside_its_parts(made: Made, capsys: Told) -> None:
    pack = read_pack(made.run)
    assert [(f.attribute, f.role, f.verdict) for f in pack.evidence.findings] == [
        ("sex", "protected", "exposed"),
        ("origin", "protected", "exposed"),
        ("sex and origin", "intersection", "exposed"),
    ]
    described = {entry["name"]: entry for entry in pack.plan["attributes"]}
    assert described["sex and origin"]["levels"] == ["f and x", "f and y", "m and x", "m and y"]
    assert described["sex and origin"]["of"] == ["sex", "origin"]
    assert pack.recipe["intersections"] == [["sex", "origin"]]
    assert main(["verify", str(made.run)]) == 0, capsys.readouterr()
    page = (made.run / "report.md").read_text()
    assert "sex and origin" in page
    assert "origin: rare levels" in page


def test_it_is_gated_and_compared_like_an_attribute(made: Made, tmp_path: Path, capsys: Told) -> None:
    (tmp_path / "lax.yaml").write_text("attributes: [sex, origin]\nallow: [removed, exposed]\n")
    assert main(["gate", str(made.run)]) == 1
    assert "sex and origin" in capsys.readouterr().out
    assert main(["gate", str(made.run), "--policy", str(tmp_path / "lax.yaml")]) == 0
    assert "intersections that were not judged: sex and origin (exposed)" in capsys.readouterr().out
    assert main(["compare", str(made.run), str(made.run), "--json"]) == 0
    outcomes = json.loads(capsys.readouterr().out)["outcomes"]
    assert ("sex and origin", "intersection") in {(one["attribute"], one["role"]) for one in outcomes}


def test_protected_attributes_get_the_states_that_they_have_without_it(made: Made, tmp_path: Path) -> None:
    """Their published figures too; only their ids and how much of the plan there is differ."""
    assert main([*made.words, "--out", str(tmp_path / "plain")]) == 0
    plain, crossed = (read_pack(find_run(out)).evidence for out in (tmp_path / "plain", made.folder / "out"))

    def own(evidence: object, name: str) -> list[tuple[object, ...]]:
        kept = [e for e in evidence.estimates if e.attribute == name]  # type: ignore[attr-defined]
        return [(e.channel, e.measure, e.site, e.state, e.value, e.p_present if e.measure == "gap" else None) for e in kept]

    for name in ("sex", "origin"):
        assert own(plain, name) == own(crossed, name)


def test_what_is_restricted_is_encrypted_and_opened_with_a_purpose(made: Made, tmp_path: Path, capsys: Told) -> None:
    names = {path.name for path in made.run.iterdir()}
    assert "row-sums.safetensors.age" in names
    assert not any(is_restricted(name) and not name.endswith(".age") for name in names)
    words = ["access", str(made.run), "--identity", str(made.identity), "--purpose", "a test", "--out", str(tmp_path / "opened")]
    assert main(words) == 0, capsys.readouterr()
    assert (tmp_path / "opened" / "row-sums.safetensors").stat().st_size > 0
    assert main(["verify", str(made.run)]) == 0


def test_no_row_stands_in_what_is_public(made: Made) -> None:
    for path in made.run.iterdir():
        assert CANARY.encode() not in path.read_bytes(), path.name


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--intersection", "sex,orign"], "did you mean 'origin'"),
        (["--intersection", "sex"], "two different attributes"),
        (["--recipient", "age1nobody"], "--recipient"),
        (["--recipient", "AGE-SECRET-KEY-1"], "private key"),
    ],
)
def test_mistakes_are_one_line(made: Made, more: list[str], message: str, capsys: Told) -> None:
    capsys.readouterr()
    assert main([*made.words, *more]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told
    assert len([line for line in told.splitlines() if line.startswith("proxyaudit: ") or "error" in line.lower()]) <= 1
