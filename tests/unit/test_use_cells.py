"""From a model with known weights to the states of ``used``: measured, stored, decided, and barred where a control fails."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from views import dataset_of, facts_of, view_of

from proxyaudit.activations.capture import capture
from proxyaudit.channels.use.estimate import add_use_beside, add_use_controls, planted_control, use_drafts
from proxyaudit.channels.use.measure import measure
from proxyaudit.channels.use.record import JOINT, USES, LearnedUse, PlantedEffect, PlantedEffects, SiteUse
from proxyaudit.data.attributes import Attribute
from proxyaudit.estimates.facts import Followed, Run
from proxyaudit.estimates.ledger import Draft, Drafts, Ledger
from proxyaudit.estimates.record import Measurement
from proxyaudit.evidence.schema import identify
from proxyaudit.models.base import TrainedModel
from proxyaudit.models.places import Tap
from proxyaudit.regimes import Regime
from proxyaudit.seeding import stream
from tests.helpers.deciding import decide_drafts

D = 5


class Net(nn.Module):
    """Two copies of the inputs; ``head`` makes the output of them."""

    def __init__(self, head):
        super().__init__()
        self.left, self.right, self.head = nn.Identity(), nn.Identity(), head

    def forward(self, x):
        return self.head(self.left(x.clone()), self.right(x.clone()))[:, None]


def agreeing(a, b):
    """Used at two places, where they agree; swapping at one of them only breaks the agreement."""
    return 0.8 * torch.exp(-(((a[:, 0] - b[:, 0]) / 0.03) ** 2)) * a[:, 0]


def ask(head, n, *, sites=("left",), shift=1.5, decides=True, x=None, rank=D, beside=False):
    rng = stream(0, "use cells", n)
    groups, labels = rng.integers(0, 2, n), rng.integers(0, 2, n)
    other = np.where(rng.random(n) < 0.5, groups, 1 - groups)
    if x is None:
        x = rng.normal(size=(n, D)).astype(np.float32)
        x[:, 0] += shift * (groups - 0.5)
        x[:, 1] += labels
        x[:, 3] += other
    model = TrainedModel(Net(head).eval(), 2, sites, sites, {site: Tap(site, "output") for site in sites})
    named = {"sex": groups, **({"other": other} if beside else {})}
    attributes = tuple(Attribute(name, "protected", "binary", ("f", "m"), codes) for name, codes in named.items())
    out, captured = Measurement(), capture(model, x)
    out.numbers["cells"] = {"sex": {site: {"rank": rank} for site in sites}}
    out.arrays["outputs"] = captured.outputs
    followed = {name: Followed(codes, ("f", "m"), 0) for name, codes in named.items()}
    regime = Regime("real", "real") if decides else Regime("untrained", "untrained")
    measure(view_of(model, captured, x, dataset_of(attributes, rng.integers(0, 3, n)), followed, labels=labels, regime=regime), out)
    return out, groups, labels


def decided(out, untrained=None, sites=("left",), n=None):
    base = Draft("used", "sex", "real", group="f to m", margin=0.02)
    before = None if untrained is None else Run("untrained", (untrained,))
    drafts = use_drafts(base, Run("real", (out,)), before, sites, np.arange(len(out.arrays["outputs"])))
    assert all(is_named(draft) for draft in drafts)
    return decide_drafts(drafts)


def is_named(draft):
    """Whether a draft says in its fields what its words say."""
    said = identify(draft.channel, draft.regime, draft.context, draft.site)
    return draft.measure and (draft.measure, draft.subject, draft.reference_for) == said


def changed(out, use):
    """The measurement with another record of the site."""
    found = Measurement({**out.numbers, "interchange": {}}, dict(out.arrays))
    USES.write(found, use, "sex", "left")
    return found


@pytest.fixture(scope="module")
def ignored():
    return ask(lambda a, _: 0.7 * a[:, 1] - 0.35, 12000)


@pytest.fixture(scope="module")
def used():
    return ask(lambda a, _: 0.7 * a[:, 1] + 0.5 * a[:, 0], 3000, beside=True)


def test_a_head_that_ignores_the_feature_does_not_use_it(ignored):
    cells = decided(ignored[0])
    assert [(cell.site, cell.state) for cell in cells] == [("left", "absent"), ("left", "absent")]
    control = planted_control([USES.read(ignored[0], "sex", "left")])
    assert control.passed
    assert control.least_found > 0.5
    assert control.least_absent_p > 0.01


def test_without_its_positive_control_absence_is_not_claimed(ignored):
    use = USES.read(ignored[0], "sex", "left")
    for spoilt in (
        PlantedEffects("nothing could be planted"),
        PlantedEffects(sizes=(PlantedEffect(1.0, 0.02, 0.001, 0.002, 0.001),)),
        PlantedEffects(sizes=(PlantedEffect(2.0, 0.04, 0.001, 0.015, 0.4),)),
    ):
        cells = decided(changed(ignored[0], replace(use, planted=spoilt)))
        assert {c.state for c in cells} == {"unknown"}
        assert all("positive control" in c.reason for c in cells)


def test_absence_is_barred_where_no_subspace_could_be_learned_or_the_site_is_too_wide(ignored):
    use = USES.read(ignored[0], "sex", "left")
    unlearned = changed(ignored[0], replace(use, learned=LearnedUse("no gradient")))
    assert [c.state for c in decided(unlearned)] == ["unknown", "unknown"]
    out = changed(ignored[0], use)
    out.numbers["cells"] = {"sex": {"left": {"rank": 900}}}
    assert all(c.state == "unknown" and "dimensions" in c.reason for c in decided(out))


def test_a_used_feature_is_present_in_both_and_its_control_is_not_run(used):
    cells = decided(used[0])
    assert [cell.state for cell in cells] == ["present", "present"]
    assert cells[1].context.startswith("learned: ")
    assert planted_control([USES.read(used[0], "sex", "left")]) is None


def test_a_learned_effect_that_an_untrained_model_has_too_is_not_claimed(used):
    leace, learned = decided(used[0], untrained=used[0])
    assert (leace.state, learned.state) == ("present", "unknown")
    assert "untrained" in learned.reason


def test_one_model_with_as_much_as_the_margin_bars_absence_of_their_mean(ignored):
    out = ignored[0]
    use = USES.read(out, "sex", "left")
    moved = replace(use.learned.swap, effect=replace(use.learned.swap.effect, signed=0.0195))
    other = changed(out, replace(use, learned=replace(use.learned, swap=moved, read_downstream=moved)))
    base, clusters = Draft("used", "sex", "real", group="f to m", margin=0.02), np.arange(len(ignored[1]))
    for models, state in (((out, out), "absent"), ((out, other), "unknown")):
        cells = decide_drafts(use_drafts(base, Run("real", models), None, ("left",), clusters))
        assert {cell.state for cell in cells} == {state}
    assert all("one of the models" in cell.reason for cell in cells)


@pytest.mark.long
def test_redundant_use_at_two_places_is_found_jointly_alone():
    out, *_ = ask(agreeing, 3000, sites=("left", "right"))
    cells = decided(out, sites=("left", "right"))
    alone, joint = [c for c in cells if c.site], [c for c in cells if c.site is None]
    sizes = [USES.read(out, "sex", site).leace.effect.size for site in ("left", "right")]
    assert max(sizes) < 0.04 < 0.1 < abs(USES.read(out, "sex", JOINT).leace.effect.signed)
    assert [c.context.split(":")[0] for c in joint] == ["joint", "joint"]
    assert joint[0].state == "present"
    assert "present" not in {c.state for c in alone}
    assert joint[0].context.startswith("joint: left + right")


def test_a_forward_without_gradients_leaves_the_leace_effect():
    out, *_ = ask(lambda a, _: (0.7 * a[:, 1] + 0.5 * a[:, 0]).detach(), 3000)
    cells = decided(out)
    assert cells[0].state == "present"
    assert (cells[1].state, cells[1].measured) == ("unknown", None)
    assert "gradient" in cells[1].reason


def test_beside_the_effects_stand_share_erasure_and_what_else_was_moved(used):
    out, groups, labels = used
    drafts, ledger, run = Drafts(), Ledger(), Run("real", (out,))
    base = Draft("used", "sex", "real", group="f to m", margin=0.02)
    sex = Attribute("sex", "protected", "binary", ("f", "m"), groups)
    facts = facts_of((sex,), (run,), {"sex": (compared := Followed(groups, ("f", "m"), 0))}, labels_n=labels, verdict_sites=("left",))
    add_use_beside(drafts, base, run, facts, compared)
    add_use_controls(drafts, run, Run("untrained", (out,)), "sex", ("left",), 0.02)
    assert all(is_named(draft) for draft in drafts.numbers)
    ledger.publish(drafts)
    found = {(e.channel, e.context): e for e in ledger.estimates}
    share = found["mediation", "share of the output gap through the subspace"]
    assert share.low < 1 < share.high
    assert share.high - share.low < 0.6
    assert abs(found["amnesic", "output gap after erasing"].value) < 0.02
    assert found["amnesic", "change of the task's AUROC by erasing"].value > 0  # what was erased was noise to the task
    assert found["completeness", None].value == pytest.approx(1, abs=0.1)
    assert found["selectivity", "towards other"].value == pytest.approx(0, abs=0.1)
    assert ("selectivity", "learned, towards other") in found
    assert any(e.context.startswith("learned, unread directions included") and e.state is None for e in ledger.estimates if e.context)
    assert [(c.kind, c.passed) for c in ledger.controls] == [("random_subspace", True), ("untrained", False)]
    random, relayed = (c.figures for c in ledger.controls)
    assert random["random_high"] < random["effect"]
    assert relayed["smallest"] == relayed["largest_untrained"]


def test_a_reference_gets_the_effects_alone():
    out, *_ = ask(lambda a, _: a[:, 0], 1500, decides=False)
    use = USES.read(out, "sex", "left")
    assert use.learned.swap is not None
    assert (use.planted, use.learned.free, use.erased_n) == (None, None, None)


def test_a_constant_site_and_a_failed_regime():
    out, *_ = ask(lambda a, _: 0 * a[:, 0] + 0.3, 1500, x=np.ones((1500, D), dtype=np.float32), rank=0)
    assert {c.state for c in decided(out)} == {"absent"}
    base = Draft("used", "sex", "real", margin=0.02)
    failed = decide_drafts(use_drafts(base, Run("real", ()), None, ("left",), np.arange(3)))
    assert [replace(c, reason=None).state for c in failed] == ["unknown"]


def test_a_planted_effect_of_either_size_that_is_missed_fails_the_control():
    small, large = PlantedEffect(1.0, 0.02, 0.013, 0.013, 0.06), PlantedEffect(2.0, 0.04, 0.029, 0.028, 0.85)
    assert planted_control([SiteUse(planted=PlantedEffects(sizes=(small, large)))]).passed
    missed = replace(small, absent_p=0.001), replace(small, leace=0.007, learned=0.007), replace(large, leace=0.018, learned=0.019)
    for one in missed:
        sizes = (one, large) if one.truth == small.truth else (small, one)
        assert not planted_control([SiteUse(planted=PlantedEffects(sizes=sizes))]).passed
