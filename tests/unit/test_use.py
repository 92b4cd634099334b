"""Use on hand-made tails: read or ignored, cancelling, dormant, told without its mean, redundant, and the planted control."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from shifting import shifted_outputs
from torch import nn

from proxyaudit.activations.replay import differentiable, outputs_with, replayer
from proxyaudit.causal.alignment import DifferentiableSite, Planted
from proxyaudit.causal.interchange import FINE_DONORS, absent_p, fit_parts, interchange, set_up, with_donors
from proxyaudit.causal.learned import block_diagonal, learn_parts, sensitive_bands
from proxyaudit.causal.planted_use import plant_use
from proxyaudit.erasers.leace import fit_leace
from proxyaudit.models.base import NoGradientError, TrainedModel
from proxyaudit.models.places import Tap
from proxyaudit.seeding import stream

N, D, MARGIN = 6000, 6, 0.02


class Tail:
    """A closed-form model from its site onward, for numpy and for torch."""

    def __init__(self, acts, head):
        self.acts, self.head = torch.tensor(acts, dtype=torch.float32), head

    def logits(self, shift, rows):
        return self.head(self.acts[rows] + shift)[:, None]

    def replay(self, shift, rows):
        with torch.no_grad():
            return torch.sigmoid(self.logits(torch.tensor(shift, dtype=torch.float32), torch.from_numpy(rows))).numpy().astype(np.float64)


def world(name, shift=1.5, n=N):
    rng = stream(0, "use", name)
    groups, labels = rng.integers(0, 2, n), rng.integers(0, 2, n)
    acts = rng.normal(size=(n, D))
    acts[:, 0] += shift * (groups - 0.5)
    acts[:, 1] += labels
    return acts, groups, labels, rng.integers(0, 3, n)


def ask(acts, groups, labels, parts, head, *, free=False, output=0):
    """Effects of the LEACE, the readable, and the unrestricted learned subspaces, and the p-value of absence."""
    tail = Tail(acts, head)
    setting = set_up(acts, groups, groups[:, None].astype(float), labels, parts, stream(0, "donors"))
    fitted = fit_parts(setting)
    found = learn_parts(setting, DifferentiableSite(tail.logits, output), fitted, MARGIN, stream(0, "learn"), free=free)

    fine = with_donors(setting, FINE_DONORS, stream(0, "fine donors"))

    def effect(subspaces, asked=setting):
        return interchange(asked, subspaces, lambda _: tail.replay, output, stream(0, "effect"), randoms=0, permutations=0).effect

    leace, readable = effect(fitted), effect([one.readable for one in found])
    p = max(absent(effect([getattr(one, which) for one in found], fine)) for which in ("readable", "leace"))
    return leace, readable, effect([one.free for one in found]) if free else None, p


def absent(effect):
    return absent_p([effect], np.arange(len(effect.signed_influence_n)), MARGIN)


def test_a_dormant_pathway_is_found_by_the_free_subspace_and_not_by_the_readable_one():
    """The attribute lies where nothing reads it; the head reads where it does not lie (Makelov et al. 2023)."""
    leace, readable, free, p = ask(*world("dormant", shift=4.0, n=16000), lambda h: h[:, 1] - 0.5, free=True)
    assert free.size > 0.2
    assert readable.size < MARGIN
    assert leace.size < MARGIN
    assert p <= 0.01


def test_a_used_feature_is_found_by_both_with_the_effect_of_the_head():
    leace, readable, _, p = ask(*world("used"), lambda h: 0.8 * h[:, 0])
    assert readable.signed == pytest.approx(leace.signed, abs=0.02)
    assert readable.size > 0.2
    assert p > 0.5


def test_uses_that_cancel_are_found_through_the_product_alone():
    leace, readable, _, p = ask(*world("cancel"), lambda h: h[:, 0] * torch.sign(h[:, 5]))
    assert abs(readable.signed) < 0.03
    assert readable.product > 0.1**2
    assert p > 0.5
    assert leace.product > 0.1**2


def test_what_is_told_without_a_difference_of_means_is_found_by_the_learned_subspace_alone():
    acts, groups, labels, parts = world("variance", shift=0.0)
    acts[:, 2] *= np.where(groups == 1, 1.5, 0.7)
    acts[:, 3] += 4.0 * (groups - 0.5)  # a strong decoy that nothing reads
    leace, readable, _, p = ask(acts, groups, labels, parts, lambda h: h[:, 2].abs() + h[:, 1] - 1.0)
    assert leace.size < MARGIN < 0.08 < readable.size
    assert p > 0.5


def test_an_effect_of_the_margin_is_not_called_absent():
    acts, groups, labels, parts = world("margin")
    *_, p = ask(acts, groups, labels, parts, lambda h: 0.055 * h[:, 0])  # .055 * 1.5 / 4 = .0206
    assert p > 0.01


def test_the_followed_column_of_several_classes_is_differentiated():
    acts, *_ = world("classes")
    rows = torch.arange(50)
    weights = torch.randn(D, 3, generator=torch.Generator().manual_seed(0))
    logits = lambda shift, rows: (torch.tensor(acts, dtype=torch.float32)[rows] + shift) @ weights  # noqa: E731
    gradients = DifferentiableSite(logits, 2).gradients(rows.numpy(), D)
    p = torch.softmax(logits(torch.zeros(50, D), rows), 1)
    wanted = p[:, 2:] * (weights[:, 2] - p @ weights.T)
    np.testing.assert_allclose(gradients, wanted.numpy(), atol=1e-5)


def test_a_tail_without_gradient_says_so():
    site = DifferentiableSite(lambda shift, rows: shift.detach()[:, :1], 0)
    with pytest.raises(NoGradientError):
        site.gradients(np.arange(5), D)


def test_bands_hold_directions_of_like_sensitivity_and_leave_the_unread_out():
    gradients = stream(0, "bands").normal(size=(4000, 5)) * [0.5, 0.4, 0.05, 1e-4, 0.0]
    bands = sensitive_bands(gradients, MARGIN)
    assert [band.shape[1] for band in bands] == [2, 1]
    assert np.abs(bands[1][:, 0]).argmax() == 2


def test_learned_subspaces_are_orthonormal_in_whitened_coordinates_and_repeat():
    acts, groups, labels, parts = world("repeat")
    tail = Tail(acts @ np.diag([1, 10, 0.1, 1, 1, 1]), lambda h: h[:, 0] * h[:, 1])
    setting = set_up(tail.acts.numpy(), groups, groups[:, None].astype(float), labels, parts, stream(0, "d"))
    once, again = (
        learn_parts(setting, DifferentiableSite(tail.logits, 0), fit_parts(setting), MARGIN, stream(0, "l"))[1] for _ in range(2)
    )
    np.testing.assert_allclose(once.readable.write_rd @ once.readable.read_dr, np.eye(once.readable.rank), atol=1e-9)
    np.testing.assert_allclose(once.free.write_rd @ once.free.read_dr, np.eye(once.free.rank), atol=1e-9)
    assert np.array_equal(once.readable.read_dr, again.readable.read_dr)


def test_a_planted_use_has_the_wanted_effect_and_is_found():
    acts, groups, labels, parts = world("planted", n=9000)
    tail = Tail(acts, lambda h: h[:, 1] - 0.5)
    setting = set_up(acts, groups, groups[:, None].astype(float), labels, parts, stream(0, "d"))
    found = plant_use(setting, tail.replay, DifferentiableSite(tail.logits, 0), 0, MARGIN, 0.02, stream(0, "plant"))
    assert [round(one.truth, 3) for one in found] == [0.02, 0.04]
    for one in found:
        assert one.learned.effect.size == pytest.approx(one.truth, abs=0.015)
        assert max(absent(one.leace.effect), absent(one.learned.effect)) > 0.01


def test_a_machinery_that_is_blind_fails_the_planted_control(monkeypatch):
    """Were the learned subspace random, the planted effect would be missed: the control can fail."""
    acts, groups, labels, parts = world("blind", n=9000)
    tail = Tail(acts, lambda h: h[:, 1] - 0.5)
    setting = set_up(acts, groups, groups[:, None].astype(float), labels, parts, stream(0, "d"))
    monkeypatch.setattr("proxyaudit.causal.planted_use.replace", lambda site, **_: site)  # it never sees the readout
    found = plant_use(setting, tail.replay, DifferentiableSite(tail.logits, 0), 0, MARGIN, 0.02, stream(0, "plant"))
    assert all(one.learned.effect.size < one.truth / 2 for one in found)


def test_a_planted_readout_adds_its_coordinate_to_the_log_odds():
    site = DifferentiableSite(lambda shift, rows: shift[:, :1], 0)
    read = np.array([0.0, 2.0])
    planted = replace(site, planted=Planted(read, np.array([1.0, 3.0]), 0.5))
    odds = torch.logit(planted.probability(torch.tensor([[0.1, 0.0], [0.0, 1.0]]), torch.tensor([0, 1])))
    np.testing.assert_allclose(odds.numpy(), [0.1 + 0.5, 0.5 * (3 + 2)], atol=1e-6)


class TwoPlaces(nn.Module):
    """The same feature at two places; it is used where the two agree."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Identity(), nn.Identity()

    def forward(self, x):
        a, b = self.left(x.clone()), self.right(x.clone())
        agree = torch.exp(-(((a[:, 0] - b[:, 0]) / 0.3) ** 2))
        return (0.8 * agree * a[:, 0] + 0.5 * a[:, 1])[:, None]


