"""Planted texts: a habit of writing that outlives the scrubbing of words, and authors who are all that links text and group."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from text_world import AUTHOR_WORDS, MARK, MAX_TOKENS, STYLE_WORDS, author_texts, save_tiny, style_texts

import proxyaudit as pa
from proxyaudit.activations.capture import capture
from proxyaudit.cache import cache_folder
from proxyaudit.cli.main import main
from proxyaudit.data.text import TextEncoder
from proxyaudit.evidence.pack import EvidencePack, find_run, read_pack
from proxyaudit.models.build import build_model
from proxyaudit.models.huggingface import make_tokenizer
from proxyaudit.models.kinds.huggingface import HuggingFaceSpec
from proxyaudit.recipe.recipe import SitesSpec
from proxyaudit.reporting.sections.proxies import proxy_views
from proxyaudit.types import Estimate

pytestmark = pytest.mark.long

RECIPE = f"""\
name: style
data: {{path: t.csv, text: text, target: y, protected: [sex], group: author}}
regimes:
  - real
  - scrub: [pronouns]
  - scrub: [pronouns, style]
model: {{kind: huggingface, path: bert, max_length: {MAX_TOKENS}, epochs: 60, learning_rate: 0.02, patience: null}}
sites: {{verdict: penultimate, profile: [layer0]}}
references: {{placebos: 20, reweighed: false}}
seeds: 1
"""
AUTHORS_RECIPE = "\n".join(line for line in RECIPE.splitlines() if "scrub" not in line)
HABIT = "exclamation marks"
REAL, WORDS_GONE, STYLE_GONE = "real", "scrub-pronouns", "scrub-pronouns-style"


def audit(folder: Path, frame: pd.DataFrame, words: list[str], recipe: str = RECIPE) -> tuple[EvidencePack, Path]:
    save_tiny("bert", folder / "bert", words=words)
    frame.to_csv(folder / "t.csv", index=False)
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    assert main(["run", str(folder / "recipe.yaml"), "--out", str(folder / "out"), "--jobs", "1"]) == 0
    run = find_run(folder / "out")
    return read_pack(run), run


def state(pack: EvidencePack, regime: str, channel: str, site: str | None) -> str | None:
    (found,) = [
        e.state
        for e in pack.evidence.estimates
        if (e.regime, e.channel, e.site, e.context, e.attribute) == (regime, channel, site, None, "sex")
    ]
    return found


@pytest.fixture(scope="module")
def styled(tmp_path_factory: pytest.TempPathFactory) -> tuple[EvidencePack, Path]:
    """A habit that the label follows in a good part of the texts."""
    frame = style_texts(900, acts=0.4)
    women = frame.loc[frame.sex == "f", "author"].drop_duplicates().iloc[:14]
    # A word of fourteen women, half of whom are audited: it tells their sex, and it could tell who they are.
    frame.loc[frame.author.isin(women), "text"] += " canaryxyz"
    return audit(tmp_path_factory.mktemp("styled"), frame, STYLE_WORDS)


def test_a_habit_outlives_the_scrubbing_of_words_and_not_that_of_style(styled: tuple[EvidencePack, Path]) -> None:
    pack, _ = styled
    findings = {f.regime: f for f in pack.evidence.findings}
    for regime in (REAL, WORDS_GONE):
        found = findings[regime]
        assert found.encoding == "linear"
        assert "hidden" in (found.verdict, found.at_least) or found.verdict == "exposed"
        assert state(pack, regime, "linear", "penultimate") == "present"
    gone = findings[STYLE_GONE]
    assert gone.verdict in ("inconclusive", "removed")
    assert gone.at_least is None
    assert gone.encoding in ("unknown", "none")
    # Two thousand texts would be needed to prove absence; with these nothing may be claimed.
    assert state(pack, STYLE_GONE, "linear", "penultimate") == "unknown"


def carried(pack: EvidencePack, regime: str) -> dict[str, Estimate]:
    found = [e for e in pack.evidence.estimates if (e.attribute, e.regime, e.channel) == ("sex", regime, "association")]
    return {str(e.context): e for e in found}


def test_the_planted_habit_and_words_are_named_first(styled: tuple[EvidencePack, Path]) -> None:
    pack, run = styled
    named = carried(pack, "inputs")
    order = sorted(named, key=lambda unit: -(named[unit].value or 0))
    assert order[0] == HABIT
    assert set(order[1:3]) == {"word \u201cshe\u201d", "word \u201che\u201d"}
    assert {unit for unit in order[:3] if named[unit].state == "present"} == set(order[:3])
    # Of scrubbed texts the words carry nothing any more, of flattened ones the habit neither.
    assert carried(pack, WORDS_GONE)[HABIT].state == "present"
    gone = [carried(pack, WORDS_GONE)["word \u201cshe\u201d"].value, carried(pack, STYLE_GONE)[HABIT].value]
    assert gone == pytest.approx([0, 0], abs=1e-9)
    (view,) = proxy_views(pack)
    assert view.answer.startswith("Words and habits of style that surely carry \u201csex\u201d, most first: exclamation marks, ")
    moved = {e.regime: e for e in pack.evidence.estimates if (e.channel, e.context) == ("influence", HABIT)}
    assert (moved[WORDS_GONE].value or 0) > 0.03
    assert moved[STYLE_GONE].value == 0
    tokens = [e for e in pack.evidence.estimates if e.channel == "attribution_direction" and e.regime == WORDS_GONE]
    assert max(tokens, key=lambda e: abs(e.value or 0)).context == f"token \u201c{MARK}\u201d"
    for report in ("report.html", "report.md"):
        told = (run / report).read_text(encoding="utf-8")
        assert "exclamation marks" in told
        assert ("Tokens that feed the direction and the output after training on real data" in told) == (report == "report.html")
    assert main(["verify", str(run)]) == 0


def test_a_word_of_few_people_is_in_no_file(styled: tuple[EvidencePack, Path]) -> None:
    _, run = styled
    cache = cache_folder()
    for path in (*run.rglob("*"), *cache.rglob("*")):
        assert not path.is_file() or b"canaryxyz" not in path.read_bytes(), path


# Authors ------------------------------------------------------------------------------------------------------


def read_by(folder: Path, frame: pd.DataFrame) -> dict[str, NDArray[np.float32]]:
    """What an untrained transformer and a reader of terms make of the texts."""
    spec = HuggingFaceSpec(kind="huggingface", path="bert", max_length=MAX_TOKENS)
    model = build_model(spec, SitesSpec(), n_inputs=MAX_TOKENS, n_classes=2, base=folder, seed=0)
    encoder = TextEncoder("text", frame["text"], MAX_TOKENS, make_tokenizer(spec, folder))
    return {"pooled": capture(model, encoder.transform(frame)).acts["penultimate"], "terms": encoder.features(frame)}


def claims(folder: Path, seed: int, group: str | None, sites: tuple[str, ...] = ("pooled", "terms")) -> bool:
    """Whether presence is claimed of sex in texts that tell who wrote them and nothing else."""
    frame = author_texts(60, 12, seed)
    acts = {site: values for site, values in read_by(folder, frame).items() if site in sites}
    found = pa.probe({"real": acts}, frame[["sex", "author"]], attributes="sex", group=group, jobs=1, seed=seed)
    (finding,) = found.pack.evidence.findings
    channels = [e for e in found.pack.evidence.estimates if e.state == "present"]
    return finding.verdict != "inconclusive" or finding.at_least is not None or finding.encoding != "unknown" or bool(channels)


@pytest.fixture(scope="module")
def authors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("authors")
    save_tiny("bert", folder / "bert", words=AUTHOR_WORDS)
    return folder


def test_authors_known_by_their_words_are_no_presence_where_the_group_column_is_given(authors: Path) -> None:
    assert claims(authors, 0, None, ("terms",))  # without it the same texts would be called exposed: authors stand on both sides
    assert not claims(authors, 0, "author")


@pytest.mark.study
@pytest.mark.timeout(1800)
def test_how_often_author_worlds_are_called_present(authors: Path) -> None:
    """25 worlds: at a true rate of 5 % more than four would come out less than once in a hundred."""
    wrong = [seed for seed in range(1, 26) if claims(authors, seed, "author")]
    print(f"presence claimed in {len(wrong)} of 25 author worlds: {wrong}")  # noqa: T201
    assert len(wrong) <= 4


def test_a_whole_audit_of_authors_splits_by_author_and_claims_no_presence(tmp_path: Path) -> None:
    pack, _ = audit(tmp_path, author_texts(60, 12, 3), AUTHOR_WORDS, AUTHORS_RECIPE)
    assert [(f.verdict, f.at_least) for f in pack.evidence.findings] == [("inconclusive", None)]
    assert not [e for e in pack.evidence.estimates if e.attribute == "sex" and e.state == "present"]
