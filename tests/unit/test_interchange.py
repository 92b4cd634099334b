"""Interchange on hand-made models: used, unused, cancelling, and the controls beside them."""

import numpy as np
import pytest

from proxyaudit.causal.interchange import fit_parts, interchange, set_up
from proxyaudit.seeding import stream

N, D = 3000, 8


def world(name, shift=1.5):
    rng = stream(0, "interchange", name)
    groups, labels = rng.integers(0, 2, N), rng.integers(0, 2, N)
    acts = rng.normal(size=(N, D))
    acts[:, 0] += shift * (groups - 0.5)
    acts[:, 1] += labels
    return acts, groups, labels, rng.integers(0, 3, N)


def run(acts, groups, labels, parts, head, name="run", **options):
    def replay(shift_md, rows_m):
        return 1 / (1 + np.exp(-head(acts[rows_m] + shift_md)))[:, None]

    rng = stream(0, name)
    setting = set_up(acts, groups, groups.astype(float)[:, None], labels, parts, rng)
    return None if setting is None else interchange(setting, fit_parts(setting), lambda _: replay, 0, rng, permutations=99, **options)


def test_a_used_feature_moves_the_outputs_by_the_known_amount():
    acts, groups, labels, parts = world("used")
    weight = 0.8
    result = run(acts, groups, labels, parts, lambda h: weight * h[:, 0])
    mean = lambda shift: (1 / (1 + np.exp(-weight * (stream(0, "mc").normal(size=200000) + shift)))).mean()  # noqa: E731
    assert result.effect.signed == pytest.approx(mean(0.75) - mean(-0.75), abs=0.02)
    assert result.effect.size > np.quantile(result.null_sizes, 0.99)
    assert result.random_sizes.max() < result.effect.size / 2
    assert result.completeness == pytest.approx(1, abs=0.1)
    assert result.selectivity < 0.1
    assert result.rank == 1


def test_an_encoded_feature_that_the_head_ignores_is_not_used():
    acts, groups, labels, parts = world("unused")
    result = run(acts, groups, labels, parts, lambda h: h[:, 1])
    assert result.effect.size < 0.02
    assert result.completeness == pytest.approx(1, abs=0.1)


def test_effects_that_cancel_over_rows_are_seen_per_row():
    """The naive rule, the mean effect, sees nothing; the product of two donor halves does."""
    acts, groups, labels, parts = world("cancel")
    result = run(acts, groups, labels, parts, lambda h: 2 * h[:, 0] * np.sign(h[:, 5]))
    assert abs(result.effect.signed) < 0.02
    assert np.sqrt(result.effect.product) > 0.1


def test_null_effects_stay_below_the_margin():
    large = 0
    for index in range(20):
        acts, groups, labels, parts = world(f"null{index}", shift=0.0)
        result = run(acts, groups, labels, parts, lambda h: h[:, 0] + h[:, 1], name=f"null{index}", randoms=1)
        large += result.effect.size - result.random_sizes.mean() > 0.02
    assert large <= 1


@pytest.mark.long
def test_interval_covers_the_effect():
    """Donors are rows too: an interval from recipients alone is far too short."""
    truth, covered, naive = None, 0, 0
    head = lambda h: 0.8 * h[:, 0]  # noqa: E731
    mean = lambda shift: (1 / (1 + np.exp(-0.8 * (stream(0, "mc").normal(size=400000) + shift)))).mean()  # noqa: E731
    truth = mean(0.75) - mean(-0.75)
    for index in range(60):
        acts, groups, labels, parts = world(f"cover{index}")
        effect = run(acts, groups, labels, parts, head, name=f"cover{index}", randoms=1).effect
        half = 1.96 * np.sqrt((effect.signed_influence_n**2).sum())
        covered += abs(effect.signed - truth) <= half
        naive += abs(effect.signed - truth) <= half / 3
    assert covered >= 53
    assert naive < 53


def test_too_few_donors_give_no_number():
    acts, groups, labels, parts = world("few")
    groups[:] = 0
    groups[:20] = 1
    assert run(acts, groups, labels, parts, lambda h: h[:, 0]) is None


def test_same_stream_same_result():
    acts, groups, labels, parts = world("repeat")
    first, second = (run(acts, groups, labels, parts, lambda h: h[:, 0], randoms=2) for _ in range(2))
    assert first.effect.signed == second.effect.signed
    assert np.array_equal(first.null_sizes, second.null_sizes)
