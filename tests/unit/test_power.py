"""The probability that absence could be proved, against simulated score statistics."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from proxyaudit.audits.plan import plan_audit
from proxyaudit.probes.score import ScoreStatistic
from proxyaudit.probes.whitening import whiten
from proxyaudit.seeding import stream
from proxyaudit.stats.score_law import _law_of, power_of_absence, power_of_presence
from proxyaudit.stats.spike_in import Prior, plants_at_leak


@pytest.mark.parametrize(("n", "d", "called_absent"), [(2000, 64, 0.82), (2000, 384, 0.19), (8000, 384, 1.0)])
def test_it_agrees_with_the_reference_simulation(n, d, called_absent):
    assert power_of_absence(n, d, 0.02, np.array([0.5, 0.5])) == pytest.approx(called_absent, abs=0.07)


@pytest.mark.parametrize("rates", [None, (0.5, 0.5), (0.9, 0.1), (0.6, 0.25, 0.15)])
def test_it_is_what_scipys_laws_give(rates):
    for n, d, margin in [(60, 3, 0.1), (2000, 64, 0.02), (9000, 384, 0.02), (90_000, 8256, 0.1)]:
        known = None if rates is None else np.array(rates)
        signal, scale, df = _law_of(n, d, margin, known)
        absent = stats.chi2.cdf(stats.ncx2.ppf(0.0025, df, signal / scale), df)
        assert power_of_absence(n, d, margin, known) == pytest.approx(absent, abs=1e-9)
        present = stats.ncx2.sf(stats.ncx2.isf(0.001, df, signal / scale), df, 2 * signal / scale)
        assert power_of_presence(n, d, margin, 2 * margin, known, level=0.001) == pytest.approx(present, abs=1e-9)


@pytest.mark.parametrize("rates", [(0.5, 0.5), (0.8, 0.2), (0.6, 0.25, 0.15)])
def test_it_agrees_with_plants(rates):
    n, d, margin, rng = 1500, 24, 0.02, stream(0, "power")
    rows = whiten(rng.normal(size=(n, d))).rows
    statistic, k = ScoreStatistic(rows, "linear"), len(rates)
    prior = Prior.of_rates(np.array(rates), n)
    directions = rows.z_nr @ np.linalg.qr(rng.normal(size=(d, d)))[0].astype(np.float32)
    scores = directions
    if k > 2:  # only the rarest class differs
        scores = np.zeros((n, k, d), dtype=np.float32)
        scores[:, -1] = directions
    weights = np.ones(1) if k == 2 else 1 / np.array(rates) - 1
    plants = plants_at_leak(scores, prior, margin)
    planted = np.concatenate([statistic.of_labels(plant.draw_many(60, rng), k, weights) for plant in plants])
    absent = statistic.of_labels(np.stack([rng.choice(k, n, p=rates) for _ in range(1500)], axis=1), k, weights)
    found = float((absent < np.quantile(planted, 0.0025)).mean())
    assert power_of_absence(n, d, margin, np.array(rates)) == pytest.approx(found, abs=0.12)


def test_it_grows_with_rows_and_falls_with_dimensions_and_rarity():
    even = np.array([0.5, 0.5])
    assert power_of_absence(1000, 64, 0.02, even) < power_of_absence(2000, 64, 0.02, even) < power_of_absence(2000, 16, 0.02, even)
    assert power_of_absence(2000, 64, 0.02, np.array([0.97, 0.03])) < power_of_absence(2000, 64, 0.02, even)
    assert power_of_absence(64, 64, 0.02, even) == 0.0 == power_of_absence(100, 0, 0.02, even)
    assert power_of_absence(2000, 64, 0.02, None) > 0


def test_presence_is_found_more_often_the_larger_the_leak():
    even, level = np.array([0.5, 0.5]), 0.002
    found = [power_of_presence(3000, 32, 0.02, leak, even, level=level) for leak in (0.02, 0.04, 0.08)]
    assert found[0] == pytest.approx(level, rel=1e-3), "at the margin, as often as is allowed"
    assert found[0] < found[1] < found[2]
    assert power_of_presence(3000, 384, 0.02, 0.04, even, level=level) < found[1]


def test_the_readme_says_the_time_that_the_plan_says():
    root, words = Path(__file__).parents[2], ("four", "five", "six", "seven", "eight", "nine", "ten")
    planned = round(plan_audit(root / "recipes" / "quickstart.yaml")["estimated_minutes"])
    assert f"takes about {words[planned - 4]} minutes" in " ".join((root / "README.md").read_text(encoding="utf-8").split())


@pytest.mark.long
def test_a_plan_tells_the_odds_of_every_verdict_over_all_checks():
    """More rows decide more, and where one check has no power the verdict has none, however sure the others are."""
    root = Path(__file__).parents[2]
    few, many = (
        {one["attribute"]: one for one in plan_audit(root / "recipes" / "quickstart.yaml", (f"data.max_rows={rows}",))["odds"]}
        for rows in (3000, 40000)
    )
    for verdict in ("removed", "hidden", "exposed"):
        assert few["sex"][verdict] < many["sex"][verdict]
    assert many["sex"]["removed"] > 0.9
    assert many["race"]["removed"] < 0.1, "a level of one row in a hundred"
    assert few["sex"]["removed"] < power_of_absence(750, 32, 0.02, np.array([0.67, 0.33])), "the linear check alone promised more"
