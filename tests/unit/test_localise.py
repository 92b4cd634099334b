"""Localisation in modules whose every part is known: the part that acts comes first, parts that only carry the attribute do nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from views import dataset_of, view_of

from proxyaudit.causal.interchange import TOO_FEW, Effect, _effect
from proxyaudit.causal.localisation import Screened, draw_plan, in_direction, patched_effect, pick, screen, smallest_set
from proxyaudit.channels.localisation import measure as localisation_plan
from proxyaudit.channels.localisation.measure import FEWEST_RECIPIENTS, MOST_RECIPIENTS, MOST_SEARCHED, measure, rows_kept, schedule
from proxyaudit.channels.localisation.record import LOCALISATIONS, LocalisationRecord, Part
from proxyaudit.data.attributes import Attribute, Followed
from proxyaudit.estimates.record import Measurement
from proxyaudit.models.base import TrainedModel
from proxyaudit.models.locations import Location
from proxyaudit.models.places import Tap
from proxyaudit.regimes import Regime
from proxyaudit.seeding import stream

N, D = 3000, 12
CARRIER, SIGNAL, DECOYS = 7, 3, (0, 5, 9)


def rows(name: str = "rows", *, carries: bool = True, n: int = N) -> tuple[Any, Any, Any]:
    """Unit Gaussians; one unit and three decoys are a standard deviation and more apart, one unit knows the label."""
    rng = stream(0, "localise", name)
    groups, labels = rng.integers(0, 2, n), rng.integers(0, 2, n)
    x = rng.normal(size=(n, D))
    x[:, SIGNAL] += labels
    if carries:
        x[:, CARRIER] += 1.2 * (groups - 0.5)
        for decoy in DECOYS:
            x[:, decoy] += 2.5 * (groups - 0.5)
    return x.astype(np.float32), groups, labels


class Units(nn.Module):
    """One site, and a readout of it."""

    def __init__(self, readout: Any) -> None:
        super().__init__()
        self.hidden, self.readout = nn.Identity(), readout

    def forward(self, x: Any) -> Any:
        logits = self.readout(self.hidden(x))
        return logits if logits.ndim == 2 else logits[:, None]


class TwoBlocks(nn.Module):
    """Two parallel blocks, both of which carry the attribute; only what the second makes is read."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.left, self.right = nn.Linear(D, 6), nn.Linear(D, 6)
        self.head = nn.Linear(12, 1)
        with torch.no_grad():
            self.head.weight[:, :6] = 0
            self.head.weight[:, 6:] = 0.4

    def forward(self, x: Any) -> Any:
        return self.head(torch.cat([self.left(x), self.right(x)], dim=1))


class TwoHeads(nn.Module):
    """Columns as tokens: the first head gathers carrier and signal, the second a decoy; only the first is read."""

    def __init__(self) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(8, 2, bias=False, batch_first=True)
        self.embed = nn.Parameter(torch.zeros(D, 8))
        self.stem = nn.Identity()
        with torch.no_grad():
            self.attend.in_proj_weight.zero_()
            self.attend.in_proj_weight[16:] = torch.eye(8)
            self.attend.out_proj.weight.copy_(torch.eye(8))
            for column, unit in ((CARRIER, 0), (SIGNAL, 1), (DECOYS[0], 4)):
                self.embed[column, unit] = D

    def forward(self, x: Any) -> Any:
        tokens = self.stem(x)[:, :, None] * self.embed
        made = self.attend(tokens, tokens, tokens)[0][:, 0]
        return (0.7 * made[:, 0] + made[:, 1] - 0.5)[:, None]


def trained(module: nn.Module, *sites: str, n_classes: int = 2) -> TrainedModel:
    return TrainedModel(module.eval(), n_classes, sites, sites, {site: Tap(site, "output") for site in sites})


def localised(
    model: TrainedModel, x: Any, groups: Any, labels: Any, *, output: int = 0, root: int = 0, decides: bool = True
) -> LocalisationRecord | None:
    parts = stream(0, "parts", len(x)).permutation(np.arange(len(x)) % 3)
    attributes = tuple(Attribute(name, role, "binary", ("f", "m"), groups) for name, role in (("sex", "protected"), ("job", "proxy")))  # type: ignore[arg-type]
    regime = Regime("real", "real") if decides else Regime("untrained", "untrained")
    followed = {"sex": Followed(groups, ("f", "m"), output)}
    out = Measurement()
    measure(view_of(model, None, x, dataset_of(attributes, parts), followed, labels=labels, seed=root, regime=regime), out)
    assert LOCALISATIONS.find(out, "job") is None
    return LOCALISATIONS.find(out, "sex")


