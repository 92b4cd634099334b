"""What bars absence of use: ways past the sites, gaps that differ between halves, unread directions; and fair models of unfair labels."""

import numpy as np
import pytest
import torch
from torch import nn
from views import dataset_of, view_of

from proxyaudit.activations.capture import capture
from proxyaudit.channels.use.estimate import SAME_OUTPUT, guard_barring_absence, use_drafts
from proxyaudit.channels.use.measure import measure, moderated_gap
from proxyaudit.channels.use.record import GUARDS, USES, Guards
from proxyaudit.data.attributes import Attribute
from proxyaudit.estimates.facts import Followed, Run
from proxyaudit.estimates.ledger import Draft
from proxyaudit.estimates.record import Measurement
from proxyaudit.models.base import TrainedModel
from proxyaudit.models.places import Tap
from proxyaudit.seeding import stream
from tests.helpers.deciding import decide_drafts

N, D = 6000, 5


class Net(nn.Module):
    """A site, and a head that may look past it."""

    def __init__(self, head):
        super().__init__()
        self.site, self.head = nn.Identity(), head

    def forward(self, x):
        return self.head(self.site(x.clone()), x)[:, None]


def ask(x, groups, labels, head):
    model = TrainedModel(Net(head).eval(), 2, ("site",), ("site",), {"site": Tap("site", "output")})
    attribute = Attribute("sex", "protected", "binary", ("f", "m"), groups)
    parts = stream(0, "parts").integers(0, 3, len(x))
    out, x = Measurement(), x.astype(np.float32)
    out.numbers["cells"] = {"sex": {"site": {"rank": x.shape[1]}}}
    followed = {"sex": Followed(groups, ("f", "m"), 0)}
    measure(view_of(model, capture(model, x), x, dataset_of((attribute,), parts), followed, labels=labels), out)
    cells = decide_drafts(
        use_drafts(Draft("used", "sex", "real", group="f to m", margin=0.02), Run("real", (out,)), None, ("site",), np.arange(len(x)))
    )
    return out, cells


def world(name, n=N):
    rng = stream(0, "guards", name)
    return rng.normal(size=(n, D)), rng.integers(0, 2, n), rng.integers(0, 2, n)


def test_a_fair_model_of_unfair_labels_does_not_use_the_group():
    """Labels depend on the group and on a column that the model rightly reads: within a label that column differs between groups."""
    x, groups, _ = world("collider", 12000)
    odds = 1.5 * x[:, 0] + 1.0 * (2 * groups - 1)
    labels = (stream(0, "labels").random(len(x)) < 1 / (1 + np.exp(-odds))).astype(int)
    out, cells = ask(x, groups, labels, lambda h, _: 0.5 * h[:, 0])
    use = USES.read(out, "sex", "site")
    assert use.within_label.effect.signed < -0.03  # what donors and a subspace of the same label show
    assert max(abs(use.leace.effect.signed), abs(use.learned.swap.effect.signed)) < 0.01
    assert [cell.state for cell in cells] == ["absent", "absent"]


def test_among_people_of_one_label_a_use_shows_as_well():
    x, groups, labels = world("within")
    x[:, 0] += 1.5 * (groups - 0.5)
    use = USES.read(ask(x, groups, labels, lambda h, _: h[:, 0])[0], "sex", "site")
    assert use.within_label.effect.signed == pytest.approx(use.leace.effect.signed, abs=0.03)
    assert use.within_label.effect.size > np.quantile(use.within_label.null_sizes, 0.99)


def test_a_use_is_found_with_donors_of_any_label_as_well():
    x, groups, labels = world("used")
    x[:, 0] += 1.5 * (groups - 0.5)
    _, cells = ask(x, groups, labels, lambda h, _: h[:, 0])
    assert {cell.state for cell in cells} == {"present"}


@pytest.mark.long
def test_what_reaches_the_outputs_past_the_site_bars_absence():
    x, groups, labels = world("past")
    out, cells = ask(x, groups, labels, lambda h, x: h[:, 0] + x[:, 1])
    assert GUARDS.read(out).past_sites > 0.1
    assert all("past the verdict sites" in cell.reason for cell in cells)
    out, _ = ask(x, groups, labels, lambda h, _: h[:, 0])
    assert GUARDS.read(out).past_sites < SAME_OUTPUT


@pytest.mark.long
def test_units_that_saturate_at_every_row_are_not_called_unread():
    x, groups, labels = world("saturated", 12000)
    x[:, 1] = np.where((groups == 1) & (stream(0, "far").random(len(x)) < 0.05), 6.0, 0.2 * x[:, 1])
    out, cells = ask(x, groups, labels, lambda h, _: h[:, 0] + 5 * torch.clamp(h[:, 1] - 2.0, 0.0, 1.0))
    assert USES.read(out, "sex", "site").learned.unread > 0.1
    assert all(cell.state != "absent" for cell in cells)


def gates(n=N):
    rng = stream(0, "gates")
    return rng.integers(0, 2, n).astype(float), rng.choice([-1.0, 1.0], n), rng.normal(size=(n, 3))


def test_gaps_that_cancel_over_all_rows_are_seen_in_halves():
    group, gate, rest = gates()
    outputs = 1 / (1 + np.exp(-(1.0 * gate * (2 * group - 1) + rest[:, 0])))[:, None]
    moderators = np.column_stack([gate, rest])
    assert abs(outputs[group == 1].mean() - outputs[group == 0].mean()) < 0.02
    assert moderated_gap(outputs, group[:, None], moderators) == pytest.approx(0.37, abs=0.05)
    # Whichever output it is that moves, and whatever rows are left out.
    holes = np.where(stream(0, "holes").random(len(group)) < 0.2, np.nan, group)
    assert moderated_gap(np.column_stack([1 - outputs, 0 * outputs, outputs]), holes[:, None], moderators) > 0.3


def test_no_gap_is_seen_where_outputs_ignore_the_group():
    group, gate, rest = gates()
    rest[:, 2] += group  # knows the group, and is not read
    outputs = 1 / (1 + np.exp(-(gate + rest[:, 0])))[:, None]
    assert moderated_gap(outputs, group[:, None], np.column_stack([gate, rest, rest @ np.ones((3, 2))])) < 0.02
    mixed = rest[:, 0] + 2 * group  # a collider: with the mixture held, the outputs differ between the groups
    assert moderated_gap(outputs, group[:, None], mixed[:, None]) < 0.02
    few = np.zeros(len(group))
    few[:40] = 1  # less than thirty in a half: nothing can be said
    assert moderated_gap(outputs, few[:, None], np.column_stack([gate, rest])) == 0.0


def test_guards_that_were_not_measured_bar_absence():
    assert "was not measured" in guard_barring_absence(None, "sex", 0.02)
    assert guard_barring_absence(Guards(0.0, {"sex": 0.0}), "sex", 0.02) is None
    assert "0.60" in guard_barring_absence(Guards(0.0, {"sex": 0.3}), "sex", 0.02, idle=True)
    inside = Guards(0.0, {"sex": 0.0}, {"sex": 0.3})
    assert "0.60" in guard_barring_absence(inside, "sex", 0.02)
    assert guard_barring_absence(inside, "sex", 0.02, idle=True) is None
