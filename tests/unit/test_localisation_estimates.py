"""Localisation as estimates: several models, what is confirmed, what is not, and what was left out, each with its words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from views import dataset_of, facts_of, view_of

from proxyaudit.causal.interchange import TOO_FEW
from proxyaudit.causal.localisation import CARRIED
from proxyaudit.channels.localisation.estimate import CHANNEL, NOT_BEYOND, NOT_SURE, NOT_WHOLE, PER_ROW, SHARE, follow_up
from proxyaudit.channels.localisation.measure import measure
from proxyaudit.channels.localisation.record import LOCALISATIONS, LocationRecord
from proxyaudit.data.attributes import Attribute, Followed
from proxyaudit.estimates.facts import Run
from proxyaudit.estimates.ledger import Draft, Drafts, Ledger
from proxyaudit.estimates.record import Measurement
from proxyaudit.evidence.schema import identify
from proxyaudit.models.base import TrainedModel
from proxyaudit.models.places import Tap
from proxyaudit.seeding import stream
from proxyaudit.types import Estimate

N, D = 3000, 12


class Units(nn.Module):
    """One site, and a readout of it."""

    def __init__(self, readout: Any) -> None:
        super().__init__()
        self.hidden, self.readout = nn.Identity(), readout

    def forward(self, x: Any) -> Any:
        return self.readout(self.hidden(x))[:, None]


def world(seed: int = 0, shift: float = 1.2, carrier: int = 7, n: int = N) -> tuple[Any, Any, Any]:
    """A carrier of the attribute, a decoy that carries more of it, and ten units that know nothing."""
    rng = stream(seed, "localisation cells")
    groups, labels = rng.integers(0, 2, n), rng.integers(0, 2, n)
    x = rng.normal(size=(n, D)) + 0.5 * labels[:, None]
    x[:, carrier] += shift * (groups - 0.5)
    x[:, 0] += 2 * shift * (groups - 0.5)
    return x.astype(np.float32), groups, labels


def measured(readout: Any, x: Any, groups: Any, labels: Any, *, root: int = 0) -> Measurement:
    sex = Attribute("sex", "protected", "binary", ("f", "m"), groups)
    dataset = dataset_of((sex,), stream(0, "parts").permutation(np.arange(len(x)) % 3))
    model = TrainedModel(Units(readout).eval(), 2, ("hidden",), ("hidden",), {"hidden": Tap("hidden", "output")})
    out = Measurement()
    measure(view_of(model, None, x, dataset, {"sex": Followed(groups, ("f", "m"), 0)}, labels=labels, seed=root), out)
    return out


def published(found: list[Measurement], *, used: bool = False) -> dict[tuple[str, str | None], Estimate]:
    sex = Attribute("sex", "protected", "binary", ("f", "m"), np.arange(N) % 2)
    job = Attribute("job", "proxy", "binary", ("f", "m"), np.arange(N) % 2)
    runs = (Run("real", tuple(found)), Run("untrained", (Measurement(),)), Run("failed", ()))
    facts = facts_of((sex, job), runs, {"sex": Followed(np.arange(N) % 2, ("f", "m"), 0)})
    ledger, own = Ledger(), Ledger()
    if used:
        drafts = Drafts()
        drafts.add(Draft("used", "sex", "real", "hidden", "per-row", state="present"))
        ledger.publish(drafts)
    own.publish(follow_up(facts, ledger))
    assert all(e.regime == "real" and e.attribute == "sex" and e.state is None for e in own.estimates)
    assert all((e.measure, e.subject, None) == identify(e.channel, e.regime, e.context, e.site) for e in own.estimates)
    keys = [(e.channel, e.context) for e in own.estimates]
    assert len(set(keys)) == len(keys)
    return {(e.channel, e.context): e for e in own.estimates}


@pytest.fixture(scope="module")
def one() -> dict[tuple[str, str | None], Estimate]:
    return published([measured(lambda h: 0.7 * h[:, 7] + h[:, 3] - 1, *world())])


def test_what_acts_is_confirmed_with_its_share_and_the_decoy_is_tried_without_effect(one: Any) -> None:
    carrier, decoy, whole = (one[CHANNEL, name] for name in ("unit 7", "unit 0", "whole site"))
    assert carrier.reason is None
    assert carrier.low < carrier.value < carrier.high
    assert carrier.low > 0.05
    assert carrier.value > carrier.null_high
    assert carrier.raw == pytest.approx(carrier.value, abs=0.03)
    assert (carrier.site, carrier.group, carrier.n, carrier.seeds) == ("hidden", "f to m", 400, 1)
    assert whole.reason is None
    assert decoy.value == 0.0
    assert decoy.reason == NOT_SURE
    share = one[SHARE, "unit 7"]
    assert share.low < 1 < share.high
    assert share.value == pytest.approx(1.0, abs=0.2)
    assert (SHARE, "unit 0") not in one
    assert one[PER_ROW, "unit 7"].value >= carrier.value - 0.01


def test_a_set_controls_and_what_was_left_out_are_shown(one: Any) -> None:
    together = one[CHANNEL, f"together: the first 1 of {D} (unit 7)"]
    assert together.reason is None
    assert one[SHARE, together.context].value > CARRIED
    controls = [e for (channel, context), e in one.items() if channel == CHANNEL and str(context).startswith("random")]
    assert len(controls) == 3
    assert all(e.reason is None and abs(e.value) < 0.02 for e in controls)
    assert "gradient predicts" in one[CHANNEL, "skipped: 2 parts"].reason
    assert one[CHANNEL, "skipped: 2 parts"].value is None


def test_over_models_units_go_by_rank_and_name_and_the_interval_crosses_them() -> None:
    found = published([measured(lambda h, c=c: 0.7 * h[:, c] + h[:, 3] - 1, *world(carrier=c)) for c in (7, 5)])
    first = found[CHANNEL, "rank 1: unit 7, unit 5"]
    assert first.reason is None
    assert len(first.seed_values) == first.seeds == 2
    assert first.value == pytest.approx(np.mean(first.seed_values), abs=0.001)
    assert first.low < min(first.seed_values) < max(first.seed_values) < first.high
    assert found[CHANNEL, f"together: the first 1 of {D}"].reason is None


def test_one_model_that_does_not_use_it_takes_the_confirmation_away() -> None:
    uses, ignores = (measured(readout, *world()) for readout in (lambda h: 0.7 * h[:, 7], lambda h: h[:, 3]))
    found = published([uses, ignores])
    assert found[CHANNEL, "whole site"].reason == NOT_SURE
    assert all(e.reason != NOT_BEYOND for e in found.values())
    assert not [key for key in found if key[0] == SHARE]
    together = found[CHANNEL, "together: the smallest set that carries 80 %"]
    assert together.value is None
    assert "not clearly different" in together.reason


def test_what_cancels_is_confirmed_per_row_and_has_no_share() -> None:
    x, groups, labels = world()
    measurement = measured(lambda h: 1.5 * h[:, 7] * torch.sign(h[:, 3] - 0.25), x, groups, labels)
    found = published([measurement], used=True)
    assert found[CHANNEL, "unit 7"].reason is None
    assert published([measurement])[CHANNEL, "unit 7"].reason == NOT_WHOLE
    assert abs(found[CHANNEL, "unit 7"].value) < 0.03
    assert found[PER_ROW, "unit 7"].low > 0.05
    assert (SHARE, "unit 7") not in found


def test_units_that_undo_each_other_are_not_confirmed() -> None:
    """A head that ignores the attribute, in a basis that is not the units': each unit moves the output, all together do not."""
    x, groups, labels = world(shift=0.0)
    x[:, [1, 2]] += 1.5 * (groups[:, None] - 0.5)
    found = published([measured(lambda h: 0.8 * (h[:, 1] - h[:, 2]) + h[:, 3], x, groups, labels)])
    assert found[CHANNEL, "whole site"].reason == NOT_SURE
    for unit, sign in ((1, 1), (2, -1)):
        assert sign * found[CHANNEL, f"unit {unit}"].value > 0.1
        assert found[CHANNEL, f"unit {unit}"].reason == NOT_WHOLE
    assert not [key for key in found if key[0] == SHARE]


