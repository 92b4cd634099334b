"""Proxies as estimates, from measurements made by hand: states, ranking, tables of their own, what is missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from proxyaudit.channels.proxies.estimate import estimate
from proxyaudit.channels.proxies.record import Attributions, Carried, Split, TableRecord, UnitCarried, UnitUse, UseRecord, write_use
from proxyaudit.data.attributes import Attribute
from proxyaudit.estimates.facts import Facts, Followed, Run
from proxyaudit.estimates.ledger import decide_ledger
from proxyaudit.estimates.record import Measurement, cell_key, write_record
from proxyaudit.recipe.recipe import Margins
from proxyaudit.seeding import stream
from proxyaudit.types import Estimate

COLUMNS = ("strong", "innocent", "unused")
N = 500
PAIR = "strong + innocent"


def influences(unit: str, size: float = 0.3) -> Any:
    return stream(0, unit).normal(size=N) * size / N


UNITS = {
    "strong": UnitCarried(Carried(0.4, 1e-4, 1e-9, 0.003)),
    "innocent": UnitCarried(Carried(0.001, 1e-6, 0.4, 0.003)),
    "unused": UnitCarried(Carried(0.3, 1e-4, 1e-9, 0.003)),
    PAIR: UnitCarried(Carried(0.5, 1e-4, 1e-9, 0.4), Carried(0.1, 1e-4, 1e-9, 0.002)),
}
TABLE = TableRecord(UNITS, N)


def inputs() -> Measurement:
    arrays = {cell_key("sex", unit, what): influences(unit) for unit in UNITS for what in ("association", "gain")}
    return Measurement({"association": {"sex": write_record(TABLE)}}, arrays)


def model(seed: int, table: TableRecord | None = None, missing: str | None = None) -> Measurement:
    units = {}
    for unit, size in {"strong": 0.1, "innocent": 0.3, "unused": 0.0001, PAIR: 0.35}.items():
        influence, total, through = (influences(f"{unit}{what}", size / 10) for what in ("influence", "total", "through"))
        if missing:
            units[unit] = UnitUse(size, influence, reason=missing)
        else:
            between = size / 2 if unit != "innocent" else 0.0
            units[unit] = UnitUse(size * (1 + 0.02 * seed), influence, between, total, size / 4, through, (0.001,) * 3)
    split = Split((0.6, 0.1, 0.3 + 0.01 * seed), 1.0, 0.0)
    attributions = Attributions(reason=missing) if missing else Attributions(200, COLUMNS, split, split)
    out = Measurement()
    write_use(out, "sex", UseRecord("penultimate", N, units, attributions))
    if table is not None:
        out.numbers["association"] = {"sex": write_record(table)}
    return out


def published(real: list[Measurement], vendor: list[Measurement]) -> dict[tuple[str, str, str | None], Estimate]:
    sex = Attribute("sex", "protected", "binary", ("f", "m"), np.arange(N) % 2)
    facts = Facts(
        attributes=(sex,),
        clusters_n=np.arange(N),
        people_n=np.arange(N),
        labels_n=np.arange(N) % 2,
        classes=("no", "yes"),
        followed={"sex": Followed(np.arange(N) % 2, ("f", "m"), 0)},
        sites=("penultimate",),
        verdict_sites=("penultimate",),
        unprofiled=(),
        margins=Margins(),
        runs=(
            Run("real", tuple(real), kind="real"),
            Run("vendor", tuple(vendor), kind="release"),
            Run("untrained", (model(0),), kind="untrained", is_reference=True),
        ),
        inputs=inputs(),
        pairs={"sex": (("strong", "innocent"),)},
        columns=COLUMNS,
    )
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
