"""Real rows made ready: brought to their kinds, the holdout beside them, split into training and audit rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from proxyaudit.arrays import Ints
from proxyaudit.data.columns import ColumnKind, coerce
from proxyaudit.data.sources import Roles, Source
from proxyaudit.data.splits import find_clusters, split_share, take_rows
from proxyaudit.data.tables import read_table, resolve_path
from proxyaudit.data.unseen import spelling_notes
from proxyaudit.digests import file_digest
from proxyaudit.errors import InputError
from proxyaudit.recipe.recipe import Recipe
from proxyaudit.seeding import stream
from proxyaudit.types import NotTested


def coerce_rows(table: pd.DataFrame, kinds: Mapping[str, ColumnKind], roles: Roles, where: str) -> tuple[pd.DataFrame, int]:
    """Bring raw real rows to their kinds and drop those without a target or text; returns the rows and how many were dropped.

    Raises:
        InputError: a value cannot be read as its column's kind, or no row has a target.
    """
    frame = pd.DataFrame({name: coerce(table[name], kind, where=where) for name, kind in kinds.items()})
    known = frame[roles.target].notna()
    if not known.any():
        raise InputError(f"target '{roles.target}' has no values", where=where, mend="choose another target")
    if roles.text is not None:
        known &= frame[roles.text].notna()
    return frame[known].reset_index(drop=True), int((~known).sum())


def read_holdout(
    recipe: Recipe, base: Path, source: Source, kinds: Mapping[str, ColumnKind], hashes: dict[str, str], notes: list[NotTested]
) -> pd.DataFrame | None:
    """Return the rows of ``data.holdout``, or None where there is none or it is the real file itself.

    Raises:
        InputError: the file cannot be read or lacks a column.
    """
    if recipe.data.holdout is None:
        return None
    path = resolve_path(recipe.data.holdout, base=base, what="data.holdout")
    hashes["holdout"] = file_digest(path)
    if hashes["holdout"] == hashes.get("data"):
        why = "data.holdout is the same file as the real rows; it was split, and the audit part is taken as unknown to every maker"
        notes.append(NotTested(what="rows apart from the real table", why=why))
        return None
    table = read_table(path, what="data.holdout")
    missing = [name for name in kinds if name not in table.columns]
    if missing:
        raise InputError(f"data.holdout lacks the column '{missing[0]}'", where=str(path), mend="it needs the columns of the real table")
    frame, dropped = coerce_rows(table, kinds, source.roles, str(path))
    notes.extend(spelling_notes(table, kinds, "data.holdout"))
    if dropped:
        what = "holdout rows without a target" if source.roles.text is None else "holdout rows without a target or without text"
        notes.append(NotTested(what=what, why="they were dropped"))
    return frame


def split_rows(
    recipe: Recipe, real: pd.DataFrame, other: pd.DataFrame | None, compared: list[str], source: Source, notes: list[NotTested]
) -> tuple[pd.DataFrame, pd.DataFrame, Ints]:
    """Return training rows, audit rows and the audit rows' clusters.

    ``other`` rows (of the holdout) then are the audit rows; copies are equal in the columns ``compared``; ``notes`` takes what was dropped
    or could not be told.

    Raises:
        InputError: there are too few clusters to split.
    """
    spec, group = recipe.data, source.roles.group
    everything = real if other is None else pd.concat([real, other], ignore_index=True)
    clusters = find_clusters(everything, compared, everything[group] if group else None, texts=source.roles.text is not None)
    if clusters.repeated and not clusters.copies:
        why = "the columns are too few or too coarse to tell people apart; equal rows count as different people"
        notes.append(NotTested(what="copies of one person's row", why=why))
    rows = np.arange(len(real))
    if spec.max_rows is not None and spec.max_rows < len(real):
        rows = rows[take_rows(clusters.ids[rows], spec.max_rows, stream(recipe.seed, "split", "max_rows"))]
        why = "the recipe asks for at most that many (data.max_rows)"
        notes.append(NotTested(what=f"real rows beyond the first {spec.max_rows} drawn", why=why))
        if not len(rows):
            what = "data.max_rows is smaller than each group of rows that belong together"
            raise InputError(what, where="data.max_rows", mend="raise it")
    if other is None:
        chosen = split_share(clusters.ids[rows], spec.audit_share, stream(recipe.seed, "split", "audit"))
        train_rows, audit_rows = rows[~chosen], rows[chosen]
    else:
        audit_rows = np.arange(len(real), len(everything))
        shared = np.isin(clusters.ids[rows], clusters.ids[audit_rows])
        train_rows = rows[~shared]
        if shared.any():
            why = "they were dropped from training (equal row or same group)"
            notes.append(NotTested(what="training rows that belong to the holdout too", why=why))
    audit_clusters = clusters.of(audit_rows)
    if not len(train_rows) or audit_clusters.max(initial=-1) < 2:
        what = "too few separate rows or groups to split into training and audit rows"
        raise InputError(what, where=source.where, mend="use more rows, or drop data.group")
    return everything.iloc[train_rows].reset_index(drop=True), everything.iloc[audit_rows].reset_index(drop=True), audit_clusters
