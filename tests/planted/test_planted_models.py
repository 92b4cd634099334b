"""Planted models: what they carry and what moves their outputs, by brute force on the torch modules; then whole audits of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import PolynomialFeatures

from proxyaudit.audits.selftest.run import (
    QUICK_ROWS,
    audit_planted_model,
    model_tasks,
)
from proxyaudit.planted import nets
from proxyaudit.planted.model_worlds import MODELS, UNUSED, make_planted_model
from proxyaudit.planted.models import ATTRIBUTE, INPUTS, TARGET

CANCELLING = ("cancelling", "redundant_cancelling")
PRODUCTS = ("relearnable", "xor")
BRANCHED = ("redundant", "redundant_cancelling")
MARGIN_EFFECT, MARGIN_GAP = 0.02, 0.05
FEWEST_ROWS = 3 * QUICK_ROWS // 4  # with fewer, what is asked of the three audits below is left open


class World:
    """A planted model in torch, with its rows; trusts the weights and the table, and no note of how they were made."""

    def __init__(self, kind, seed=0, n=12_000, checkpoint=0):
        self.model = make_planted_model(kind, seed=seed, n=n)
        self.names = [name for name in self.model.table.columns if name not in (ATTRIBUTE, TARGET)]
        self.x = self.model.table[self.names].to_numpy()
        self.group = (self.model.table[ATTRIBUTE] == "b").to_numpy().astype(int)
        self.label = (self.model.table[TARGET] == "yes").to_numpy().astype(int)
        self.net = getattr(nets, self.model.factory)(INPUTS).eval()
        self.net.load_state_dict({k: torch.from_numpy(v) for k, v in self.model.weights[checkpoint].items()})

    def outputs(self, x=None):
        with torch.no_grad():
            return torch.sigmoid(self.net(self.tensor(x)))[:, 0].numpy()

    def tensor(self, x=None):
        return torch.tensor(self.x if x is None else x, dtype=torch.float32)

    def site(self, name, x=None, net=None):
        net = net or self.net
        kept = []
        tap = "block2" if name == "penultimate" else name
        handle = net.get_submodule(tap).register_forward_hook(lambda *args: kept.append(args[2].numpy()))
        with torch.no_grad():
            net(self.tensor(x))
        handle.remove()
        return kept[0].astype(float)

    def carriers(self):
        """Columns that know the group by their mean, or, in the model of products, by two signs."""
        z = (self.x - self.x.mean(0)) / self.x.std(0)
        found = np.flatnonzero(np.abs(z.T @ (self.group - 0.5)) / len(z) * 2 > 0.06)
        if self.model.kind in PRODUCTS:
            found = np.flatnonzero(np.abs(self.x).min(0) > 0.3)
        return found

    def donors(self, seed=0):
        """For each row two donors of the other group and two of its own, all of its own label."""
        rng = np.random.default_rng(seed)
        index = np.empty((len(self.x), 2, 2), dtype=int)
        for label in (0, 1):
            for group in (0, 1):
                rows = np.flatnonzero((self.group == group) & (self.label == label))
                for side, of in enumerate((1 - group, group)):
                    pool = np.flatnonzero((self.group == of) & (self.label == label))
                    index[rows, :, side] = rng.choice(pool, (len(rows), 2))
        return index

    def effect(self, run):
        """Signed and per-row effect of giving every row what the columns that know the group are in another row."""
        index, sign = self.donors(), np.where(self.group == 0, 1.0, -1.0)
        tau = np.empty((len(self.x), 2))
        for half in (0, 1):
            other, own = (run(self.swapped(index[:, half, side])) for side in (0, 1))
            tau[:, half] = (other - own) * sign
        return abs(tau.mean()), np.sqrt(max(0.0, (tau[:, 0] * tau[:, 1]).mean()))

    def swapped(self, rows):
        x = self.x.copy()
        columns = self.carriers()
        x[:, columns] = self.x[rows][:, columns]
        return x


def read(features, group, rows=None):
    """AUROC, on rows that had no part in it, of a linear reader."""
    half = len(group) // 2
    learn = slice(0, half) if rows is None else slice(0, rows)
    scale = features[learn].std(0) + 1e-12
    reader = LogisticRegression(max_iter=2000, C=0.1).fit(features[learn] / scale, group[learn])
    return roc_auc_score(group[half:], reader.decision_function(features[half:] / scale))


@pytest.fixture(scope="module")
def world():
    made = {}

    def get(kind, seed=0):
        if (kind, seed) not in made:
            made[kind, seed] = World(kind, seed)
        return made[kind, seed]

    return get


@pytest.mark.parametrize("kind", MODELS)
def test_each_site_carries_what_is_stated(world, kind):
    w = world(kind)
    linear = w.model.truth.states["linear"]
    for site in w.model.verdict_sites:
        acts = w.site(site)
        assert np.linalg.matrix_rank(acts - acts.mean(0)) == acts.shape[1] == nets.WIDTH
        found = read(acts, w.group)
        if linear == "present":
            assert found > 0.65, site
        else:
            assert abs(found - 0.5) < 0.03
            products = read(PolynomialFeatures(2, include_bias=False).fit_transform(acts), w.group)
            assert products > 0.9 if kind == "xor" else abs(products - 0.5) < 0.03
    elsewhere = w.model.truth.states.get("elsewhere")
    if elsewhere in ("present", "absent"):
        assert (read(w.site("block1"), w.group) > 0.65) is (elsewhere == "present")
    assert w.model.truth.encoding == ("linear" if linear == "present" else "nonlinear_only" if kind == "xor" else "absent")


def test_unfair_labels_favour_a_group_that_the_model_does_not_know_and_conditioning_on_them_invents_use(world):
    w = world("unfair_labels", seed=3)
    assert abs(w.label[w.group == 1].mean() - w.label[w.group == 0].mean()) > 0.1
    p = w.outputs()
    assert abs(p[w.group == 1].mean() - p[w.group == 0].mean()) < MARGIN_EFFECT / 2
    within = [p[(w.group == 1) & (w.label == y)].mean() - p[(w.group == 0) & (w.label == y)].mean() for y in (0, 1)]
    assert max(within) < -MARGIN_EFFECT / 2


@pytest.mark.parametrize("kind", ["elsewhere", "relearnable"])
def test_what_the_second_block_takes_out_is_gone_to_the_last_digit(world, kind):
    w = world(kind)
    other = w.swapped(np.random.default_rng(0).permutation(len(w.x)))
    assert np.abs(other - w.x).max() > 1
    assert np.abs(w.site("penultimate", other) - w.site("penultimate")).max() < 1e-4
    assert np.abs(w.site("block1", other) - w.site("block1")).max() > 0.5


@pytest.mark.parametrize("kind", MODELS)
def test_the_attribute_moves_the_outputs_where_that_is_stated(world, kind):
    w = world(kind)
    if kind == "nothing":
        assert len(w.carriers()) == 0
    else:
        assert len(w.carriers()) == {"relearnable": 2, "xor": 2, "proxy_only": 3}.get(kind, 1)
    signed, per_row = w.effect(w.outputs)
    assert (kind in UNUSED) is (w.model.truth.states["used"] == "absent")
    if kind in UNUSED:
        assert max(signed, per_row) < 1e-4
    else:
        assert max(signed, per_row) > 4 * MARGIN_EFFECT
    if kind in CANCELLING:
        assert signed < MARGIN_EFFECT / 2


@pytest.mark.parametrize("kind", MODELS)
def test_outputs_differ_between_the_groups_where_that_is_stated(kind):
    w = World(kind, seed=1, n=40_000)
    p = w.outputs()
    one, two = p[w.group == 1], p[w.group == 0]
    shown = w.model.truth.states["expressed"] == "present"
    assert ("expressed" in w.model.truth.use) is shown
    if shown:
        assert abs(one.mean() - two.mean()) > 1.5 * MARGIN_GAP
    else:
        # Not the means only: nothing at all tells the groups' outputs apart.
        assert abs(one.mean() - two.mean()) < MARGIN_GAP / 5
        assert stats.ks_2samp(one, two).statistic < 0.025


@pytest.mark.parametrize("kind", BRANCHED)
def test_only_both_branches_together_move_the_outputs(world, kind):
    w = world(kind)

    def with_branches(first, second):
        def run(x):
            with torch.no_grad():
                plain, other = w.tensor(), w.tensor(x)
                parts = [
                    w.net.branch1(other if first else plain),
                    w.net.branch2(other if second else plain),
                    (plain @ w.net.past_both)[:, None],
                ]
                return torch.sigmoid(w.net.head(torch.cat(parts, dim=1)))[:, 0].numpy()

        return run

    assert max(w.effect(with_branches(True, False))) < MARGIN_EFFECT / 2
    assert max(w.effect(with_branches(False, True))) < MARGIN_EFFECT / 2
    assert max(w.effect(with_branches(True, True))) > 4 * MARGIN_EFFECT
    erased = w.x.copy()
    erased[:, w.carriers()] = w.x[:, w.carriers()].mean(0)
    for first in (True, False):
        assert np.abs(with_branches(first, not first)(erased) - w.outputs()).mean() < MARGIN_EFFECT / 4
    assert w.model.truth.alone is False


def test_a_dormant_direction_would_act_if_it_ever_moved(world):
    w = world("dormant")
    column = int(np.argmin(w.x.std(0)))
    assert w.x[:, column].std() < 0.06
    assert abs(np.corrcoef(w.x[:, column], w.group)[0, 1]) < 0.03
    moved = w.x.copy()
    moved[:, column] += 0.5
    assert np.abs(w.outputs(moved) - w.outputs()).mean() > 0.2


def test_what_the_last_block_was_given_is_relearnt_and_by_nothing_else(world):
    w = world("relearnable")
    torch.manual_seed(0)
    fresh = nets.make_linear_head(INPUTS).eval()
    few = 256
    assert read(w.site("block2.1"), w.group, few) > 0.85  # the input of the last layer before the head
    assert read(w.site("penultimate"), w.group, few) < 0.55
    assert read(w.site("block2.1", net=fresh), w.group, few) < 0.6
    assert read(w.x, w.group, few) < 0.55
    planted = (w.x @ np.random.default_rng(0).normal(size=INPUTS) * 0.01 + np.random.default_rng(1).logistic(size=len(w.x)) > 0).astype(int)
    assert read(w.site("block2.1"), planted, few) < 0.6


def test_zip_carries_and_drives_most(world):
    w = world("proxy_only")
    rng = np.random.default_rng(0)
    scores = {}
    for place, name in enumerate(w.names):
        carried = abs(roc_auc_score(w.group, w.x[:, place]) - 0.5)
        other = w.x.copy()
        other[:, place] = rng.permutation(other[:, place])
        scores[name] = (carried, np.abs(w.outputs(other) - w.outputs()).mean())
    ranked = sorted(scores, key=lambda name: -scores[name][0] * scores[name][1])
    assert ranked[0] == w.model.truth.proxy == "zip"
    assert scores["hobby"][0] > 0.2
    assert scores["hobby"][1] < 1e-4
    assert scores["skill"][0] < 0.02
    assert scores["skill"][1] > 0.1


@pytest.mark.parametrize("kind", MODELS)
def test_models_of_one_kind_differ_and_the_same_seed_gives_the_same(kind, tmp_path):
    first, second, other = (make_planted_model(kind, seed=seed, n=400) for seed in (1, 1, 2))
    assert first.table.equals(second.table)
    assert not first.table.equals(other.table)
    assert all(np.array_equal(first.weights[1][name], second.weights[1][name]) for name in first.weights[1])
    assert not np.allclose(*(first.weights[index]["block2.2.weight" if kind not in BRANCHED else "branch2.2.weight"] for index in (0, 1)))
    torch.manual_seed(0)
    untrained = getattr(nets, first.factory)(INPUTS).state_dict()
    assert {name: tuple(value.shape) for name, value in untrained.items()} == {name: v.shape for name, v in first.weights[0].items()}
    recipe = first.write(tmp_path)
    assert recipe.read_text().startswith(f"name: {kind.replace('_', '-')}\n")
    assert (tmp_path / "nets.py").read_text().startswith('"""Architectures')


