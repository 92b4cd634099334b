"""How often a linear leak is called absent or present, over sizes, attributes and true leaks (the decision rule in simulation)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from proxyaudit.channels.leak.measure import measure_site
from proxyaudit.channels.leak.planted import planted_draft
from proxyaudit.channels.leak.record import SITE_LEAKS
from proxyaudit.channels.leak.site_probe import ProbedArrays, Probing
from proxyaudit.data.attributes import Attribute
from proxyaudit.estimates.ledger import Draft
from proxyaudit.estimates.record import Measurement
from proxyaudit.planted import World, make_world
from proxyaudit.planted.construction import Case, Rng, class_names, directions, gaussian_activations, plant_labels, two_rates
from proxyaudit.recipe.recipe import Margins
from proxyaudit.seeding import stream
from tests.helpers.deciding import decide_drafts

LEAKS = (0.0, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08)
MARGIN = 0.02
_SITE = "site"


@dataclass(frozen=True)
class Setting:
    """One row of the table."""

    name: str
    d: int
    n: int
    kind: str = "binary"
    rate: float = 0.5
    cases: int = 10


SETTINGS = (
    Setting("binary", 64, 2000, cases=40),
    Setting("binary", 64, 8000, cases=24),
    Setting("binary", 384, 2000, cases=24),
    Setting("binary", 384, 8000, cases=12),
    Setting("binary", 768, 2000),
    Setting("binary", 768, 8000),
    Setting("binary, 5 % against 95 %", 64, 8000, rate=0.05),
    Setting("binary, 1 % against 99 %", 64, 8000, rate=0.01),
    Setting("four classes", 64, 8000, kind="multiclass"),
    Setting("continuous", 64, 8000, kind="continuous"),
    Setting("rows in groups of 3 to 8", 64, 8000, kind="grouped"),
    Setting("one sparse unit", 64, 8000, kind="sparse_unit"),
)


def make_case(setting: Setting, leak: float, rng: Rng) -> World:
    """A world of the setting; without a leak it has the activations and rates of one at the margin and labels in another order."""
    wanted = leak or MARGIN
    if setting.kind in ("binary", "multiclass", "continuous"):
        latent = rng.normal(size=(setting.n, setting.d))
        acts = gaussian_activations(latent, rng)
        case = Case(setting.kind, setting.n, setting.d, wanted, setting.rate, rng)
        if setting.kind == "continuous":
            score = (latent @ directions(setting.d, 1, rng))[:, 0]
            labels: Any = np.sqrt(wanted) * score / score.std() + np.sqrt(1 - wanted) * rng.normal(size=setting.n)
        elif setting.kind == "binary":
            labels = plant_labels(case, latent @ directions(setting.d, 1, rng), two_rates(setting.rate))
        else:
            labels = plant_labels(case, latent @ directions(setting.d, 3, rng), np.array([0.4, 0.3, 0.2, 0.1]))
        world = case.world(acts, labels, "linear", "")
    else:
        world = make_world(setting.kind, n=setting.n, d=setting.d, leak=wanted, rng=rng)
    if leak:
        return world
    labels = world.labels_n
    if world.groups_n is None:
        labels = rng.permutation(labels)
    else:
        codes = rng.integers(0, 2, int(world.groups_n.max()) + 1)
        labels = class_names(codes[world.groups_n], 2)
    return World(world.kind, world.acts_nd, labels, world.groups_n, None, "none", 0.0, "removed", "")


def measure(acts_nd: NDArray[np.float32], rows: ProbedArrays, seed: int) -> Measurement:
    """Measure the linear channel of one model's activations."""
    out = Measurement()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        measure_site(acts_nd, rows, Probing(seed, Margins(), 999, nonlinear=False), site=_SITE, placebos={}, out=out)
    return out


def draft_of(measured: Sequence[Measurement], rows: ProbedArrays) -> Draft:
    """The decided cell of one or several models on the same rows."""
    name = rows.attributes[0].name
    base = Draft("linear", name, "models", _SITE, margin=MARGIN)
    cell = planted_draft(base, [SITE_LEAKS.read(one, name, _SITE) for one in measured], "linear", rows.clusters)
    return decide_drafts([cell])[0]


def probed(world: World) -> ProbedArrays:
    """A world as the rows that are probed."""
    continuous = world.labels_n.dtype.kind == "f"
    levels = () if continuous else tuple(str(name) for name in np.unique(world.labels_n))
    codes = world.labels_n if continuous else np.unique(world.labels_n, return_inverse=True)[1]
    attribute = Attribute(
        "attribute", "protected", "continuous" if continuous else "binary" if len(levels) == 2 else "multiclass", levels, codes
    )
    clusters = np.arange(len(codes)) if world.groups_n is None else world.groups_n
    return ProbedArrays((attribute,), clusters)


def run_case(seed: int, setting: int, leak: float, index: int) -> dict[str, Any]:
    """Decide one case."""
    chosen = SETTINGS[setting]
    rng = stream(seed, "decisions", chosen.name, chosen.d, chosen.n, leak, index)
    world = make_case(chosen, leak, rng)
    rows = probed(world)
    return {"setting": setting, "leak": leak, "index": index, "state": draft_of([measure(world.acts_nd, rows, index)], rows).state}
