"""What training on real tables is said to have done to attributes that depend on nothing, and to placebos of a protected one."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from proxyaudit.activations.capture import capture
from proxyaudit.channels.placebos import plant_placebos
from proxyaudit.channels.prominence.measure import measure_site
from proxyaudit.data.attributes import Attribute
from proxyaudit.estimates.record import Measurement
from proxyaudit.models.training import train_model, untrained_model
from proxyaudit.pipeline.plan import prepare
from proxyaudit.pipeline.prepared import Prepared
from proxyaudit.recipe.recipe import parse_recipe
from proxyaudit.regimes import make_training_data
from proxyaudit.seeding import integer_seed, stream
from tests.helpers.training_worlds import SITE, changes
from tests.helpers.views import dataset_of
from tests.studies import real

TABLES = ("adult", "hmda", "cps1988")
COINS, PLACEBOS, MODELS = 20, 20, 5
_QUIET = ("not_present", "left_alone")


def run_case(seed: int, name: str, most: int) -> dict[str, Any]:
    """Train five default networks on a real table and say what that did to coins, and to placebos of a protected attribute."""
    torch.set_num_threads(1)
    table = next(one for one in real.BANK if one.name == name)
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = real.with_meaningless(table.rows(), seed, name, most)
        path = Path(folder) / "table.csv"
        rows.to_csv(path, index=False)
        prepared = prepare(parse_recipe({**real.recipe_of(table, path, seed), "regimes": ["real"]}), Path(folder))
        dataset, labels = prepared.dataset, prepared.audit_labels()
        x, n = dataset.encoder.features(dataset.audit), len(labels)
        first = dataset.attributes[0]
        copies = plant_placebos(x, dataset_of((first,), np.arange(n) % 3), labels, PLACEBOS, seed).get(first.name, np.zeros((n, 0)))
        coins = stream(seed, "randomised", name).integers(0, 2, (COINS, n))
        attributes = [Attribute(f"coin {k}", "protected", "binary", ("0", "1"), one) for k, one in enumerate(coins)]
        attributes += [Attribute(f"placebo {k}", "protected", first.kind, first.levels, one) for k, one in enumerate(copies.T)]
        count = prepared.recipe.references.placebos
        planted = plant_placebos(x, dataset_of(tuple(attributes), np.arange(n) % 3), labels, count, integer_seed(seed, "randomised"))
        found = changes(attributes, _measured(prepared, attributes, planted))
    told = [(a.name.split()[0], None if one is None else one[0]) for a, one in zip(attributes, found, strict=True)]
    return {
        "table": name,
        "audit_rows": n,
        "words": dict(Counter(one.word for kind, one in told if kind == "coin" and one is not None)),
        "placebos": sum(kind == "placebo" for kind, _ in told),
        "matched": sum(a.name in planted for a in attributes[COINS:]),
        "singled_out": sum(kind == "placebo" and one is not None and one.singled_out is True for kind, one in told),
    }


def _measured(prepared: Prepared, attributes: Sequence[Attribute], planted: Mapping[str, Any]) -> dict[str, list[Measurement]]:
    """Prominence of each attribute at the verdict site of each network, before and after training."""
    recipe, dataset, found = prepared.recipe, prepared.dataset, {"untrained": list[Measurement](), "real": list[Measurement]()}
    regime = prepared.regime("real")
    for number in range(MODELS):
        data = make_training_data(regime, dataset, {}, prepared.size, stream(recipe.seed, "training rows", "real", number))
        before = untrained_model(
            prepared.build(number),
            lambda: dataset.encoder.transform(dataset.train),
            recipe.model,
            integer_seed(recipe.seed, "model", number),
        )
        seed = integer_seed(recipe.seed, "training", number)
        after = train_model(prepared.build(number), data.x, data.y, data.weight, recipe.model, seed)
        for name, model in (("untrained", before), ("real", after)):
            acts = capture(model, prepared.audit_inputs(regime)).acts[prepared.model.verdict_sites[-1]]
            out = Measurement()
            about = {"site": SITE, "repetition": number, "placebos": dict(planted), "full": True}
            measure_site(acts, tuple(attributes), dataset.clusters, **about, out=out)
            found[name].append(out)
    return found


def table_of(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each table and one for all."""
    rows = []
    for name, own in [*((line["table"], [line]) for line in lines), ("all", list(lines))]:
        words = Counter[str]()
        for line in own:
            words.update(line["words"])
        coins = sum(words.values())
        changed = sum(count for word, count in words.items() if word not in _QUIET)
        singled, matched = (sum(int(line[key]) for line in own) for key in ("singled_out", "matched"))
        rows.append({"table": name, "coins": coins, "changed": changed, "placebos": matched, "singled out": singled})
    return rows
