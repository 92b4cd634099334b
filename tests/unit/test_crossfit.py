"""Cross-fitted leaks: truth, nulls, balance, missing support, and the naive rules they replace."""

import numpy as np
import pytest
from sklearn.metrics import r2_score, roc_auc_score

from proxyaudit.probes.crossfit import cross_fit_classes, cross_fit_values
from proxyaudit.probes.folds import TooFewRowsError, assign_folds
from proxyaudit.probes.whitening import whiten
from proxyaudit.seeding import stream
from proxyaudit.stats.group_gaps import auroc
from proxyaudit.stats.spike_in import Prior, plant_at_leak


def world(leak, rates=(0.5, 0.5), n=4000, d=16, name="world"):
    rng = stream(0, name, leak, len(rates))
    z = whiten(rng.normal(size=(n, d)) @ rng.normal(size=(d, d))).z_nr
    if not leak:
        return z, rng.choice(len(rates), n, p=rates), assign_folds(np.arange(n), rng)
    scores = z @ np.linalg.qr(rng.normal(size=(d, len(rates))))[0]
    plant = plant_at_leak(scores[:, 0] if len(rates) == 2 else scores, Prior.of_rates(np.array(rates), n), leak)
    return z, plant.draw(rng), assign_folds(np.arange(n), rng)


@pytest.mark.parametrize("rates", [(0.5, 0.5), (0.9, 0.1), (0.5, 0.3, 0.2)])
@pytest.mark.parametrize("leak", [0.05, 0.2, 0.5])
def test_leak_is_near_the_planted_one(rates, leak):
    z, codes, folds = world(leak, rates)
    score = cross_fit_classes(z, codes, len(rates), folds)
    se = np.sqrt((score.influence_n**2).sum())
    assert abs(score.leak - leak) < 4 * se + 0.012
    assert score.influence_n.sum() == pytest.approx(0, abs=1e-9)


def test_independent_labels_leak_nothing_in_any_of_many_draws():
    leaks = [cross_fit_classes(*(lambda w: (w[0], w[1], 2, w[2]))(world(0, n=1000, d=40, name=f"null{i}"))).leak for i in range(30)]
    assert max(leaks) < 0.02


@pytest.mark.long
def test_choosing_a_reader_on_scored_folds_would_flatter():
    """The naive rule: keep the best of many readers on the folds that are scored."""
    rng = stream(0, "flatter")
    flattered = honest = 0
    for _ in range(20):
        z = whiten(rng.normal(size=(300, 30))).z_nr
        codes, folds = rng.integers(0, 2, 300), assign_folds(np.arange(300), rng)
        tries = [cross_fit_classes(z[:, rng.permutation(30)[:5]], codes, 2, folds).leak for _ in range(10)]
        flattered += max(tries) > 0
        honest += cross_fit_classes(z, codes, 2, folds).leak > 0
    assert honest <= 6 < 12 <= flattered


def test_auroc_matches_scikit_learn_with_ties():
    rng = stream(0, "auroc")
    scores, positive = rng.integers(0, 5, 200).astype(float), rng.random(200) < 0.3
    assert auroc(scores, positive) == pytest.approx(roc_auc_score(positive, scores))
    assert auroc(np.zeros(200), positive) == 0.5


def test_groups_never_straddle_folds_and_sizes_are_even():
    clusters = stream(0, "groups").integers(0, 120, 1000)
    folds = assign_folds(clusters, stream(0, "folds"))
    assert all(len(np.unique(folds[clusters == c])) == 1 for c in np.unique(clusters))
    assert np.ptp(np.bincount(folds)) < 30


def test_identity_of_people_is_not_presence_when_groups_are_kept_together():
    """Only the person links rows and attribute: a probe that saw the person elsewhere would claim presence."""
    rng = stream(0, "persons")
    person = np.repeat(np.arange(150), 6)
    codes = rng.integers(0, 2, 150)[person]
    z = whiten(rng.normal(size=(150, 40))[person] + 0.05 * rng.normal(size=(900, 40))).z_nr
    kept = cross_fit_classes(z, codes, 2, assign_folds(person, rng)).leak
    naive = cross_fit_classes(z, codes, 2, assign_folds(np.arange(900), rng)).leak
    assert kept < 0.02 < naive


def test_missing_rows_take_no_part():
    z, codes, folds = world(0.3)
    hidden = codes.copy()
    hidden[::4] = -1
    score = cross_fit_classes(z, hidden, 2, folds)
    assert (score.influence_n[::4] == 0).all()
    assert score.leak == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("rows", [0, 3])
def test_too_few_rows_of_a_class_is_an_error_and_not_a_zero(rows):
    z, _, folds = world(0)
    codes = np.zeros(4000, dtype=np.int64)
    codes[:rows] = 1
    with pytest.raises(TooFewRowsError):
        cross_fit_classes(z, codes, 2, folds)


def test_continuous_attributes_give_r_squared():
    rng = stream(0, "continuous")
    z = whiten(rng.normal(size=(3000, 10))).z_nr
    values = 0.6 * z[:, 0] + 0.8 * rng.normal(size=3000)
    folds = assign_folds(np.arange(3000), rng)
    score = cross_fit_values(z, values, folds)
    assert score.leak == pytest.approx(0.36, abs=0.04)
    assert score.auroc is None
    slope = np.linalg.lstsq(z, values - values.mean(), rcond=None)[0]
    assert score.leak <= r2_score(values, z @ slope + values.mean())
