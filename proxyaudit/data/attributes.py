"""Protected attributes and proxies as codes on the audit rows, with small groups kept out of sight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Bools, Floats, Ints
from proxyaudit.data.columns import OTHER, Column, ColumnKind, labels
from proxyaudit.data.public_counts import SMALLEST_CELL, count_people
from proxyaudit.errors import InputError
from proxyaudit.later import Later
from proxyaudit.types import NotTested, Role

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = Later("pandas")  # slow to load, and needless for commands that read evidence

# Fewer rows than this say next to nothing about a group, and a report may not show a cell below 11 people.
MIN_LEVEL_ROWS = 30
MAX_LEVELS = 30
MAX_DISCRETE_NUMBERS = 10
_OF_NUMBERS = (
    "a number is asked as its value, in quarters, and screened for its commonest values, narrow ranges, remainders by 2, 7 and 10 and "
    "round values; any other grouping is an attribute of its own"
)
_MOST_VALUES = 20  # numbers of so few values may be codes, and are asked value by value


@dataclass(frozen=True)
class Attribute:
    """One protected attribute or proxy on the audit rows."""

    name: str
    role: Role
    kind: Literal["binary", "multiclass", "continuous"]
    levels: tuple[str, ...]  # of the codes, sorted as text (bands from low to high); empty for a continuous attribute
    codes: NDArray[Any]  # (n_audit,) int64, -1 for missing or too rare; float64 with NaN when continuous
    parts: tuple[Attribute, ...] = ()  # of an intersection, the protected attributes that it combines
    cells: tuple[tuple[int, ...], ...] = ()  # of an intersection, each level's codes of its parts

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of a table that it is read from."""
        return tuple(part.name for part in self.parts) or (self.name,)

    def describe(self) -> dict[str, Any]:
        """What stands in a plan."""
        found = {"name": self.name, "role": self.role, "kind": self.kind, "levels": list(self.levels)}
        return {**found, "of": list(self.columns)} if self.parts else found

    @property
    def pools_levels(self) -> bool:
        """Whether there were so many levels that large ones were taken together too: nobody asks what tells those apart."""
        return OTHER in self.levels and len(self.levels) >= MAX_LEVELS

    @property
    def classes(self) -> int:
        """Number of classes; 0 for a continuous attribute."""
        return 0 if self.kind == "continuous" else len(self.levels)

    @property
    def known(self) -> Bools:
        """Rows on which the attribute is known, shape ``(n,)``."""
        if self.kind == "continuous":
            return np.isfinite(np.asarray(self.codes, dtype=np.float64))
        return np.asarray(self.codes) >= 0

    @property
    def rates(self) -> Floats:
        """Base rates of the classes among the rows on which the attribute is known, shape ``(classes,)``."""
        codes = np.asarray(self.codes)
        counts = np.bincount(codes[codes >= 0].astype(np.int64), minlength=self.classes)
        return np.asarray(counts / counts.sum(), dtype=np.float64)

    def groups(self) -> tuple[Ints, tuple[str, ...]]:
        """Group of each row (-1 where missing) and the group names; a continuous attribute is split at its median."""
        codes = np.asarray(self.codes)
        if self.kind != "continuous":
            return codes.astype(np.int64), self.levels
        known = np.isfinite(codes.astype(np.float64))
        above = codes > float(np.median(codes[known]))
        return np.where(known, above.astype(np.int64), -1).astype(np.int64), ("at or below the median", "above the median")

    def compared_groups(self, outcome_nc: Floats) -> tuple[Ints, tuple[str, str], int]:
        """The pair of groups that differs most in the mean outcome: ``(n,)`` of 0, 1 or -1, their names, and the output column followed."""
        coded, levels = self.groups()
        pairs = [(a, b) for a in range(len(levels)) for b in range(a + 1, len(levels))]
        nothing = np.full(outcome_nc.shape[1], np.nan)
        means = np.array([outcome_nc[coded == k].mean(axis=0) if (coded == k).any() else nothing for k in range(len(levels))])
        gaps = np.array([means[b] - means[a] for a, b in pairs])
        pair, output = np.unravel_index(int(np.nanargmax(np.abs(gaps))), gaps.shape)
        low, high = pairs[int(pair)]
        groups = np.where(coded == low, 0, np.where(coded == high, 1, -1)).astype(np.int64)
        return groups, (levels[low], levels[high]), int(output)

    def concept_columns(self) -> Floats:
        """Columns that an eraser removes: class indicators or the value; NaN where the attribute is missing."""
        codes = np.asarray(self.codes)
        if self.kind == "continuous":
            return np.asarray(codes.astype(np.float64)[:, None])
        columns: Floats = (codes[:, None] == np.arange(len(self.levels))[1:]).astype(np.float64)
        columns[codes < 0] = np.nan
        return columns


