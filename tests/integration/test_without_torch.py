"""Checking, deciding, comparing and showing work where torch, sdv and transformers are not installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from released_packs import todays_pack
from small_project import SMALL, project

import proxyaudit

ROOT = Path(proxyaudit.__file__).resolve().parents[1]
HEAVY = ("torch", "functorch", "torchgen", "sdv", "rdt", "copulas", "ctgan", "transformers", "tokenizers", "peft", "accelerate", "captum")
ANSWERING = ("verify", "gate", "compare", "report", "controls", "history")
PROGRAM = """
import importlib.util, sys
from proxyaudit.cli.main import main
missing = [name for name in ("torch", "sdv", "transformers") if importlib.util.find_spec(name) is not None]
assert not missing, missing
for command in sys.argv[1:]:
    print(command.split()[0], main(command.split()), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment that has everything but the heavy packages, made from what is installed here."""
    folder = tmp_path_factory.mktemp("light")
    venv.create(folder / "env", with_pip=False, symlinks=True)
    packages = folder / "packages"
    packages.mkdir()
    for place in (Path(entry) for entry in sys.path if entry.endswith("site-packages")):
        for path in place.iterdir():
            heavy = path.name.lower().replace("-", "_").split(".")[0].startswith(HEAVY)
            if not heavy and not path.name.endswith(".pth") and not (packages / path.name).exists():
                (packages / path.name).symlink_to(path)
    inside = next((folder / "env" / "lib").glob("python*")) / "site-packages"
    (inside / "light.pth").write_text(f"{packages}\n{ROOT}\n", encoding="utf-8")
    return folder / "env" / "bin" / "python"


def test_packs_are_checked_decided_compared_and_shown(light: Path, tmp_path: Path) -> None:
    run = todays_pack(tmp_path)
    commands = [
        f"verify {run} --json",
        f"gate {run} --json",
        f"compare {run} {run} --json",
        f"report {run} --json",
        f"controls {run} --json",
    ]
    commands.append(f"history {run} --json")
    found, codes = _tried(light, commands, tmp_path)
    assert set(codes) == set(ANSWERING)
    assert codes["verify"] in ("0", "3"), found.stderr
    assert codes["gate"] in ("0", "1", "3"), found.stderr
    assert codes["compare"] in ("0", "3"), found.stderr
    assert {codes[name] for name in ("report", "controls", "history")} == {"0"}, found.stderr
    decoder, documents, rest = json.JSONDecoder(), [], found.stdout.strip()
    while rest:
        document, end = decoder.raw_decode(rest)
        documents.append(document)
        rest = rest[end:].strip()
    assert len(documents) == len(commands)
    assert not any("error" in document for document in documents)


def test_runs_are_signed_and_signatures_checked(light: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("securesystemslib", reason="the extra 'sign' is not installed")
    monkeypatch.setenv("PROXYAUDIT_KEY_PASSPHRASE", "correct horse battery staple")
    run = todays_pack(tmp_path)
    commands = ["keys new alice", f"sign {run} --key alice.key", f"verify {run} --key alice.pub", f"gate {run} --signed-by alice.pub"]
    found, codes = _tried(light, commands, tmp_path)
    assert (codes["keys"], codes["sign"], codes["verify"], codes["gate"]) == ("0", "0", "0", "1"), found.stderr


def test_tables_are_planned_and_plans_sealed(light: Path, tmp_path: Path) -> None:
    """What is planned for networks and trees of tables is told by the recipe: they are made where they are trained."""
    project(tmp_path, SMALL.replace("  - real\n", "  - real\n  - synthetic: {sdv: tvae}\n"))
    (tmp_path / "trees.yaml").write_bytes((ROOT / "recipes" / "trees.yaml").read_bytes())
    found, codes = _tried(light, ["plan recipe.yaml --seal networks.seal --json", "plan trees.yaml --seal trees.seal --json"], tmp_path)
    assert codes == {"plan": "0"}, found.stderr
    assert found.stdout.count('"digest"') == 2
    assert (tmp_path / "networks.seal").is_file()
    assert (tmp_path / "trees.seal").is_file()


def test_a_plan_loads_neither_torch_nor_what_trains(tmp_path: Path) -> None:
    program = "import sys; from proxyaudit.cli.main import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    own = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    words = ["plan", str(ROOT / "recipes" / "quickstart.yaml"), "--seal", "plan.seal"]
    done = subprocess.run([sys.executable, "-c", program, *words], env=own, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert not {*HEAVY, "sklearn", "scipy.stats", "joblib"} & set(done.stderr.split())
    assert (tmp_path / "plan.seal").is_file()


def _tried(python: Path, commands: list[str], folder: Path) -> tuple[subprocess.CompletedProcess[str], dict[str, str]]:
    """What commands print, and their exit codes."""
    found = subprocess.run([python, "-c", PROGRAM, *commands], capture_output=True, text=True, cwd=folder, timeout=240, check=False)
    assert found.returncode == 0, found.stderr
    names = {command.split()[0] for command in commands}
    return found, dict(line.split() for line in found.stderr.splitlines() if line.split()[0] in names)