def error(part: Part) -> float:
    return float(np.sqrt((part.effect.signed_influence_n.astype(float) ** 2).sum()))


def reads_carrier(h: Any) -> Any:
    return 0.7 * h[:, CARRIER] + h[:, SIGNAL] - 0.5


def test_the_unit_that_acts_comes_first_and_decoys_are_tried_without_effect() -> None:
    found = localised(trained(Units(reads_carrier), "hidden"), *rows())
    place = found.locations["hidden"]
    first = place.search.tried[0]
    assert (first.name, first.by) == (f"unit {CARRIER}", "gradient")
    assert first.effect.signed > 0.1
    assert first.effect.signed == pytest.approx(place.whole.effect.signed, abs=0.03)
    assert first.predicted == pytest.approx(first.effect.signed, abs=0.03)
    tried = {one.name: one for one in place.search.tried}
    assert {f"unit {decoy}" for decoy in DECOYS} & set(tried)
    for name, one in tried.items():
        if name not in (f"unit {CARRIER}", f"unit {SIGNAL}"):
            assert one.effect.signed == one.effect.product == 0.0
    # The label's unit moves outputs, but not from group to group.
    assert abs(tried[f"unit {SIGNAL}"].effect.signed) < 4 * error(tried[f"unit {SIGNAL}"])
    assert place.search.carriers.size == 1
    assert place.search.carriers.names == (f"unit {CARRIER}",)


def test_of_two_blocks_the_one_that_is_read_has_the_effect() -> None:
    found = localised(trained(TwoBlocks(), "left", "right"), *rows())
    left, right = (found.locations[name].whole for name in ("left", "right"))
    assert left.effect.signed == left.effect.product == left.predicted == 0.0
    assert abs(right.effect.signed) > max(0.05, 5 * error(right))
    assert right.predicted == pytest.approx(right.effect.signed, rel=0.3)


def test_of_two_heads_the_one_that_is_read_has_the_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(localisation_plan, "MOST_RECIPIENTS", 100)
    found = localised(trained(TwoHeads(), "stem"), *rows())
    place = found.locations["attend, heads"]
    assert place.kind == "heads"
    first, second = place.search.tried
    assert (first.name, second.name) == ("head 0", "head 1")
    assert first.effect.signed > 0.1
    assert first.effect.signed == pytest.approx(place.whole.effect.signed, abs=1e-6)
    assert second.effect.signed == second.effect.product == 0.0
    assert place.search.carriers.names == ("head 0",)


def test_a_saturated_unit_is_missed_by_the_gradient_and_found_by_the_difference() -> None:
    x, groups, labels = rows("saturated", carries=False)
    x[:, CARRIER] = np.where(groups == 1, 1.0, -1.0) + 0.05 * x[:, CARRIER]
    others = [unit for unit in range(D) if unit != CARRIER]
    found = localised(
        trained(Units(lambda h: 0.6 * torch.clip(20 * h[:, CARRIER], -1, 1) + 0.1 * h[:, others].sum(dim=1)), "hidden"), x, groups, labels
    )
    first = found.locations["hidden"].search.tried[0]
    assert (first.name, first.by, first.predicted) == (f"unit {CARRIER}", "difference", 0.0)
    assert first.effect.signed > 0.2
    assert found.locations["hidden"].whole.predicted < 0.05
    assert found.locations["hidden"].search.carriers.names == (f"unit {CARRIER}",)


def test_copies_do_nothing_one_by_one_and_all_of_it_together() -> None:
    x, groups, labels = rows("copies", carries=False)
    copies = [1, 6, 10]
    x[:, copies] = np.where(groups == 1, 1.0, -1.0)[:, None] + 0.05 * x[:, copies]
    found = localised(
        trained(Units(lambda h: 0.6 * torch.clip(6 * h[:, copies].sum(dim=1), -1, 1) + 0.1 * h[:, SIGNAL]), "hidden"), x, groups, labels
    )
    place = found.locations["hidden"]
    tried = {one.name: one for one in place.search.tried}
    for copy in copies:
        assert f"unit {copy}" not in tried or tried[f"unit {copy}"].effect.signed == pytest.approx(0.0, abs=1e-9)
    chosen = place.search.carriers
    assert chosen.size == 2
    assert set(chosen.names) <= {f"unit {copy}" for copy in copies}
    assert chosen.together.effect.signed == pytest.approx(place.whole.effect.signed, rel=0.2)
    assert abs(chosen.random.effect.signed) < chosen.together.effect.signed / 2


