"""Localisation in planted models, whose coordinates lie across the units: what acts is confirmed, what is ignored is not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from views import dataset_of, facts_of, view_of

from proxyaudit.channels.localisation.estimate import follow_up
from proxyaudit.channels.localisation.measure import measure
from proxyaudit.data.attributes import Attribute, Followed
from proxyaudit.estimates.facts import Run
from proxyaudit.estimates.ledger import Ledger
from proxyaudit.estimates.record import Measurement
from proxyaudit.models.base import TrainedModel
from proxyaudit.models.places import Tap
from proxyaudit.planted import nets
from proxyaudit.planted.model_worlds import make_planted_model
from proxyaudit.planted.models import ATTRIBUTE, INPUTS, TARGET

N = 3000


def localised(kind, seed=1):
    planted = make_planted_model(kind, seed=seed, n=N)
    names = [name for name in planted.table.columns if name not in (ATTRIBUTE, TARGET)]
    x = planted.table[names].to_numpy(np.float32)
    groups, labels = ((planted.table[column] == value).to_numpy().astype(int) for column, value in ((ATTRIBUTE, "b"), (TARGET, "yes")))
    attribute = Attribute(ATTRIBUTE, "protected", "binary", ("a", "b"), groups)
    dataset = dataset_of((attribute,), np.random.default_rng(seed).permutation(np.arange(N) % 3))
    followed = {ATTRIBUTE: Followed(groups, ("a", "b"), 0)}
    found = []
    for weights in planted.weights:
        net = getattr(nets, planted.factory)(INPUTS).eval()
        net.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
        taps = {site: Tap("head", "input", "head") if site == "penultimate" else Tap(site, "output") for site in planted.profile_sites}
        model = TrainedModel(net, 2, planted.profile_sites, planted.verdict_sites, taps)
        found.append(Measurement())
        measure(view_of(model, None, x, dataset, followed, labels=labels), found[-1])
    ledger = Ledger()
    ledger.publish(follow_up(facts_of((attribute,), (Run("planted", tuple(found)),), followed), ledger))
    return [e for e in ledger.estimates if e.channel == "localisation" and e.measure != "random"]


@pytest.mark.parametrize("kind", ["head_null", "dormant", "nothing"])
def test_nothing_is_confirmed_of_a_head_that_ignores_the_attribute(kind):
    found = localised(kind)
    assert {e.site for e in found} == {"block1", "penultimate"}
    assert [e.context for e in found if e.value is not None and e.reason is None] == []


def test_of_a_head_that_reads_it_a_few_units_carry_most():
    found = localised("used")
    whole = {e.site: e for e in found if e.measure == "whole"}
    for site in ("block1", "penultimate"):
        assert whole[site].reason is None
        assert whole[site].value > 0.1
        together = next(e for e in found if e.site == site and e.measure == "set")
        assert together.reason is None
        assert together.value > 0.6 * whole[site].value
        assert together.null_high < together.value


def test_a_branch_that_alone_decides_nothing_has_next_to_no_effect():
    found = localised("redundant")
    second = next(e for e in found if (e.site, e.context) == ("branch2", "whole site"))
    assert abs(second.value) < 0.02
    assert second.reason is not None
