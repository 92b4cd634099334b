"""Proxies of many levels are read on part of the audit rows: plants of each level take as long as an attribute of two.

A column like a neighborhood has thirty levels, and a fraction of the rows tells surely whether it can be read. Protected attributes are
always read on all rows.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

import numpy as np

from proxyaudit.arrays import Ints
from proxyaudit.data.attributes import Attribute
from proxyaudit.data.public_counts import public_count
from proxyaudit.data.splits import take_rows
from proxyaudit.seeding import stream
from proxyaudit.types import NotTested

_CELLS: Final = 120_000  # rows times levels
_OF_THE_RAREST: Final = 40  # rows of the rarest level that are expected at least


def most_rows(attribute: Attribute) -> int:
    """Rows that an attribute is read on at most."""
    if attribute.role != "proxy" or attribute.classes <= 2:
        return len(attribute.codes)
    return min(len(attribute.codes), max(_CELLS // attribute.classes, int(_OF_THE_RAREST / attribute.rates.min())))


def on_fewer_rows(attribute: Attribute, clusters_n: Ints, root: int) -> Attribute:
    """The attribute as unknown on what lies beyond its most rows: whole clusters, the same at every site and in every model.

    One of which a level would lose nearly all of its rows is left as it is.
    """
    known, most = attribute.known, most_rows(attribute)
    if int(known.sum()) <= most:
        return attribute
    rows = np.flatnonzero(known)
    kept = rows[take_rows(clusters_n[rows], most, stream(root, "rows of many levels", attribute.name))]
    codes = np.full_like(np.asarray(attribute.codes), -1)
    codes[kept] = attribute.codes[kept]
    counts = np.bincount(codes[kept], minlength=attribute.classes)
    # Where clusters are large, a level may lie in those that were not drawn.
    return attribute if counts.min() < _OF_THE_RAREST / 2 else replace(attribute, codes=codes)


def fewer_rows_notes(attributes: Iterable[Attribute]) -> list[NotTested]:
    """Which proxies are read on part of the rows."""
    found = []
    for one in attributes:
        if int(one.known.sum()) > (most := most_rows(one)):
            why = f"it has {one.classes} levels, so it is read on about {public_count(most):,} of them; 'effort: everything' reads all"
            found.append(NotTested(what=f"{one.name}: leaks on all audit rows", why=why))
    return found