def test_what_cancels_over_rows_shows_per_row_and_has_no_set() -> None:
    x, groups, labels = rows("cancel")
    found = localised(trained(Units(lambda h: h[:, CARRIER] * torch.sign(h[:, 5 - 1])), "hidden"), x, groups, labels)
    first = found.locations["hidden"].search.tried[0]
    assert first.name == f"unit {CARRIER}"
    assert abs(first.effect.signed) < 4 * error(first)
    assert first.effect.product > 0.1**2
    assert abs(first.predicted) < 0.03 < 0.1 < first.predicted_per_row
    assert "not clearly different" in found.locations["hidden"].search.no_carriers


def test_the_followed_class_and_its_rows_are_taken() -> None:
    x, groups, labels = rows()
    weights = torch.zeros(D, 3)
    weights[CARRIER, 2], weights[SIGNAL, 1] = 1.0, 1.0
    found = localised(trained(Units(lambda h: h @ weights), "hidden", n_classes=3), x, groups, labels, output=2)
    first = found.locations["hidden"].search.tried[0]
    assert first.name == f"unit {CARRIER}"
    assert first.effect.signed > 0.1
    against = localised(trained(Units(lambda h: h @ weights), "hidden", n_classes=3), x, groups, labels, output=1)
    assert against.locations["hidden"].whole.effect.signed < -0.05


def test_no_gradient_leaves_the_difference() -> None:
    found = localised(trained(Units(lambda h: reads_carrier(h.detach())), "hidden"), *rows())
    assert "no gradient" in found.no_gradient
    tried = found.locations["hidden"].search.tried
    assert all(one.predicted == 0.0 for one in tried)
    assert {one.name for one in tried if one.by == "difference"} & {f"unit {unit}" for unit in (CARRIER, *DECOYS)}


def test_a_module_that_cannot_be_patched_loses_nothing_but_this() -> None:
    calls = []

    def moody(h: Any) -> Any:
        calls.append(len(h))
        if len(calls) > 4:
            raise RuntimeError("enough for today")
        return reads_carrier(h)

    found = localised(trained(Units(moody), "hidden"), *rows())
    assert found == LocalisationRecord(reason=found.reason)
    assert "enough for today" in found.reason


def test_small_groups_references_and_repetition() -> None:
    x, groups, labels = rows()
    model = trained(Units(reads_carrier), "hidden")
    few = np.where(np.cumsum(groups) > 60, 0, groups)  # twenty in each part, ten of each label
    assert localised(model, x, few, labels) == LocalisationRecord(reason=TOO_FEW)
    assert localised(model, x, groups, labels, decides=False) is None
    once, again = (localised(model, x, groups, labels) for _ in range(2))
    tried, repeated, other = (
        found.locations["hidden"].search.tried for found in (once, again, localised(model, x, groups, labels, root=1))
    )
    for one, same in zip(tried, repeated, strict=True):
        assert (one.name, one.effect.signed, one.effect.product) == (same.name, same.effect.signed, same.effect.product)
        assert np.array_equal(one.effect.signed_influence_n, same.effect.signed_influence_n)
    assert [one.effect.signed for one in tried] != [one.effect.signed for one in other]


def place(name: str, work: float, kind: Any = "site", floats: int = 10) -> Location:
    return Location(name, kind, Tap(name, "output"), 8, floats, work, 1e7, heads=2 if kind == "heads" else 0)


def test_operations_are_shared_out_from_the_verdict_sites_on() -> None:
    names = [f"s{i}" for i in range(20)]
    places = [*(place(name, 1e6) for name in names), place("h", 1e6, "heads"), place("b", 1e6, "branch"), place("last", 100)]
    rich = schedule(places, ["last"], 1e15)
    assert rich.recipients == MOST_RECIPIENTS
    assert [name for name in rich.whole if rich.whole[name] is None] == [*names[:12], "last"]
    assert "12 places" in str(rich.whole["s15"])
    # The last ones are searched: nearest to the output.
    assert [name for name in names if rich.searched.get(name, "") is None] == [f"s{i}" for i in range(12 - MOST_SEARCHED, 12)]
    poor = schedule(places, ["last"], 3.1 * 3200 * 1e6)
    assert [name for name in poor.whole if poor.whole[name] is None] == ["s0", "s1", "s2", "last"]
    assert poor.searched["last"] is None
    assert "operations" in str(poor.whole["s3"])
    assert "operations" in str(poor.searched["s11"])
    assert FEWEST_RECIPIENTS <= poor.recipients < 120
    assert poor.gradient_rows < rich.gradient_rows
    heads = schedule([place("h", 1e3, "heads"), *(place(name, 1e3) for name in names[:6]), place("last", 100)], ["last"], 1e15)
    assert heads.searched["h"] is None
    assert rows_kept([place("wide", 1, floats=2**20)], 5000) == 64


