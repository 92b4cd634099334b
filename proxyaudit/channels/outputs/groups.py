"""Rates of the groups of every audited attribute, so that no number tells of fewer people than may be published.

What a group's own true labels tell of one another, the groups of another attribute tell as well, since both add up to everybody; and what
cells of an intersection hide, the attributes that it is made of tell. So beside a number that is too small to be told, others are left out.
Where a coarser intersection hides something, a finer one would tell it, so nothing is told of that.
"""

from collections.abc import Sequence
from functools import partial
from typing import Final

import numpy as np

from proxyaudit.arrays import Bools, Ints
from proxyaudit.data.attributes import Attribute
from proxyaudit.data.public_counts import SMALLEST_CELL
from proxyaudit.estimates.facts import Facts, Run
from proxyaudit.stats.selection_rates import Rate, hide_differences, rate_of
from proxyaudit.stats.suppression import few_cells, hidden_beside, hidden_cells

Rates = list[list[Rate | None]]
"""Of each group the rate of all its people, of those whose true label is the outcome, and of the others."""
_TABLES: Final = 3


def rates_of(facts: Facts, run: Run, chosen: Sequence[Bools], has_n: Bools) -> dict[str, Rates]:
    """Rates of every protected attribute and intersection, by name; ``has_n`` are the rows whose true label is the outcome."""
    found: dict[str, Rates] = {}
    told: dict[str, list[Ints]] = {}  # of each table the codes of the groups whose rate is told, -1 for the others
    tables = (np.ones(len(has_n), dtype=bool), has_n, ~has_n)
    for attribute in sorted(facts.audited, key=lambda one: len(one.columns)):
        codes, names = attribute.groups()
        if attribute.parts:
            hidden = _hidden_cells(facts, attribute, told, chosen, tables)
        else:
            hidden = [_hidden_groups(facts, attribute, chosen, rows) for rows in tables]
            hidden = [cells | _overlapping(facts, attribute, told, chosen, tables, k, cells) for k, cells in enumerate(hidden)]
        of = partial(rate_of, chosen, clusters_n=facts.clusters_n, people_n=facts.people_n, smallest=SMALLEST_CELL, places=run.places)
        rates: Rates = []
        for code in range(len(names)):
            own = [of(inside_n=rows & (codes == code)) for rows in tables]
            # Where the whole is left out, its parts would tell it. What few people make up says so by itself.
            hides = [code in cells or code in hidden[0] for cells in hidden]
            extra = [hide and rate is not None and not rate.few for hide, rate in zip(hides, own, strict=True)]
            shown = [
                of(inside_n=rows & (codes == code), hide=True) if hide else rate
                for rows, hide, rate in zip(tables, extra, own, strict=True)
            ]
            both = any(extra[1:]) and all(rate is not None and rate.few for rate in shown[1:])
            rates.append(shown if both or attribute.parts else hide_differences(shown[0], shown[1:]))
        found[attribute.name] = rates
        told[attribute.name] = []
        for k in range(_TABLES):
            whole = [code for code, own in enumerate(rates) if (rate := own[k]) is not None and not rate.few]
            told[attribute.name].append(np.where(np.isin(codes, whole), codes, -1))
    return {attribute.name: found[attribute.name] for attribute in facts.audited}


def _hidden_groups(facts: Facts, attribute: Attribute, chosen: Sequence[Bools], rows: Bools) -> set[int]:
    """Groups of an attribute that are not told, since another one's groups, all of them told, add up to the same people."""
    rows = rows & (attribute.groups()[0] >= 0)

    def inside(values: Ints) -> tuple[Ints, list[Bools], Ints]:
        return values[rows], [one[rows] for one in chosen], facts.people_n[rows]

    totals = []
    for other in facts.protected:
        codes = other.groups()[0]
        if other.name != attribute.name and not few_cells(*inside(codes), SMALLEST_CELL):
            totals.append(np.where(codes >= 0, 0, -1)[rows])
    own, picked, people = inside(attribute.groups()[0])
    return set(hidden_cells(own, totals, picked, people, SMALLEST_CELL)[0]) if totals else set()


def _overlapping(
    facts: Facts,
    attribute: Attribute,
    told: dict[str, list[Ints]],
    chosen: Sequence[Bools],
    tables: Sequence[Bools],
    k: int,
    hidden: set[int],
) -> set[int]:
    """Groups that are not told in the table ``k`` beside those of attributes before, which they may overlap in any way.

    Of intersections these are attributes that have another column.
    """
    codes, found = attribute.groups()[0], set(hidden)
    parts = {part.name for part in attribute.parts}
    for other in facts.audited:
        if other.name not in told or other.name in parts or (attribute.parts and set(other.columns) < set(attribute.columns)):
            continue
        rows = tables[k] & (codes >= 0) & (other.groups()[0] >= 0)
        own, picked, people = codes[rows], [one[rows] for one in chosen], facts.people_n[rows]
        untold = found | few_cells(own, picked, people, SMALLEST_CELL)
        found |= hidden_beside(np.where(np.isin(own, list(untold)), -1, own), told[other.name][k][rows], picked, people, SMALLEST_CELL)
    return found - hidden


def _hidden_cells(
    facts: Facts, attribute: Attribute, told: dict[str, list[Ints]], chosen: Sequence[Bools], tables: Sequence[Bools]
) -> list[set[int]]:
    """Cells of an intersection that are not told, of all people and by true label; by label none is, or all are."""
    codes, names = attribute.groups()
    beside = [one for one in facts.audited if one.name in told and set(one.columns) < set(attribute.columns)]
    if any(one.parts and not np.array_equal(told[one.name][0], one.groups()[0]) for one in beside):
        return [set(range(len(names)))] * _TABLES
    # Who has an unknown or rare level of a part belongs to no combination; that number is told by differences of rounded ones at most.
    known = np.all([np.asarray(part.codes) >= 0 for part in attribute.parts], axis=0)
    found = []
    for rows in (table & known for table in tables):
        totals = [told[one.name][0][rows] for one in beside]
        found.append(hidden_cells(codes[rows], totals, [one[rows] for one in chosen], facts.people_n[rows], SMALLEST_CELL))
    hidden = [set(cells) | _overlapping(facts, attribute, told, chosen, tables, k, set(cells)) for k, (cells, _) in enumerate(found)]
    by_label: set[int] = set(range(len(names))) if any(hidden[1:]) or any(outside for _, outside in found[1:]) else set()
    return [hidden[0], by_label, by_label]
