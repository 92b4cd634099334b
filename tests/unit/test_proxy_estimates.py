"""Proxies as estimates, from measurements made by hand: states, ranking, tables of their own, what is missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from views import facts_of

from proxyaudit.causal.proxy_use import Attribution, Number
from proxyaudit.channels.proxies.estimate import estimate
from proxyaudit.channels.proxies.record import (
    TABLES,
    USES,
    Attributions,
    Carried,
    TableRecord,
    UnitCarried,
    UnitUse,
    UseRecord,
)
from proxyaudit.data.attributes import Attribute, Followed
from proxyaudit.estimates.facts import Run
from proxyaudit.estimates.ledger import decide_ledger
from proxyaudit.estimates.record import Measurement
from proxyaudit.seeding import stream
from proxyaudit.types import Estimate

COLUMNS = ("strong", "innocent", "unused")
N = 500
PAIR = "strong + innocent"


def influences(unit: str, size: float = 0.3) -> Any:
    return stream(0, unit).normal(size=N) * size / N


def carried(unit: str, value: float, variance: float, p: float, null_high: float) -> Carried:
    return Carried(value, variance, p, null_high, influences(unit))


UNITS = {
    "strong": UnitCarried(carried("strong", 0.4, 1e-4, 1e-9, 0.003)),
    "innocent": UnitCarried(carried("innocent", 0.001, 1e-6, 0.4, 0.003)),
    "unused": UnitCarried(carried("unused", 0.3, 1e-4, 1e-9, 0.003)),
    PAIR: UnitCarried(carried(PAIR, 0.5, 1e-4, 1e-9, 0.4), carried(PAIR, 0.1, 1e-4, 1e-9, 0.002)),
}
TABLE = TableRecord(UNITS, N)


def inputs() -> Measurement:
    out = Measurement()
    TABLES.write(out, TABLE, "sex")
    return out


def model(seed: int, table: TableRecord | None = None, missing: str | None = None) -> Measurement:
    units = {}
    for unit, size in {"strong": 0.1, "innocent": 0.3, "unused": 0.0001, PAIR: 0.35}.items():

        def number(what: str, value: float, unit: str = unit, size: float = size) -> Number:
            return Number(value, influences(f"{unit}{what}", size / 10))

        if missing:
            units[unit] = UnitUse(number("influence", size), reason=missing)
        else:
            total = number("total", size / 2 if unit != "innocent" else 0.0)
            moved = number("influence", size * (1 + 0.02 * seed))
            units[unit] = UnitUse(moved, total, number("through", size / 4), (0.001,) * 3)
    split = Attribution(np.array([0.6, 0.1, 0.3 + 0.01 * seed]), 1.0, 0.0)
    attributions = Attributions(reason=missing) if missing else Attributions(200, COLUMNS, split, split)
    out = Measurement()
    USES.write(out, UseRecord("penultimate", N, units, attributions), "sex")
    if table is not None:
        TABLES.write(out, table, "sex")
    return out


def published(real: list[Measurement], vendor: list[Measurement]) -> dict[tuple[str, str, str | None], Estimate]:
    sex = Attribute("sex", "protected", "binary", ("f", "m"), np.arange(N) % 2)
    runs = (
        Run("real", tuple(real), kind="real"),
        Run("vendor", tuple(vendor), kind="release"),
        Run("untrained", (model(0),), kind="untrained", is_reference=True),
    )
    followed = {"sex": Followed(np.arange(N) % 2, ("f", "m"), 0)}
    facts = facts_of((sex,), runs, followed, inputs=inputs(), pairs={"sex": (("strong", "innocent"),)})
    estimates = decide_ledger(estimate(facts)).estimates
    assert all((e.measure, e.subject) == (e.channel, e.context) for e in estimates)
    return {(e.channel, e.regime, e.subject): e for e in estimates}


@pytest.fixture(scope="module")
def found() -> dict[tuple[str, str, str | None], Estimate]:
    return published([model(0), model(1), model(2)], [model(0, TABLE), model(1)])


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
    lacking = published([model(0, missing="no path here")], [model(0, TableRecord(reason="the table does not hold the attribute"))])
    assert "does not hold" in lacking["association", "vendor", None].reason
    assert lacking["path", "real", "strong"].reason == "no path here"
    assert ("path_total", "real", "strong") not in lacking
    assert lacking["attribution_output", "real", None].reason == "no path here"
    failed = published([], [])
    assert ("proxy_use", "real", "strong") not in failed
    assert failed["association", "inputs", "strong"].state == "present"