def test_screening_is_the_gradient_times_the_difference_within_labels() -> None:
    rng = stream(0, "by hand")
    groups, labels = np.arange(400) % 2, (np.arange(400) // 2) % 2
    values = rng.normal(size=(400, 3, 2)) + groups[:, None, None] * np.array([0.0, 2.0]) * (1 + labels[:, None, None])
    gradients = rng.normal(size=(50, 3, 2))
    chosen = np.arange(50)
    expected = np.empty((50, 2))
    for k in chosen:
        inside = labels == labels[k]
        gap = values[inside & (groups == 1)].mean(axis=0) - values[inside & (groups == 0)].mean(axis=0)
        expected[k] = (gradients[k] * gap).sum(axis=0)
    found = screen(values, gradients, chosen, groups, labels, [None, [0], [1]])
    np.testing.assert_allclose(found.signed, [expected.sum(axis=1).mean(), *expected.mean(axis=0)])
    np.testing.assert_allclose(found.per_row[1:], np.sqrt((expected**2).mean(axis=0)))
    assert found.apart[2] > 2 > 0.3 > found.apart[1]
    assert found.moves.all()


def test_a_constant_unit_is_never_picked_and_controls_are_others() -> None:
    screened = Screened(np.zeros(6), np.array([5.0, 4, 9, 1, 0, 0]), np.array([0.0, 0, 0, 0, 3, 0]), np.arange(6) != 2)
    picked = pick(screened, 2, 1, 5, stream(0, "picked"))
    assert [part for part, by in picked.items() if by == "gradient"] == [0, 1]
    assert [part for part, by in picked.items() if by == "difference"] == [4]
    assert {part for part, by in picked.items() if by == "random"} == {3, 5}


def test_the_smallest_prefix_is_found_by_doubling_and_bisection() -> None:
    def effect(signed: float, error: float = 0.001) -> Effect:
        return Effect(signed, 0.0, np.full(100, error / 10), np.zeros(100))

    asked = []

    def signed_of(first: int) -> float:
        asked.append(first)
        return -0.01 * first

    assert smallest_set(signed_of, effect(-0.099), 40) == 8
    assert asked == [1, 2, 4, 8, 6, 7]
    assert smallest_set(signed_of, effect(-0.249), 40) == 20
    assert "half" in str(smallest_set(signed_of, effect(-0.3), 40))
    assert "half" in str(smallest_set(signed_of, effect(0.1), 40))
    assert "zero" in str(smallest_set(signed_of, effect(-0.1, error=0.05), 40))
    screened = Screened(np.array([0.0, 0.3, 0, -0.2]), np.zeros(4), np.array([0.0, 0, 1, 9]), np.ones(4, dtype=bool))
    assert in_direction({1: effect(-0.5)}, screened, -1.0) == [1, 3, 2, 0]


def test_donors_come_from_all_rows_for_a_part_of_the_recipients() -> None:
    groups, labels = np.arange(900) % 2, (np.arange(900) // 2) % 2
    inside = np.arange(900) % 3 == 0
    plan = draw_plan(groups, labels, inside, 40, stream(0, "plan"))
    assert plan is not None
    assert plan.index.shape == (40, 2, 16)
    assert inside[plan.recipients].all()
    assert inside[plan.index].all()
    assert (labels[plan.index] == labels[plan.recipients][:, None, None]).all()
    assert (groups[plan.index[..., :8]] != groups[plan.recipients][:, None, None]).all()
    assert not set(plan.index[:, 0].ravel()) & set(plan.index[:, 1].ravel())
    assert len(np.unique(plan.index)) > 200


def test_the_effect_is_that_of_the_interchange_with_more_of_the_donors_variance() -> None:
    groups, labels = np.arange(900) % 2, (np.arange(900) // 2) % 2
    values = stream(0, "effect").normal(size=(900, 2)) + groups[:, None]
    plan = draw_plan(groups, labels, np.ones(900, dtype=bool), 300, stream(0, "plan"))
    assert plan is not None

    def patch(recipients: Any, donors: Any, units: Any) -> Any:
        assert units == [1]
        return values[recipients, 0] * values[donors, 1] + values[donors, 1]

    mine = patched_effect(patch, plan, [1], 900)
    swapped = patch(plan.recipients[:, None, None], plan.index, [1])
    theirs = _effect([swapped], [plan], 900)
    assert mine.signed == pytest.approx(theirs.signed)
    assert mine.product == pytest.approx(theirs.product)
    for one, other in ((mine.signed_influence_n, theirs.signed_influence_n), (mine.product_influence_n, theirs.product_influence_n)):
        assert np.corrcoef(one, other)[0, 1] > 0.98
        assert 1.0 < (one @ one) / (other @ other) < 1.2