@dataclass(frozen=True)
class Followed:
    """What interventions compare: the same in every model, chosen from the true labels."""

    groups_n: Ints  # 0, 1 or -1 for neither
    names: tuple[str, str]
    output: int  # the output column that is followed


def code_attribute(
    column: Column, kind: ColumnKind, role: Role, *, distinct: int, where: str, fewest: int, groups: Column | None = None
) -> tuple[Attribute | None, tuple[NotTested, ...]]:
    """Code one attribute on the audit rows, ``(n_audit,)`` coerced values; returns it and notes on what was left out.

    Numbers with more than ``MAX_DISCRETE_NUMBERS`` ``distinct`` known values among all real rows are continuous. A level needs ``fewest``
    rows to be a group of its own and, where ``groups`` say whose each row is, eleven people as well. Where there are fewer than two groups
    a proxy has nothing to tell apart (``None``), and a protected attribute raises ``InputError``.
    """
    name = kind.name
    if distinct < 2:
        return nothing_to_tell(name, role, "has one value only" if distinct else "has no values", where)
    if kind.kind == "numeric" and distinct > MAX_DISCRETE_NUMBERS:
        values = column.to_numpy(dtype=np.float64).copy()
        known = values[~np.isnan(values)]
        if len(known) < fewest or np.ptp(known) == 0:
            return nothing_to_tell(name, role, "hardly varies in the audit rows", where)
        values.flags.writeable = False
        asked = (NotTested(what=f"{name}: other questions about its value", why=_OF_NUMBERS),) if role == "protected" else ()
        return Attribute(name, role, "continuous", (), values), (*asked, *_missing(name, bool(len(known) < len(values))))
    text = labels(column, where=where)
    kept, pooled = _keep_levels(text.dropna(), fewest, groups)
    levels = kind.in_order(kept)
    if len(levels) < 2:
        people = "" if groups is None else " and eleven people"
        return nothing_to_tell(name, role, f"has fewer than two groups of {fewest} audit rows{people}", where)
    # A missing value is no group: what being missing goes with is not what the attribute is.
    coded = text.where(~text.isin(pooled), OTHER) if pooled else text
    codes = pd.Index(levels).get_indexer(pd.Index(coded)).astype(np.int64)
    codes.flags.writeable = False
    notes = list(_missing(name, bool(text.isna().any())))
    if (codes[text.notna()] < 0).any():
        people = "" if groups is None else " or fewer than eleven people"
        why = f"fewer than {fewest} audit rows in each of them{people}; those rows take no part in this attribute's measures"
        notes.append(NotTested(what=f"{name}: rare levels", why=why))
    if OTHER in kept:
        why = f"rare levels, or more than {MAX_LEVELS}, were taken together as '{OTHER}'; what tells them apart was not asked"
        notes.append(NotTested(what=f"{name}: levels taken together", why=why))
    return Attribute(name, role, "binary" if len(levels) == 2 else "multiclass", levels, codes), tuple(notes)