class InARow(nn.Module):
    """A second site that doubles what the first one has."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Identity(), nn.Identity()

    def forward(self, x):
        return self.right(2 * self.left(x))[:, :1]


def two_sites(module):
    taps = {name: Tap(name, "output") for name in ("left", "right")}
    return TrainedModel(module.eval(), 2, ("left", "right"), ("left", "right"), taps)


def test_swapping_at_two_places_sets_the_later_one_to_the_wanted_value():
    """Shifts fixed beforehand would count twice what the first place passes on to the second."""
    model, x = two_sites(InARow()), np.zeros((3, 2), dtype=np.float32)
    e = np.eye(2)[:, :1]
    wanted = {"left": (e, e.T, np.full((3, 1), 1.0)), "right": (e, e.T, np.full((3, 1), 2.0))}
    np.testing.assert_allclose(outputs_with(model, x, wanted)[:, 0], 1 / (1 + np.exp(-2.0)), atol=1e-6)
    shifts = {"left": np.tile(e.T, (3, 1)), "right": np.tile(2 * e.T, (3, 1))}
    np.testing.assert_allclose(shifted_outputs(model, x, shifts)[:, 0], 1 / (1 + np.exp(-4.0)), atol=1e-6)


def test_the_differentiable_replay_agrees_with_the_replay():
    model, x = two_sites(TwoPlaces()), world("agree", n=40)[0].astype(np.float32)
    shift, rows = stream(0, "shift").normal(size=(20, D)), np.arange(20)
    for site in ("left", "right"):
        logits = differentiable(model, x, (site,))(torch.tensor(shift, dtype=torch.float32), torch.from_numpy(rows))
        np.testing.assert_allclose(torch.sigmoid(logits).detach().numpy(), replayer(model, x, site)(shift, rows), atol=1e-6)
    both = differentiable(model, x, ("left", "right"))(torch.tensor(np.hstack([shift, shift]), dtype=torch.float32), torch.from_numpy(rows))
    expected = shifted_outputs(model, x[:20], {"left": shift, "right": shift})
    np.testing.assert_allclose(torch.sigmoid(both).detach().numpy(), expected, atol=1e-6)


def test_subspaces_side_by_side_keep_to_their_sites():
    acts, groups, *_ = world("blocks", n=500)
    one = fit_leace(acts, groups[:, None].astype(float))
    joint = block_diagonal([one, one])
    change = joint.shift(joint.coordinates(np.hstack([acts, 0 * acts])))
    np.testing.assert_allclose(change[:, :D], one.shift(one.coordinates(acts)))
    np.testing.assert_allclose(change[:, D:], one.shift(one.coordinates(0 * acts)))
