"""Carriers as they are measured: alone and together, legitimate ones left out; and the basis of a use that no gap shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from views import dataset_of, view_of

from proxyaudit.activations.capture import capture
from proxyaudit.causal.columns import ColumnCells
from proxyaudit.channels.proxies.measure import measure_use
from proxyaudit.channels.proxy_plan import Proxy, ProxyPlan
from proxyaudit.channels.use.carriers import TOGETHER, barring, carriers_of, explain
from proxyaudit.data.attributes import Attribute, Followed
from proxyaudit.estimates.conclude import _basis_of_use
from proxyaudit.estimates.facts import Run
from proxyaudit.estimates.ledger import Draft, Drafts, Ledger
from proxyaudit.estimates.numbers import Numbers
from proxyaudit.estimates.record import Measurement
from proxyaudit.estimates.scope import Scope
from proxyaudit.models.base import TrainedModel
from proxyaudit.models.places import Tap
from proxyaudit.seeding import stream

N = 2400
NAMES = ("zip", "copy", "gate", "rest")


class Net(nn.Module):
    """A site of its inputs, and a head that may look past it."""

    def __init__(self, head):
        super().__init__()
        self.site, self.head = nn.Identity(), head

    def forward(self, x):
        return self.head(self.site(x.clone()))[:, None]


def carriers(head, legitimate=()):
    rng = stream(0, "carriers")
    groups = rng.integers(0, 2, N)
    side = 2.0 * groups - 1
    x = np.stack([side + 0.3 * rng.normal(size=N), side + 0.3 * rng.normal(size=N), rng.choice([-1.0, 1.0], N), rng.normal(size=N)], axis=1)
    x = x.astype(np.float32)
    model = TrainedModel(Net(head).eval(), 2, ("site",), ("site",), {"site": Tap("site", "output")})
    attribute = Attribute("sex", "protected", "binary", ("f", "m"), groups)
    dataset = dataset_of((attribute,), rng.integers(0, 3, N))
    dataset = replace(dataset, encoder=replace(dataset.encoder, sources=NAMES), legitimate=legitimate)
    plan = ProxyPlan(tuple(Proxy(ColumnCells(name, None, None, ())) for name in NAMES))
    view = view_of(model, capture(model, x), x, dataset, {"sex": Followed(groups, ("f", "m"), 0)}, plan=plan)
    out = Measurement()
    measure_use(replace(view, repetition=1, frozen=True), out)
    return carriers_of(Run("real", (out,)), "sex", ["zip", "copy"])


def says(found):
    return barring(found, np.arange(N), 0.02), explain(found, np.arange(N), 0.02)


def test_what_the_head_ignores_is_idle_alone_and_together():
    found = carriers(lambda h: 0.6 * h[:, 3])
    assert [carrier.name for carrier in found] == ["zip", "copy", TOGETHER]
    assert says(found) == (None, True)


def test_what_was_added_up_before_the_site_goes_around_its_directions():
    """The gate turns what the carrier adds: no direction of the site moves the outputs between the groups."""
    barred, idle = says(carriers(lambda h: 0.6 * h[:, 3] + 0.8 * h[:, 2] * h[:, 0]))
    assert "zip" in str(barred)
    assert not idle


def test_copies_that_agree_are_found_together_alone():
    """Exchanged alone, a copy only breaks the agreement, upwards for nobody."""

    def head(h):
        agree = torch.exp(-(((h[:, 0] - h[:, 1]) / 0.8) ** 2))
        return 0.6 * h[:, 3] + 2.0 * agree * torch.sign(h[:, 0]) * h[:, 2]

    reach = {carrier.name: carrier.uses[0].reach.product.value for carrier in carriers(head)}
    assert reach[TOGETHER] > 2 * max(reach["zip"], reach["copy"])


def test_legitimate_columns_never_bar_and_explain_nothing():
    found = carriers(lambda h: 0.6 * h[:, 3] + 0.8 * h[:, 2] * h[:, 0], legitimate=("zip",))
    assert says(found) == (None, False)
    assert found[0].uses[0].reach is None
    assert found[0].uses[0].moved.value > 0.1


@pytest.mark.parametrize("legitimate", [("zip", "copy")])
def test_where_every_carrier_is_legitimate_none_is_taken_together(legitimate):
    assert TOGETHER not in [carrier.name for carrier in carriers(lambda h: 0.5 * h[:, 0], legitimate)]


@pytest.mark.parametrize(
    ("tests", "basis"),
    [
        ([], None),
        ([(0.001, 0.9)], "beyond_label"),
        ([(0.9, 0.001)], "explained_by_label"),
        ([(0.9, 0.3)], "unknown"),
        ([(0.9, 0.001), (0.9, 0.3)], "unknown"),
        ([(0.9, 0.001), (0.001, 0.9)], "beyond_label"),
    ],
)
def test_the_basis_of_a_use_that_no_gap_shows_is_what_remains_within_the_label(tests, basis):
    sites, ledger = ("one", "two"), Ledger()
    within = {"measure": "effect_within_label", "context": "within label: signed", "margin": 0.02, "decides": False, "shows_p": True}
    ledger.publish(
        Drafts(
            [
                Draft("used", "a", "real", site, present_p=p, absent_p=q, value=0.1, **within)
                for site, (p, q) in zip(sites, tests, strict=False)
            ]
        )
    )
    scope = Scope("outputs", {"a": "protected"}, ("real",), sites)
    assert _basis_of_use(Numbers(ledger.estimates, scope), "a", "real") == basis