def test_what_cannot_be_made_says_so():
    with pytest.raises(ValueError, match="unknown planted model 'head'"):
        make_planted_model("head", seed=0)
    with pytest.raises(ValueError, match="at least one checkpoint"):
        make_planted_model("used", seed=0, checkpoints=0)


# Whole audits ------------------------------------------------------------------------------------------------------


def check(case):
    """Nothing false is said; what the present channels can decide is decided."""
    assert case.verdict in (case.expected, "inconclusive")
    assert not case.wrong
    assert case.contradicted == ()
    if case.unused:
        assert "used" not in case.use
        assert "expressed" not in case.use
        assert case.quiet_controls


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "decided"),
    [
        ("head_null", {"linear": "present", "nonlinear": "absent", "beyond": "present", "elsewhere": "present", "expressed": "absent"}),
        ("cancelling", {"linear": "present", "expressed": "absent", "used": "present"}),
        ("nothing", {"linear": "absent", "nonlinear": "absent", "beyond": "absent", "expressed": "absent"}),
    ],
)
def test_audits_of_planted_models(kind, decided):
    case = audit_planted_model(kind, 0, n=FEWEST_ROWS, checkpoints=1)
    check(case)
    assert {channel: case.states[channel] for channel in decided} == decided
    if case.expected == "exposed":
        assert case.verdict == "exposed"
        assert case.use == ("used",)
    elif case.expected == "hidden":
        assert case.verdict == "hidden" or case.at_least == "hidden"


@pytest.mark.study
@pytest.mark.parametrize("arguments", model_tasks(20, quick=False, seed=0), ids=lambda a: f"{a[0]}-{a[1]}")
@pytest.mark.timeout(600)
def test_audits_of_all_planted_models(arguments):
    """What ``python -m tests.studies models`` counts, one by one; absence may be left open, presence may not."""
    kind, seed, n, checkpoints = arguments
    case = audit_planted_model(kind, seed, n=n, checkpoints=checkpoints)
    check(case)
    if case.expected == "exposed":
        assert case.verdict == "exposed"
    if case.expected_proxy is not None:
        assert case.first_proxy == case.expected_proxy
