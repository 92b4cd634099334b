"""Localisation in modules whose every part is known: the part that acts comes first, parts that only carry the attribute do nothing."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from torch import nn

from proxyaudit.data.attributes import Attribute
from proxyaudit.models.base import Tap, TrainedModel
from proxyaudit.pipeline.localise import measure_localisation
from proxyaudit.pipeline.probing import Measurement, cell_key
from proxyaudit.pipeline.use import UseTask
from proxyaudit.recipe import Margins
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
        return self.readout(self.hidden(x))[:, None]


def trained(module: nn.Module, *sites: str, verdict: tuple[str, ...] | None = None) -> TrainedModel:
    return TrainedModel(module.eval(), 2, sites, verdict or sites, {site: Tap(site, "output") for site in sites})


def localised(model: TrainedModel, x: Any, groups: Any, labels: Any, *, root: int = 0, decides: bool = True) -> tuple[Any, Measurement]:
    parts = stream(0, "parts", len(x)).permutation(np.arange(len(x)) % 3)
    sex = Attribute("sex", "protected", "binary", ("f", "m"), groups)
    dataset = SimpleNamespace(attributes=(sex,), parts=parts, clusters=np.arange(len(x)))
    task = UseTask(root, Margins(), {"sex": (groups, 0)}, {"sex": groups[:, None].astype(float)}, decides)
    out = Measurement()
    measure_localisation(model, x, dataset, labels, task, out)  # type: ignore[arg-type]
    return out.numbers.get("localisation", {}).get("sex"), out


def error(out: Measurement, place: str, what: str) -> float:
    return float(np.sqrt((out.arrays[cell_key("sex", place, f"localised {what} signed")].astype(float) ** 2).sum()))


def test_the_unit_that_acts_comes_first_and_decoys_are_tried_without_effect() -> None:
    x, groups, labels = rows()
    found, out = localised(trained(Units(lambda h: 0.7 * h[:, CARRIER] + h[:, SIGNAL] - 0.5), "hidden"), x, groups, labels)
    place = found["places"]["hidden"]
    tried = {one["name"]: one for one in place["search"]["tried"]}
    first = place["search"]["tried"][0]
    assert first["name"] == f"unit {CARRIER}"
    assert first["by"] == "gradient"
    assert first["signed"] > 0.1
    assert first["signed"] == pytest.approx(place["whole"]["signed"], abs=0.03)
    assert first["predicted"] == pytest.approx(first["signed"], abs=0.03)
    assert {f"unit {decoy}" for decoy in DECOYS} & set(tried)
    for name, one in tried.items():
        if name not in (f"unit {CARRIER}", f"unit {SIGNAL}"):
            assert one["signed"] == one["product"] == 0.0
    # The label's unit moves outputs, but not from group to group.
    rank = list(tried).index(f"unit {SIGNAL}")
    assert abs(tried[f"unit {SIGNAL}"]["signed"]) < 4 * error(out, "hidden", f"tried {rank}")
    assert place["search"]["set"]["size"] == 1
    assert place["search"]["set"]["names"] == [f"unit {CARRIER}"]


def test_time() -> None:
    x, groups, labels = rows()
    start = time.perf_counter()
    localised(trained(Units(lambda h: 0.7 * h[:, CARRIER] + h[:, SIGNAL] - 0.5), "hidden"), x, groups, labels)
    print(time.perf_counter() - start)