def _missing(name: str, some: bool) -> tuple[NotTested, ...]:
    why = "those rows take no part in its measures; whether being missing itself can be read was not asked"
    return (NotTested(what=f"{name}: rows where it is missing", why=why),) if some else ()


def code_as(attribute: Attribute, column: Column, *, where: str) -> NDArray[Any]:
    """Code other rows of its column as :class:`Attribute` does, ``(n,)``: -1 (NaN for a number) where missing or of none of its levels."""
    if attribute.kind == "continuous":
        return column.to_numpy(dtype=np.float64).copy()
    text = labels(column, where=where)
    if OTHER in attribute.levels:
        text = text.where(text.isna() | text.isin(attribute.levels), OTHER)
    return pd.Index(attribute.levels).get_indexer(pd.Index(text)).astype(np.int64)


def codes_in(attribute: Attribute, frame: pd.DataFrame, *, where: str) -> NDArray[Any]:
    """:func:`code_as` for the rows of a table that holds its columns; of an intersection those of all its parts."""
    if not attribute.parts:
        return code_as(attribute, frame[attribute.name], where=where)
    each = [code_as(part, frame[part.name], where=where) for part in attribute.parts]
    found = np.full(len(frame), -1, dtype=np.int64)
    for level, cell in enumerate(attribute.cells):
        found[np.all([codes == code for codes, code in zip(each, cell, strict=True)], axis=0)] = level
    return found


def _keep_levels(text: Column, fewest: int, groups: Column | None) -> tuple[set[str], set[str]]:
    """Return the levels to code and those pooled into ``OTHER`` (empty where the pool is too small)."""
    counts = text.value_counts()
    ranked = sorted(counts.index, key=lambda level: (-int(counts[level]), level))
    large = [level for level in ranked if counts[level] >= fewest]
    if groups is not None:
        people = count_people(text, groups)
        large = [level for level in large if people[level] >= SMALLEST_CELL]
    if len(ranked) > MAX_LEVELS:
        large = sorted(large[: MAX_LEVELS - 1])
    rest = {level for level in ranked if level not in large}
    pool = text[text.isin(rest)]
    if len(pool) >= fewest and (groups is None or count_people(pool.where(pool.isna(), OTHER), groups).sum() >= SMALLEST_CELL):
        return {*large, OTHER}, rest
    return set(large), set()


def nothing_to_tell(name: str, role: Role, fault: str, where: str) -> tuple[None, tuple[NotTested, ...]]:
    """What is said of an attribute without two groups; ``InputError`` where it is protected."""
    if role == "protected":
        raise InputError(f"protected column '{name}' {fault}", where=where, mend="name a column with at least two groups, or use more rows")
    return None, (NotTested(what=f"proxy {name}", why=f"the column {fault}"),)


def ordered_codes(codes_n: Ints, classes: int) -> Ints:
    """Codes renumbered from the rarest class to the commonest: what a class is called must not matter."""
    counts = np.bincount(codes_n, minlength=classes)
    places = np.bincount(codes_n, weights=np.arange(len(codes_n)), minlength=classes)
    new = np.empty(classes, dtype=np.int64)
    new[np.lexsort((places, counts))] = np.arange(classes)
    return np.asarray(new[codes_n])


def cut_number(values_n: NDArray[Any]) -> Ints:
    """Codes of a number as classes: its values where they are few and none is rare, else its quarters."""
    values, codes, counts = np.unique(values_n, return_inverse=True, return_counts=True)
    if len(values) <= _MOST_VALUES and counts.min() >= MIN_LEVEL_ROWS:
        return np.asarray(codes, dtype=np.int64)
    edges = np.unique(np.quantile(values_n, (0.25, 0.5, 0.75)))
    return np.asarray(np.unique(np.searchsorted(edges, values_n), return_inverse=True)[1], dtype=np.int64)