def test_parts_that_all_do_the_same_are_no_more_than_random_ones() -> None:
    rng = stream(1, "alike")
    groups, labels = rng.integers(0, 2, N), rng.integers(0, 2, N)
    x = (rng.normal(size=(N, D)) + 0.8 * (groups[:, None] - 0.5)).astype(np.float32)
    found = published([measured(lambda h: 0.4 * h.sum(dim=1), x, groups, labels)])
    reasons = [e.reason for (channel, context), e in found.items() if channel == CHANNEL and str(context).startswith("unit")]
    assert len(reasons) == 8
    assert NOT_BEYOND in reasons
    assert "half" in found[CHANNEL, "together: the smallest set that carries 80 %"].reason


def test_nothing_is_confirmed_where_nothing_is_there() -> None:
    """Wide heads over units that know nothing of the attribute: confirmations are false, and as rare as promised."""
    false = []
    for seed in range(16):
        x, groups, labels = world(seed, shift=0.0)
        weights = torch.tensor(stream(seed, "head").normal(size=D) * 0.5, dtype=torch.float32)
        found = published([measured(lambda h, w=weights: torch.tanh(h) @ w, x, groups, labels, root=seed)])
        false.append(
            [
                key
                for key, e in found.items()
                if key[0] == CHANNEL and e.value is not None and e.reason is None and "random" not in str(key[1])
            ]
        )
    assert sum(bool(one) for one in false) <= 3


def test_too_few_rows_are_told_once_and_nothing_is_localised() -> None:
    x, groups, labels = world()
    found = published([measured(lambda h: h[:, 7], x, np.where(np.cumsum(groups) > 60, 0, groups), labels)])
    assert [e.reason for e in found.values()] == [TOO_FEW]


def test_what_was_skipped_whole_or_without_gradient_has_its_reason() -> None:
    out = measured(lambda h: h[:, 7].detach(), *world())
    record = LOCALISATIONS.find(out, "sex")
    assert record is not None
    half = replace(record.locations["hidden"], search=None, search_skipped="left out: 4 places")
    skipped = LocationRecord("site", "left out: it would take too many operations")
    LOCALISATIONS.write(out, replace(record, locations={"hidden": half, "block9": skipped}), "sex")
    found = published([out])
    assert "operations" in found[CHANNEL, "skipped: whole site"].reason
    assert found[CHANNEL, "skipped: whole site"].site == "block9"
    assert "no gradient" in found[CHANNEL, "skipped: screening by the gradient"].reason
    assert found[CHANNEL, "skipped: units"].reason == "left out: 4 places"
    assert found[CHANNEL, "whole site"].value > 0.1
