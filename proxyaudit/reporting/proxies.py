"""The section on proxies: which columns carry a protected attribute, how much each moves the output, and by which way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.reporting.sentences import REAL
from proxyaudit.reporting.text import DASH, interval, join_words, number, shorten
from proxyaudit.reporting.words import STATES
from proxyaudit.types import REFERENCES, Estimate

__all__ = ["PROXY_NOTE", "ProxyTable", "ProxyView", "proxy_views"]

PROXY_NOTE = (
    "A model that never sees an attribute can still act on it through columns that stand in for it. For each column: how much of the "
    "attribute it carries (0 nothing, 1 everything) in the real audit rows and in each synthetic table; how far the predicted "
    "probability moves when the column's value is replaced by another row's; the product of the two, by which the columns are ranked; "
    "and how much of what the column does between the groups runs through the attribute's own direction inside the model (the effect that "
    "is gone when that direction is held fixed; above 100 % where the rest works against it). Swapped rows need not occur in life, and "
    "no verdict rests on these figures."
)
_MOST, _NAMED = 8, 3
_CHANNELS = ("association", "pair_gain", "influence", "proxy_use", "path_total", "path", "path_share")


@dataclass(frozen=True)
class ProxyTable:
    """A table as text: header, rows of cells, and remarks below it."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProxyView:
    """Everything about the proxies of one attribute."""

    attribute: str
    answer: str
    tables: tuple[ProxyTable, ...]
    # Columns that surely both carry it and move the output, strongest first; and those followed into the model.
    strongest: tuple[str, ...] = ()
    followed: tuple[str, ...] = ()
    regimes: tuple[str, ...] = ()


Found = Mapping[tuple[str, str, str | None], Estimate]


def proxy_views(pack: EvidencePack) -> tuple[ProxyView, ...]:
    """Arrange the proxies of each attribute that has any. Pure; empty for packs of versions without them."""
    names = dict.fromkeys(e.attribute for e in pack.evidence.estimates if e.channel == "association" and e.attribute is not None)
    return tuple(_view(name, pack) for name in names)


def _view(name: str, pack: EvidencePack) -> ProxyView:
    mine = [e for e in pack.evidence.estimates if e.attribute == name]
    found: dict[tuple[str, str, str | None], Estimate] = {}
    for e in mine:
        if e.channel in _CHANNELS or e.channel.startswith("attribution_"):
            found.setdefault((e.channel, e.regime, e.context), e)
    regimes = [r for r in dict.fromkeys(regime for channel, regime, _ in found if channel == "proxy_use") if r not in REFERENCES]
    pairs = [str(unit) for channel, regime, unit in found if channel == "pair_gain" and regime == "inputs"]
    columns = [
        str(unit)
        for channel, regime, unit in found
        if (channel, regime) == ("association", "inputs") and unit is not None and unit not in pairs
    ]
    followed = [unit for unit in columns if any(("proxy_use", regime, unit) in found for regime in regimes)]
    followed.sort(key=lambda unit: (-_mean(found, "proxy_use", regimes, unit), unit))
    # Columns that were not followed carry little or move little; they close the first table.
    ordered = [*followed, *(unit for unit in columns if unit not in followed)][:_MOST]
    tables = [_carried(found, ordered, regimes, _discovered(pack.plan, name))]
    tables += [_used(found, followed[:_MOST], regime) for regime in regimes]
    if pairs:
        tables.append(_pairs(found, pairs, regimes))
    # Next steps speak of the data that can be made again: what only real training does with a column is in its table.
    made = [regime for regime in regimes if regime != REAL] or regimes
    strongest = _strongest(found, sorted(followed, key=lambda unit: (-_mean(found, "proxy_use", made, unit), unit)), made)
    shown = tuple(table for table in tables if table.rows or table.remarks)
    return ProxyView(name, _answer(name, strongest, _carriers(found, columns)), shown, strongest, tuple(followed[:_MOST]), tuple(regimes))


def _mean(found: Found, channel: str, regimes: Iterable[str], unit: str) -> float:
    values = [e.value for e in (found.get((channel, regime, unit)) for regime in regimes) if e is not None and e.value is not None]
    return sum(values) / len(values) if values else 0.0


def _strongest(found: Found, followed: list[str], regimes: list[str]) -> tuple[str, ...]:
    return tuple(
        unit
        for unit in followed
        if any((e := found.get(("proxy_use", regime, unit))) is not None and e.state == "present" for regime in regimes)
    )


def _carriers(found: Found, columns: list[str]) -> tuple[str, ...]:
    """Columns that surely carry the attribute in the real audit rows, strongest first, whatever they do to the outputs."""
    carried = {unit: found["association", "inputs", unit] for unit in columns}
    surely = [unit for unit, e in carried.items() if e.state == "present" and e.value is not None]
    return tuple(sorted(surely, key=lambda unit: (-(carried[unit].value or 0.0), unit)))


