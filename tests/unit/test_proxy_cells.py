"""Proxies as estimates, from measurements made by hand: states, ranking, tables of their own, what is missing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from proxyaudit.causal.columns import settle_cells
from proxyaudit.channels.proxies.estimate import add_proxies
from proxyaudit.channels.proxy_plan import ProxyPlan
from proxyaudit.data.attributes import Attribute
from proxyaudit.estimates.facts import Run
from proxyaudit.estimates.ledger import Ledger
from proxyaudit.estimates.record import Measurement, cell_key
from proxyaudit.recipe.recipe import Margins
from proxyaudit.seeding import stream
from proxyaudit.types import Estimate

N = 500
PAIR = "strong + innocent"


def influences(unit: str, size: float = 0.3) -> Any:
    return stream(0, unit).normal(size=N) * size / N


def inputs() -> Measurement:
    units = {
        "strong": {"association": {"value": 0.4, "variance": 1e-4, "p": 1e-9, "null_high": 0.003}},
        "innocent": {"association": {"value": 0.001, "variance": 1e-6, "p": 0.4, "null_high": 0.003}},
        "unused": {"association": {"value": 0.3, "variance": 1e-4, "p": 1e-9, "null_high": 0.003}},
        PAIR: {
            "association": {"value": 0.5, "variance": 1e-4, "p": 1e-9, "null_high": 0.4},
            "gain": {"value": 0.1, "variance": 1e-4, "p": 1e-9, "null_high": 0.002},
        },
    }
    arrays = {cell_key("sex", unit, what): influences(unit) for unit, found in units.items() for what in found}
    return Measurement({"association": {"sex": {"n": N, "units": units}}}, arrays)


def model(seed: int, table: dict[str, Any] | None = None, missing: str | None = None) -> Measurement:
    moves = {"strong": 0.1, "innocent": 0.3, "unused": 0.0001, PAIR: 0.35}
    units: dict[str, dict[str, Any]] = {}
    arrays = {}
    for unit, size in moves.items():
        units[unit] = {
            "influence": size * (1 + 0.02 * seed),
            "total": size / 2 if unit != "innocent" else 0.0,
            "through": size / 4,
            "random": [0.001] * 3,
        }
        if missing:
            units[unit] = {"influence": size, "reason": missing}
        arrays |= {cell_key("sex", unit, what): influences(f"{unit}{what}", size / 10) for what in ("influence", "total", "through")}
    split = {"columns": [0.6, 0.1, 0.3 + 0.01 * seed], "difference": 1.0, "incomplete": 0.0}
    attribution = {"reason": missing} if missing else {"rows": 200, "direction": split, "output": split}
    numbers: dict[str, Any] = {"proxy use": {"sex": {"units": units, "rows": N, "site": "penultimate", "attribution": attribution}}}
    if table is not None:
        numbers["association"] = {"sex": table}
    return Measurement(numbers, arrays)


def published(real: list[Measurement], vendor: list[Measurement]) -> dict[tuple[str, str, str | None], Estimate]:
    columns = ("strong", "innocent", "unused")
    frame = pd.DataFrame({name: np.arange(N) % 7 for name in columns})
    cells = {name: settle_cells(frame[name], "numeric") for name in columns}
    regimes = [SimpleNamespace(name=name, is_reference=name == "untrained", kind=name) for name in ("real", "vendor", "untrained")]
    runs = {"real": Run("real", tuple(real)), "vendor": Run("vendor", tuple(vendor)), "untrained": Run("untrained", (model(0),))}
    sex = Attribute("sex", "protected", "binary", ("f", "m"), np.arange(N) % 2)
    assembler = SimpleNamespace(
        dataset=SimpleNamespace(attributes=(sex,), audit=frame, group=None),
        prepared=SimpleNamespace(proxies=ProxyPlan(columns, {"sex": (("strong", "innocent"),)}, cells, ()), regimes=regimes),
        inputs=inputs(),
        runs=runs,
        clusters=np.arange(N),
        margins=Margins(),
        followed={"sex": (np.arange(N) % 2, ("f", "m"), 0)},
        ledger=Ledger(),
    )
    add_proxies(assembler)  # type: ignore[arg-type]
    return {(e.channel, e.regime, e.context): e for e in assembler.ledger.estimates}


@pytest.fixture(scope="module")
def found() -> dict[tuple[str, str, str | None], Estimate]:
    own = inputs().numbers["association"]["sex"]
    return published([model(0), model(1), model(2)], [model(0, own), model(1)])


def test_a_proxy_in_use_carries_and_moves_each_above_its_margin(found):
    assert found["association", "inputs", "strong"].state == "present"
    assert found["association", "inputs", "innocent"].state == "unknown"
    states = {unit: found["proxy_use", "real", unit].state for unit in ("strong", "innocent", "unused", PAIR)}
    assert states == {"strong": "present", "innocent": "unknown", "unused": "absent", PAIR: "present"}
    product = found["proxy_use", "real", "strong"]
    assert product.value == pytest.approx(0.4 * 0.102, abs=1e-4)
    assert product.low < product.value < product.high
    assert product.seeds == 3


def test_the_path_has_a_share_where_there_is_something_to_share(found):
    share = found["path_share", "real", "strong"]
    assert share.value == pytest.approx(0.5, abs=0.01)
    assert share.low < 0.5 < share.high
    assert found["path_share", "real", "innocent"].value is None
    assert "not clearly different" in found["path_share", "real", "innocent"].reason
    assert found["path", "real", "strong"].null_high == pytest.approx(0.001)


def test_a_release_is_one_table_and_random_weights_stand_beside(found):
    """The release has one table for all repetitions: its interval is that of its rows."""
    assert found["association", "vendor", "strong"].state == "present"
    assert found["association", "vendor", "strong"].low == pytest.approx(0.4 - 1.96 * 0.01, abs=0.001)
    assert not [key for key in found if key[:2] == ("association", "real")]
    assert {channel for channel, regime, _ in found if regime == "untrained"} == {"influence"}


def test_attributions_are_shares_over_repetitions(found):
    assert found["attribution_direction", "real", "strong"].value == pytest.approx(0.6)
    assert found["attribution_direction", "real", "unused"].low < 0.31 < found["attribution_direction", "real", "unused"].high
    assert ("attribution_direction", "real", PAIR) not in found


def test_what_is_missing_has_a_reason():
    lacking = published([model(0, missing="no path here")], [model(0, {"reason": "the table does not hold the attribute"})])
    assert "does not hold" in lacking["association", "vendor", None].reason
    assert lacking["path", "real", "strong"].reason == "no path here"
    assert ("path_total", "real", "strong") not in lacking
    assert lacking["attribution_output", "real", None].reason == "no path here"
    failed = published([], [])
    assert ("proxy_use", "real", "strong") not in failed
    assert failed["association", "inputs", "strong"].state == "present"
