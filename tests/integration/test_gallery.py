"""The examples in ``reports/``: whole, verified, without rows, and told on the page with the figures of their evidence."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from proxyaudit.evidence.pack import PACK_FILES, REPORT_FILES, read_pack
from proxyaudit.reporting.sentences import sure_line
from proxyaudit.reporting.summary import AttributeView, Row, summarize
from proxyaudit.reporting.text import number
from proxyaudit.reporting.training import best_cure
from proxyaudit.types import Estimate
from proxyaudit.verification.run import verify_folder

REPORTS = Path(__file__).parents[2] / "reports"
PAGE = " ".join((REPORTS / "README.md").read_text(encoding="utf-8").split())
EXAMPLES = sorted(path.parent.name for path in REPORTS.glob("example*/report.html"))


def view_of(example: str, attribute: str) -> AttributeView:
    return next(view for view in summarize(read_pack(REPORTS / example)).attributes if view.name == attribute)


def row_of(view: AttributeView, regime: str) -> Row:
    return next(row for row in view.rows if row.regime == regime)


def value(e: Estimate | None) -> float:
    assert e is not None
    assert e.value is not None
    return e.value


def gap(view: AttributeView, regime: str) -> str:
    """The gap, in whole points."""
    return number(100 * value(row_of(view, regime).gap), 0)


def gain(view: AttributeView, regime: str) -> str:
    """How many times as prominent as before training."""
    assert view.inside is not None
    return number(math.exp(value(view.inside.gains[regime])), 1)


def verdicts(view: AttributeView) -> dict[str, Any]:
    return {finding.regime: finding.verdict for finding in view.findings}


def test_the_table() -> None:
    sex = view_of("example", "sex")
    gaps = [gap(sex, regime) for regime in ("real", "tvae", "gaussian_copula")]
    said = "by {} points after training on real rows, by {} after TVAE and by {} after the Gaussian copula".format(*gaps)
    assert said in PAGE
    ratios = gain(sex, "real"), gain(sex, "tvae")
    assert "{} times as prominent inside as before training, TVAE {} times".format(*ratios) in PAGE
    assert set(verdicts(sex).values()) == {"exposed"}
    assert len(verdicts(sex)) == 4
    front = " ".join((REPORTS.parent / "README.md").read_text(encoding="utf-8").split())
    assert "{} times as prominent inside the network as before training, TVAE {} times".format(*ratios) in front
    copula = gain(sex, "gaussian_copula"), gaps[0], gaps[2]
    assert "it is {} times, which may be chance, and the gap between the sexes falls from {} points to {}".format(*copula) in front
    assert f"TVAE widens the gap to {gaps[1]} points" in front


def test_the_release() -> None:
    sex = view_of("example-release", "sex")
    release = row_of(sex, "ctgan-release")
    assert f"women by {gap(sex, 'ctgan-release')} points; trained on as many real rows, by {gap(sex, 'real')}." in PAGE
    ratios = gain(sex, "ctgan-release"), gain(sex, "real")
    assert "`sex` is {} times as prominent as before training, after real rows {} times".format(*ratios) in PAGE
    assert release.finding is not None
    assert release.finding.change.use == "unknown"
    assert sex.inside is not None
    kept = sex.inside.kept["ctgan-release"]
    assert kept.low is not None
    assert kept.low > 1
    ends = [number(100 * end, 0) for end in (kept.value, kept.low, kept.high) if end is not None]
    assert "it keeps {} % ({} to {}) of what training on real rows adds inside".format(*ends) in PAGE
    cure = best_cure(release.tried, release.gap)
    assert cure is not None
    assert cure.name == "resampled"
    assert f"leaves {number(100 * value(cure.gap), 0)} points and costs {number(value(cure.cost))} of AUROC" in PAGE
    race = verdicts(view_of("example-release", "race"))
    assert race == {"real": "inconclusive", "ctgan-release": "exposed"}


def test_the_texts() -> None:
    age = view_of("example-text", "Age")
    assert set(verdicts(age)) == {"real", "scrubbed", "ngram", "int8"}
    assert set(verdicts(age).values()) == {"inconclusive"}
    gaps = [row_of(age, regime).gap for regime in verdicts(age)]
    assert {gap.state for gap in gaps if gap is not None} == {"absent"}
    assert sure_line(age, summarize(read_pack(REPORTS / "example-text"))).startswith(
        "gaps that count are ruled out after 4 of 4; the rest is open."
    )
    furthest = max(abs(end) for gap in gaps if gap is not None for end in (gap.low, gap.high) if end is not None)
    assert f"within {math.floor(100 * furthest)} points: that much" in PAGE
    estimates = read_pack(REPORTS / "example-text").evidence.estimates
    linear = [e for e in estimates if (e.channel, e.site, e.measure) == ("linear", "penultimate", "leak") and e.regime in verdicts(age)]
    bounds = [e.bound for e in linear if e.bound is not None]
    assert len(bounds) == 4
    assert f"At most {math.ceil(100 * max(bounds))} % of the age group" in PAGE
    assert f"{max(e.n or 0 for e in linear):,} audit rows are too few".replace(",", " ") in PAGE


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_what_a_run_writes_and_holds_no_rows(example: str) -> None:
    folder = REPORTS / example
    found = verify_folder(folder)
    assert found.problems == ()
    assert {path.name for path in folder.iterdir()} == {*PACK_FILES, *REPORT_FILES, "manifest.json"}
    assert sum(path.stat().st_size for path in folder.iterdir()) < 2_600_000
    pack = read_pack(folder)
    assert f"]({example}/report.html)" in PAGE
    people = max(e.n or 0 for e in pack.evidence.estimates)
    assert not [name for name, array in pack.arrays.items() if people > 1000 and max(array.shape, default=0) >= people]