def _answer(name: str, used: tuple[str, ...], carriers: tuple[str, ...]) -> str:
    what, silent = f"“{shorten(name, 40)}”", [unit for unit in carriers if unit not in used]
    if used:
        said = f"Columns that surely both carry {what} and move the output, strongest first: {_listed(used)}."
        return f"{said} Carriers that do not surely move it: {_listed(silent)}." if silent else said
    said = f"No column was found that surely both carries {what} and moves the output."
    return f"{said} Columns that surely carry it: {_listed(silent)}." if silent else said


def _listed(units: Sequence[str]) -> str:
    more = [f"{len(units) - _NAMED} more"] if len(units) > _NAMED else []
    return join_words([*(f"“{shorten(unit, 40)}”" for unit in units[:_NAMED]), *more])


def _carried(found: Found, columns: list[str], regimes: list[str], discovered: list[str]) -> ProxyTable:
    tables = [regime for regime in regimes if any((channel, where) == ("association", regime) for channel, where, _ in found)]
    lacking = [(regime, found["association", regime, None].reason) for regime in tables if ("association", regime, None) in found]
    shown = [regime for regime in tables if regime not in {regime for regime, _ in lacking}]
    rows = tuple(
        (unit, *(_figure(found.get(("association", regime, unit)), state=True) for regime in ("inputs", *shown))) for unit in columns
    )
    remarks = [f"{regime}: {reason}." for regime, reason in lacking]
    if discovered:
        remarks.append(f"Found by this audit and probed like a declared proxy: {join_words(discovered)}.")
    return ProxyTable("How much of it each column carries", ("Column", "Real audit rows", *shown), rows, tuple(remarks))


def _used(found: Found, columns: list[str], regime: str) -> ProxyTable:
    order = sorted(columns, key=lambda unit: (-_mean(found, "proxy_use", [regime], unit), unit))
    header = (
        "Column",
        "Moves the output by",
        "Carries times moves",
        "Between the groups",
        "Of that through the direction",
        "Feeds the direction",
        "Feeds the output",
    )
    rows = tuple(
        (
            unit,
            _figure(found.get(("influence", regime, unit))),
            _figure(found.get(("proxy_use", regime, unit)), state=True, digits=4),
            _figure(found.get(("path_total", regime, unit))),
            _share(found.get(("path_share", regime, unit)), found.get(("path", regime, unit))),
            _percent(found.get(("attribution_direction", regime, unit))),
            _figure(found.get(("attribution_output", regime, unit))),
        )
        for unit in order
    )
    first = next((found["path_total", regime, unit] for unit in order if ("path_total", regime, unit) in found), None)
    remarks = [] if first is None or not first.group else [f"Groups compared: {first.group}."]
    if any(row[4].endswith("no share") for row in rows):
        remarks.append(
            "No share: the column's own effect between the groups is not clearly different from zero; the part through the direction."
        )
    reasons = {
        e.reason for (channel, where, unit), e in found.items() if where == regime and channel.startswith("attribution_") and unit is None
    }
    return ProxyTable(
        f"What each column does after training on {regime} data", header, rows, (*remarks, *sorted(f"{r}." for r in reasons if r))
    )


def _pairs(found: Found, pairs: list[str], regimes: list[str]) -> ProxyTable:
    header = ("Pair", "Carries together", "More than the better one alone", *(f"Carries times moves, {regime}" for regime in regimes))
    rows = tuple(
        (
            unit,
            _figure(found.get(("association", "inputs", unit))),
            _figure(found.get(("pair_gain", "inputs", unit)), state=True),
            *(_figure(found.get(("proxy_use", regime, unit)), state=True, digits=4) for regime in regimes),
        )
        for unit in pairs
    )
    return ProxyTable("Pairs of columns that tell more together", header, rows)


def _figure(e: Estimate | None, *, state: bool = False, digits: int = 3) -> str:
    if e is None or e.value is None:
        return DASH
    ends = (
        interval(e)
        if digits == 3
        else f"{number(e.low, digits)} to {number(e.high, digits)}"
        if e.low is not None and e.high is not None
        else ""
    )
    return number(e.value, digits) + (f" ({ends})" if ends else "") + (f", {' '.join(STATES[e.state])}" if state and e.state else "")


def _share(share: Estimate | None, part: Estimate | None) -> str:
    if share is not None and share.value is not None and share.low is not None and share.high is not None:
        return f"{_whole(share.value)} ({_whole(share.low)} to {_whole(share.high)})"
    return DASH if part is None or part.value is None else f"{_figure(part)}, no share"


def _percent(e: Estimate | None) -> str:
    return DASH if e is None or e.value is None else _whole(e.value)


def _whole(value: float) -> str:
    return f"{number(100 * value, 0)} %"


def _discovered(plan: Mapping[str, Any], attribute: str) -> list[str]:
    proxies = plan.get("proxies")
    entries = proxies.get("discovered", []) if isinstance(proxies, dict) else []
    return [str(entry.get("name")) for entry in entries if isinstance(entry, dict) and entry.get("of") == attribute]
