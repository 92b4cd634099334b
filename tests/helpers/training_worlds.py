"""Networks trained on data where an attribute is needed for the task, is not, or goes with the label the other way round.

What training did is known by construction: a network that needs the feature makes it more prominent than it was before, whichever way it
points, and one that does not suppresses it. Where half of the rows are synthetic and say the opposite of the real half, little is left to
gain from it: how far it is suppressed is not known, only that it is not amplified.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from proxyaudit.channels.placebos import plant_placebos
from proxyaudit.channels.prominence.estimate import estimate
from proxyaudit.channels.prominence.measure import measure_site
from proxyaudit.data.attributes import Attribute
from proxyaudit.estimates.conclude import conclude
from proxyaudit.estimates.facts import Facts, Run
from proxyaudit.estimates.ledger import decide_ledger
from proxyaudit.estimates.record import Measurement
from proxyaudit.estimates.scope import Scope
from proxyaudit.recipe.recipe import Margins
from proxyaudit.seeding import integer_seed, stream
from proxyaudit.types import Training
from tests.helpers.views import dataset_of

EXPECTED = {"relevant": "amplified", "irrelevant": "suppressed", "opposite": "amplified", "cancelling": "suppressed"}
WRONG = {"amplified": "suppressed", "suppressed": "amplified"}
_NEEDS = {"relevant": (1.5,), "irrelevant": (0.0,), "opposite": (-1.5,), "cancelling": (0.5, -0.5)}  # of each part of the training rows
COLUMNS, HIDDEN, SITE = 8, (32, 16), "penultimate"


@dataclass(frozen=True)
class Answer:
    """What the audit said of the attribute and of attributes that are coins, with the log ratio behind it."""

    word: str
    gain: float
    singled_out: bool | None
    coins: tuple[str, ...]


def rows(n: int, needs: float, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Inputs of which the first two stand for the attribute, labels that need it so much, and the attribute."""
    a = rng.integers(0, 2, n)
    x = rng.normal(size=(n, COLUMNS))
    x[:, :2] += np.where(a == 1, 1.0, -1.0)[:, None]
    logit = x[:, 2] + x[:, 3] * x[:, 4] - x[:, 5] + needs * (x[:, 0] + x[:, 1])
    return x.astype(np.float32), (logit + rng.logistic(size=n) > 0).astype(np.int64), a


def training_rows(kind: str, n: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Training rows of a world, of its parts in turn."""
    parts = [rows(n // len(_NEEDS[kind]), needs, rng) for needs in _NEEDS[kind]]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    first, second = HIDDEN
    return nn.Sequential(nn.Linear(COLUMNS, first), nn.ReLU(), nn.Linear(first, second), nn.ReLU(), nn.Linear(second, 2))


def trained(net: nn.Sequential, x: NDArray[np.float32], y: NDArray[np.int64], epochs: int, seed: int) -> nn.Sequential:
    optimiser, order = torch.optim.Adam(net.parameters(), lr=0.005), torch.Generator().manual_seed(seed)
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y)
    for _ in range(epochs):
        for batch in torch.randperm(len(x), generator=order).split(128):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(inputs[batch]), labels[batch]).backward()
            optimiser.step()
    return net


def audit(kind: str, seed: int, *, models: int = 5, n: int = 8000, epochs: int = 6, coins: int = 7, placebos: int = 0) -> Answer:
    """Train the networks of a world and say what training did."""
    x, y, a = rows(n, abs(_NEEDS[kind][0]), stream(seed, "audit rows", kind))
    codes = [a, *stream(seed, "coins", kind).integers(0, 2, (coins, n))]
    attributes = tuple(Attribute(f"a{k}", "protected", "binary", ("0", "1"), one) for k, one in enumerate(codes))
    planted = plant_placebos(x, dataset_of(attributes[:1], np.arange(n) % 3), y, placebos, seed) if placebos else {}
    runs: dict[str, list[Measurement]] = {"untrained": [], "real": []}
    for number in range(models):
        data = training_rows(kind, n, stream(seed, "training rows", kind, number))
        for regime, measured in runs.items():
            net = network(integer_seed(seed, "model", number))
            if regime == "real":
                trained(net, *data, epochs, integer_seed(seed, "training", number))
            with torch.no_grad():
                acts = net[:4](torch.from_numpy(x)).numpy()
            measured.append(Measurement())
            about = {"site": SITE, "repetition": number, "placebos": planted, "full": True}
            measure_site(acts, attributes, np.arange(n), **about, out=measured[-1])
    first, *others = changes(attributes, runs)
    assert first is not None
    return Answer(first[0].word, first[1], first[0].singled_out, tuple(one[0].word for one in others if one is not None))


def changes(attributes: Sequence[Attribute], runs: Mapping[str, Sequence[Measurement]]) -> list[tuple[Training, float] | None]:
    """What training did to each attribute, with the log ratio behind it, by what was measured of networks ``untrained`` and ``real``."""
    n, names = len(attributes[0].codes), [a.name for a in attributes]
    found = tuple(Run(regime, tuple(measured), is_reference=regime == "untrained") for regime, measured in runs.items())
    facts = Facts(tuple(attributes), np.arange(n), np.arange(n), (SITE,), (SITE,), Margins(), found)
    scope = Scope("outputs", dict.fromkeys(names, "protected"), ("real",), (SITE,), (SITE,), "real", "untrained")
    ledger = decide_ledger(estimate(facts), roles=scope.roles)
    gains = {e.id: float(e.value or 0.0) for e in ledger.estimates}
    told = {f.attribute: f.training for f in conclude(ledger.estimates, ledger.controls, scope)}
    return [None if (one := told[name]) is None else (one, gains.get(str(one.gain), 0.0)) for name in names]
