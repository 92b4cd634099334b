"""Tables over tables, and rows of one person over time: brought to one row for each person before anything else is asked of them.

A second table is summed up by a key beside the row that has it (``data.join``). Where ``data.order`` says how the rows of one
``data.group`` follow one another, the last of them stands for the person, with what ``data.pool`` keeps of the others.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import pandas as pd
from pandas.api import types

from proxyaudit.data.columns import Column, coerce, infer_kind, labels, one_spelling, spellings_of
from proxyaudit.data.faults import Faults, NoNumbers
from proxyaudit.data.identifiers import find_identifiers
from proxyaudit.data.public_counts import count_words, share_words
from proxyaudit.errors import did_you_mean
from proxyaudit.recipe.tables import NUMERIC_ONLY, JoinSpec, Statistic, made_name

_OF_NUMBERS: Final[tuple[Statistic, ...]] = ("mean",)  # what is kept of numbers where nothing is said
_MOST_NAMED: Final = 8
_MOST_LEVELS: Final = 10  # of a column that is a number and yet a word for a group of people


@dataclass(frozen=True)
class Histories:
    """What makes one row of several. ``roles`` are never pooled; of ``fixed`` columns a person has one value."""

    group: str | None = None
    order: str | None = None
    pool: Mapping[str, Sequence[Statistic]] | None = None
    roles: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    joins: tuple[JoinSpec, ...] = ()
    means: tuple[str, ...] | None = None  # columns of which other tables need a mean, since the real one has it
    tables: tuple[pd.DataFrame, ...] = field(default=(), repr=False)  # what is joined, one for each; none where nothing can be

    def settle(self, frame: pd.DataFrame, faults: Faults, remarks: list[tuple[str, str]]) -> pd.DataFrame:
        """One row for each person; what cannot be done is noted in ``faults`` and left undone, what was done told in ``remarks``."""
        for spec, table in zip(self.joins, self.tables, strict=False):
            frame = _join(frame, spec, table, self.roles, faults, remarks)
        return frame if self.order is None else self._pool(frame, faults, remarks)

    def like(self, columns: Iterable[str]) -> "Histories":
        """The same for other tables, of which the model wants the ``columns``, whether or not their numbers vary within a person."""
        if self.order is None or self.pool is not None:
            return self
        starts = made_name("mean", "")
        return replace(self, means=tuple(name.removeprefix(starts) for name in columns if name.startswith(starts)))

    def made(self, columns: Iterable[str]) -> frozenset[str]:
        """Names of the columns that may be made of a table with such ``columns``."""
        pooled = dict.fromkeys(columns, _OF_NUMBERS) if self.pool is None else self.pool
        found = {made_name(one, name) for name, wanted in pooled.items() for one in wanted} if self.order is not None else set()
        return frozenset(found | self._joined | {_rows_of(self.group)})

    @property
    def _joined(self) -> set[str]:
        return {spec.made(name, one) for spec in self.joins for name, wanted in spec.columns.items() for one in wanted}

    def _pool(self, frame: pd.DataFrame, faults: Faults, remarks: list[tuple[str, str]]) -> pd.DataFrame:
        group, order = str(self.group), str(self.order)
        lacking = [name for name in (group, order) if name not in frame.columns]
        if lacking and _rows_of(group) in frame.columns:
            return frame.drop(columns=[order], errors="ignore")  # one row for each person already
        for name in lacking:
            mend = did_you_mean(
                name, list(map(str, frame.columns)), "data.group and data.order name columns of every table with rows to pool"
            )
            faults.add(f"{faults.table}: column '{name}' is missing", mend)
        if lacking:
            return frame
        when = _moments(frame[order])
        if when is None or when.isna().any():
            what = "holds neither numbers nor dates" if when is None else f"is empty in {count_words(int(when.isna().sum()))} rows"
            faults.add(f"{faults.table}: column '{order}' (order) {what}", "give each row a number or a date such as 2026-01-31")
            return frame
        whose = labels(frame[group])
        codes = pd.factorize(whose)[0]
        codes = np.where(codes < 0, codes.max(initial=-1) + 1 + np.cumsum(codes < 0), codes)
        place = np.lexsort((np.arange(len(frame)), when.to_numpy(), codes))
        ordered, sorted_codes = frame.iloc[place].reset_index(drop=True), codes[place]
        last = np.flatnonzero(np.append(sorted_codes[1:] != sorted_codes[:-1], True))
        self._check_fixed(ordered, sorted_codes, faults)
        made = dict(self._statistics(ordered, sorted_codes, faults))
        counts = np.diff(np.append(-1, last))
        people = ordered.iloc[last].reset_index(drop=True).drop(columns=[order])
        for name in self.fixed:
            if name in people.columns:
                people[name] = ordered[name].groupby(sorted_codes).last().to_numpy()  # the last that is known
        made[_rows_of(group)] = pd.Series(counts)
        people = _with_made(people, made, faults)
        same = int((np.asarray(when)[place][1:] == np.asarray(when)[place][:-1])[sorted_codes[1:] == sorted_codes[:-1]].sum())
        why = f"data.order asks for one row for each '{group}': the last by '{order}', beside it {', '.join(list(made)[:_MOST_NAMED])}"
        remarks.append((f"rows of one '{group}' one by one", why + (", ..." if len(made) > _MOST_NAMED else "")))
        if same:
            why = f"{count_words(same)} rows have the same '{order}' as another row of the same '{group}'; they stay as the file has them"
            remarks.append((f"which of some rows of one '{group}' came first", why))
        return people

    def _check_fixed(self, ordered: pd.DataFrame, codes_n: np.ndarray, faults: Faults) -> None:
        for name in self.fixed:
            if name not in ordered.columns:
                continue
            column = ordered[name]
            if _is_number(column) and column.nunique() > _MOST_LEVELS:
                continue  # an age grows: the last one counts
            text = labels(column)
            several = int((one_spelling(text, spellings_of(text)).groupby(codes_n).nunique() > 1).sum())
            if several:
                share = share_words(several, len(np.unique(codes_n)))
                what = f"{faults.table}: column '{name}' changes within one '{self.group}' ({share} of them)"
                faults.add(what, "give each person one value, or remove data.order, so that every row is audited by itself")

    def _statistics(self, ordered: pd.DataFrame, codes_n: np.ndarray, faults: Faults) -> Iterator[tuple[str, Column]]:
        names = [str(name) for name in ordered.columns]
        for name in self.pool or {}:
            if name not in names:
                mend = did_you_mean(name, names, f"the columns are {', '.join(names[:20])}")
                faults.add(f"{faults.table}: data.pool names '{name}', which cannot be pooled", mend)
            elif name in (*self.roles, self.order):
                # A mean of earlier targets, or of what the model is not to see, would be an input.
                what = f"{faults.table}: data.pool names '{name}', of which the model gets nothing but the last value, if that"
                faults.add(what, "leave it out of data.pool")
        wanted = self.pool or dict.fromkeys(self._to_mean(ordered, codes_n) if self.pool is None else (), _OF_NUMBERS)
        for name in names:
            for statistic in wanted.get(name, ()) if name not in (*self.roles, self.order) else ():
                if statistic != "last" and _fits(statistic, ordered[name], name, faults):
                    yield made_name(statistic, name), summed_up(ordered[name], codes_n, statistic)

    def _to_mean(self, ordered: pd.DataFrame, codes_n: np.ndarray) -> Sequence[str]:
        return self._vary(ordered, codes_n) if self.means is None else self.means

    def _vary(self, ordered: pd.DataFrame, codes_n: np.ndarray) -> list[str]:
        """Columns of numbers of which a mean says more than the last value, those that name rows apart."""
        asked = [str(name) for name in ordered.columns if name not in self._joined and _is_number(ordered[name])]
        vary = ordered[asked].groupby(codes_n).nunique().max() > 1 if asked else pd.Series(dtype=bool)
        return [name for name in asked if vary[name] and name not in find_identifiers(ordered, asked)]


def _rows_of(group: str | None) -> str:
    return f"rows of {group}"


def _join(
    frame: pd.DataFrame, spec: JoinSpec, table: pd.DataFrame, roles: tuple[str, ...], faults: Faults, remarks: list[tuple[str, str]]
) -> pd.DataFrame:
    """The frame with columns that sum up the rows of a second table, by key; a key without a role is dropped."""
    if spec.key not in frame.columns:
        mend = did_you_mean(spec.key, list(map(str, frame.columns)), "'key' is a column of both tables")
        faults.add(f"{faults.table}: column '{spec.key}' (key of data.join) is missing", mend)
        return frame
    keys = labels(table[spec.there])
    known = keys.notna().to_numpy()
    codes, levels = pd.factorize(keys[known])
    place = pd.Index(levels).get_indexer(labels(frame[spec.key]).fillna("\0"))
    made: dict[str, Column] = {}
    for name, wanted in spec.columns.items():
        for statistic in wanted:
            values = summed_up(table.loc[known, name].reset_index(drop=True), codes, statistic)
            found = values.reindex(place).reset_index(drop=True)
            # Who has no rows there has none of them; what a mean of none is nobody knows.
            made[spec.made(name, statistic)] = found.fillna(0) if statistic in ("count", "distinct") else found
    none = int((place < 0).sum())
    if none == len(frame):
        faults.add(f"{faults.table}: no value of '{spec.key}' is in the table that data.join names", "write keys alike in both tables")
        return frame
    if none:
        why = f"{share_words(none, len(frame))} of the rows have no row there; counts are 0 for them, everything else is empty"
        remarks.append((f"what the joined table holds of some values of '{spec.key}'", why))
    kept = frame if spec.key in roles else frame.drop(columns=[spec.key])
    return _with_made(kept.reset_index(drop=True), made, faults)


def check_joined(table: pd.DataFrame, spec: JoinSpec, faults: Faults) -> None:
    """Note in ``faults`` which columns a second table lacks, or has of another kind than is asked of it."""
    names = [str(name) for name in table.columns]
    for name in (spec.there, *spec.columns):
        if name not in names:
            told = f"the columns are {', '.join(names[:20])}"
            # A key that the first table has is most likely called otherwise here: what is only somewhat alike is no help.
            other = name == spec.there == spec.key
            told = f"name the column that holds it here as 'key_there'; {told}" if other else told
            mend = did_you_mean(name, names, told, cutoff=0.8 if other else 0.5)
            faults.add(f"{faults.table}: column '{name}' is missing", mend)
        elif name != spec.there:
            for statistic in spec.columns[name]:
                _fits(statistic, table[name], name, faults)


def summed_up(column: Column, codes_n: np.ndarray, statistic: Statistic) -> Column:
    """A statistic of the known values of each group of rows, by code; the most frequent value is the first of those as frequent."""
    groups = column.groupby(codes_n)
    match statistic:
        case "distinct":
            return groups.nunique()
        case "mode":
            known = column.notna().to_numpy()
            pairs = pd.DataFrame({"code": codes_n[known], "value": column[known].to_numpy()})
            counted = pairs.groupby(["code", "value"], sort=False).size().reset_index(name="times")
            counted = counted.sort_values(["code", "times", "value"], ascending=[True, False, True], key=_by_text, kind="stable")
            return counted.drop_duplicates("code").set_index("code")["value"].reindex(range(int(codes_n.max(initial=-1)) + 1))
        case "sum":
            return groups.sum(min_count=1)
        case _:
            found: Column = getattr(groups, statistic)()
            return found


def _by_text(column: Column) -> Column:
    return column.astype(str) if column.name == "value" else column


def _with_made(frame: pd.DataFrame, made: Mapping[str, Column], faults: Faults) -> pd.DataFrame:
    for name in made:
        if name in frame.columns:
            faults.add(f"{faults.table}: column '{name}' is there already, and data.pool or data.join would make it", "rename it")
    new = {name: values.to_numpy() for name, values in made.items() if name not in frame.columns}
    return pd.concat([frame, pd.DataFrame(new, index=frame.index)], axis=1)


def _is_number(column: Column) -> bool:
    return bool(types.is_numeric_dtype(column.dtype) and not types.is_bool_dtype(column.dtype))


def _fits(statistic: Statistic, column: Column, name: str, faults: Faults) -> bool:
    if statistic in NUMERIC_ONLY and not (types.is_numeric_dtype(column.dtype) or types.is_bool_dtype(column.dtype)):
        what = f"{faults.table}: column '{name}' holds other values than numbers, so it has no {statistic}"
        mend = "ask for first, last, mode, distinct or count of it"
        faults.found.append(NoNumbers(what, where=faults.where, mend=mend, column=name))
        return False
    return True


def _moments(column: Column) -> Column | None:
    """The order of rows as numbers."""
    if _is_number(column):
        return column.astype("float64")
    kind = infer_kind(column, where="")
    return coerce(column, kind, where="").astype("float64") if kind.date else None
