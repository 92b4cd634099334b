"""What a change of code makes a run do again: of words nothing, of probes the measuring, of models the training too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import proxyaudit.digests
from proxyaudit.cache import cache_folder
from proxyaudit.digests import PACKAGE
from proxyaudit.pipeline.run import run_audit

pytestmark = pytest.mark.long

RECIPE = """\
name: cached
data: {path: real.csv, target: pay, protected: [sex], exclude: [sex], discover: 0}
regimes: [real]
model: {kind: mlp, hidden: [4], epochs: 1, batch_size: 64}
references: {placebos: 20, reweighed: false}
seeds: 1
"""


class Program:
    """A copy of the package whose files can be changed: what is executed stays, the digests follow the copy."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out, self.known = folder / "program", folder / "out", set[Path]()
        for path in PACKAGE.rglob("*.py"):
            copy = self.folder / path.relative_to(PACKAGE)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
        rng = np.random.default_rng(0)
        sex = rng.choice(["f", "m"], 400)
        age = rng.normal(40, 10, 400) + 6 * (sex == "m")
        pay = np.where(age + rng.normal(0, 8, 400) > 43, "high", "low")
        pd.DataFrame({"age": age, "sex": sex, "pay": pay}).to_csv(folder / "real.csv", index=False)
        (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
        self.recipe = folder / "recipe.yaml"

    def change(self, *parts: str) -> None:
        """Add a comment to a file."""
        path = self.folder.joinpath(*parts)
        path.write_bytes(path.read_bytes() + b"# changed\n")
        proxyaudit.digests._digest_over.cache_clear()

    def run(self) -> tuple[str, dict[str, int]]:
        """Run the audit: the run's name, and how many results of each kind are new."""
        folder = run_audit(self.recipe, out=self.out, jobs=1).folder
        there = {path.parent for path in cache_folder().glob("*/[!.]*/done.json")}
        new = [path.parent.name for path in there - self.known]
        self.known = there
        return folder.name, {kind: new.count(kind) for kind in sorted(set(new))}


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    made = Program(tmp_path)
    monkeypatch.setattr(proxyaudit.digests, "PACKAGE", made.folder)
    return made


def test_a_change_of_code_does_again_what_it_may_change(program: Program) -> None:
    first, new = program.run()
    assert new == {"inputs": 1, "measure": 2, "train": 2, "cure": 5}
    for parts in (("channels", "leak", "estimate.py"), ("estimates", "sentences.py"), ("reporting", "words.py")):
        program.change(*parts)
    second, new = program.run()
    assert new == {}
    assert second != first  # another program, whose evidence is its own
    program.change("probes", "crossfit.py")
    assert program.run()[1] == {"inputs": 1, "measure": 2, "cure": 5}
    program.change("models", "training.py")
    assert program.run()[1] == {"inputs": 1, "measure": 2, "train": 2, "cure": 5}
