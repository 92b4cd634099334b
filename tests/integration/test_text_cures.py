"""Cures of texts: rows drawn again, words scrubbed, other texts mixed in; the release is written, and audits as the run promised."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from text_world import MAX_TOKENS, save_tiny, texts

from proxyaudit.cli.main import main
from proxyaudit.evidence.pack import find_run, read_pack
from proxyaudit.types import Estimate, Evidence

pytestmark = pytest.mark.long

RECIPE = f"""\
name: letters
data: {{path: t.csv, text: text, target: y, protected: [sex]}}
regimes:
  - real
  - scrub: [names, pronouns, dates, ages]
  - synthetic: {{name: vendor, path: release.csv}}
model: {{kind: huggingface, path: bert, max_length: {MAX_TOKENS}, head_hidden: [6], epochs: 40, learning_rate: 0.02, patience: null}}
references: {{placebos: 20, reweighed: false}}
seeds: 2
"""


def leaning(n: int, seed: int) -> pd.DataFrame:
    """Texts of which women's are mostly good and men's mostly bad."""
    rows = texts(3 * n, seed=seed, told=1.0)
    unlike = (rows["sex"] == "f") != (rows["y"] == "yes")
    kept = pd.concat([rows[~unlike], rows[unlike].iloc[: unlike.sum() // 6]]).sample(frac=1, random_state=seed)
    return kept.iloc[:n].reset_index(drop=True).drop(columns=["author", "stars"])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Evidence]:
    folder = tmp_path_factory.mktemp("text cures")
    save_tiny("bert", folder / "bert")
    leaning(1000, 0).to_csv(folder / "t.csv", index=False)
    leaning(700, 7).to_csv(folder / "release.csv", index=False)
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    assert main(["run", str(folder / "recipe.yaml"), "--out", str(folder / "out"), "--jobs", "1"]) == 0
    run = find_run(folder / "out" / "letters")
    return folder, run, read_pack(run).evidence


def figures(evidence: Evidence, regime: str, cure: str) -> dict[str, Estimate]:
    found = [e for e in evidence.estimates if (e.channel, e.regime, e.subject) == ("cure", regime, cure) and e.site is None]
    return {e.measure: e for e in found}


def test_rows_are_drawn_again_and_words_are_scrubbed(made: tuple[Path, Path, Evidence]) -> None:
    findings = {f.regime: f for f in made[2].findings}
    assert {cure.name for cure in findings["real"].cures} >= {"resampled", "scrubbed"}
    assert {cure.name for cure in findings["vendor"].cures} >= {"resampled", "scrubbed"}
    assert findings["scrubbed" if "scrubbed" in findings else "scrub-names-pronouns-dates-ages"].cures == ()
    for name in ("resampled", "scrubbed"):
        assert figures(made[2], "real", name)["gap"].seeds >= 1
    assert "masked in the training texts" in str(figures(made[2], "real", "scrubbed")["gap"].context)
    again = figures(made[2], "real", "resampled")["gap_change"]
    assert again.high is not None
    assert again.high < 0, "without a label that leans on the pronoun there is less to learn from it"


def test_a_scrubbed_release_holds_what_was_promised(made: tuple[Path, Path, Evidence]) -> None:
    folder, run, evidence = made
    asked = ["--attribute", "sex", "--regime", "vendor", "--cure", "scrubbed"]
    assert main(["cure", str(run), *asked, "--out", str(folder / "out"), "--base", str(folder)]) == 0
    written = find_cured(folder / "out" / "letters-cured")
    release = pd.read_csv(written / "release.csv")
    assert not release["text"].str.contains(r"\b(?:she|he)\b").any()
    assert release["text"].str.contains("removed").any()
    assert main(["verify", str(written)]) == 0
    assert main(["run", str(written / "cured.yaml"), "--out", str(folder / "again"), "--jobs", "1"]) == 0
    pack = read_pack(find_run(folder / "again"))
    (found,) = [e for e in pack.evidence.estimates if (e.channel, e.measure, e.regime) == ("expressed", "gap", "vendor-scrubbed")]
    promised = figures(evidence, "vendor", "scrubbed")["gap"]
    assert found.value is not None
    assert promised.value is not None
    assert abs(abs(found.value) - abs(promised.value)) < 0.1


def find_cured(folder: Path) -> Path:
    (found,) = [path.parent for path in folder.glob("*/cure.json")]
    return found


def test_of_a_transformer_that_is_trained_none_is_tried(tmp_path: Path) -> None:
    from proxyaudit.recipe.recipe import load_recipe

    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("path: bert", "tune: full, path: bert").replace("head_hidden: [6], ", ""))
    assert not load_recipe(tmp_path / "recipe.yaml").tries_cures
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    assert load_recipe(tmp_path / "recipe.yaml").tries_cures
