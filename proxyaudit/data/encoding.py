"""From raw feature columns to the float32 table that a model reads, learnt on real training rows, and what it cannot see of other rows.

What training never showed reaches the model as zeros or the column's median. It then answers as if the column were not there, and an
audit on those rows would call removed what was only not shown (METHOD, section 6).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from proxyaudit.arrays import Floats, Singles
from proxyaudit.data.columns import MISSING, OTHER, Column, ColumnKind
from proxyaudit.data.faults import Faults
from proxyaudit.data.precision import in_single
from proxyaudit.data.public_counts import SMALLEST_CELL, count_people, count_words
from proxyaudit.data.text import TextEncoder
from proxyaudit.data.unseen import NOTED, REFUSED, Unseen
from proxyaudit.data.usual import Usual
from proxyaudit.errors import InputError

Native = Literal["", "standard", "raw"]  # how a model reads columns as they are: not at all, with numbers standardised, unscaled
_SHOWN = 3  # values of either table, where they share none
MAX_ENCODED_LEVELS = 200  # names of encoded columns are published with the plan, so a level needs SMALLEST_CELL training rows to have one


@dataclass(frozen=True)
class FeatureColumn:
    """One model input, in file order."""

    name: str
    kind: Literal["numeric", "categorical", "text"]


def _place_of(known: Sequence[Any], column: Column) -> Floats:
    """The place of each value among those known, missing where it is none of them; a blank or no number stands for none."""
    places = {value: place for place, value in enumerate(known) if value != "" and value == value}
    numbers, values = pd.factorize(column)
    return np.array([*(places.get(value, np.nan) for value in values), np.nan], dtype=np.float64)[numbers]


@dataclass(frozen=True)
class NumericPart:
    """A column of numbers."""

    name: str
    fill: float
    mean: float
    scale: float
    indicator: bool
    missing: float = 0.0  # share of the training rows
    native: Native = ""
    codes: tuple[float, ...] | None = None  # values that a model's codes stand for; ``None`` where it reads the number itself
    splits: tuple[float, ...] = ()  # of given models that compare in double precision, sorted
    usual: Usual | None = field(default=None, compare=False, repr=False)  # known where the training rows are

    def unseen(self, column: Column) -> tuple[float, float]:
        """Shares of rows that hold what no model takes as a value (any number it does), and gaps beyond those of the training rows."""
        return 0.0, _more_missing(column, self.missing)

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Ends of the names of the encoded columns."""
        return ("", f"={MISSING}") if self.indicator else ("",)

    def write(self, column: Column, out: Singles) -> None:
        """Fill in the encoded columns."""
        values = column.to_numpy(dtype=np.float64)
        missing = np.isnan(values)
        out[:, 0] = (np.where(missing, self.fill, values) - self.mean) / self.scale
        if self.indicator:
            out[:, 1] = missing

    def coded(self, codes: tuple[Any, ...]) -> "NumericPart":
        """The same for a model whose codes stand for these values."""
        return replace(self, codes=codes)

    def hand_over(self, column: Column) -> Floats:
        """The number, or its code, as a model reads it; missing values stay missing."""
        if self.codes is not None:
            return _place_of(self.codes, column)
        values = column.to_numpy(dtype=np.float64)
        return in_single(values, self.splits, self.name).astype(np.float64) if self.native == "raw" else (values - self.mean) / self.scale


@dataclass(frozen=True)
class CategoricalPart:
    """A column of categories."""

    name: str
    levels: tuple[str, ...]
    pooled: frozenset[str]
    missing: float = 0.0  # share of the training rows
    rare_share: float = 0.0  # share of the training rows whose level is pooled
    exact: bool = True  # whether the pooled levels are those of training, and not guessed from a table
    native: Native = ""
    codes: tuple[str, ...] | None = None  # levels in the order of a model's codes; ``None``: the levels here, in theirs

    @property
    def known(self) -> frozenset[str]:
        """Levels that training rows had, as far as they are known."""
        return frozenset(self.levels) | (self.pooled if self.exact else frozenset())

    def unseen(self, column: Column) -> tuple[float, float]:
        """Shares of rows whose level training never showed, and of gaps beyond those of the training rows."""
        strange = float((column.notna() & ~column.isin(self.known)).mean()) - (0.0 if self.exact else self.rare_share)
        return max(strange, 0.0), _more_missing(column, self.missing)

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Ends of the names of the encoded columns."""
        return tuple(f"={level}" for level in self.levels)

    def write(self, column: Column, out: Singles) -> None:
        """Fill in the encoded columns."""
        codes, uniques = pd.factorize(column)
        names = [OTHER if level in self.pooled else level for level in uniques] + [MISSING]
        positions = pd.Index(self.levels).get_indexer(pd.Index(names))[codes]
        known = positions >= 0
        out[np.flatnonzero(known), positions[known]] = 1.0

    def coded(self, codes: tuple[Any, ...]) -> "CategoricalPart":
        """The same for a model whose codes stand for these levels."""
        return replace(self, codes=codes)

    def hand_over(self, column: Column) -> Floats:
        """The code of each level; levels that training never showed are missing."""
        if self.codes is not None:
            return _place_of(self.codes, column)
        named = column.where(~column.isin(self.pooled), OTHER)
        return _place_of([level for level in self.levels if level != MISSING], named)


@dataclass(frozen=True)
class PlainPart:
    """A column of numbers that is handed over as it is, and may lack nothing."""

    name: str
    suffixes: tuple[str, ...] = ("",)
    splits: tuple[float, ...] = ()  # as those of :class:`NumericPart`
    usual: Usual | None = field(default=None, compare=False, repr=False)

    def unseen(self, column: Column) -> tuple[float, float]:
        """Nothing: gaps are refused when the column is written."""
        return 0.0, 0.0

    def coded(self, codes: tuple[Any, ...]) -> "PlainPart":
        """No codes are read here."""
        return self

    def write(self, column: Column, out: Singles) -> None:
        """Fill in the encoded columns."""
        values = column.to_numpy(dtype=np.float64)
        bad = ~(np.abs(values) <= np.finfo(np.float32).max)
        if bad.any():
            rows = f"in {count_words(int(bad.sum()))} rows"
            what = f"column '{self.name}' has missing or too large values {rows}, which encode: none cannot hand to the model"
            raise InputError(what, mend=_FILL)
        out[:, 0] = in_single(values, self.splits, self.name)


Part = NumericPart | CategoricalPart | PlainPart
# Not "use encode: standard" alone: files of trees are refused with it, and would send the reader back here.
_FILL = "fill them as the model had them in training; data.encode: standard fills them for models that are trained here"


def _more_missing(column: Column, usual: float) -> float:
    return max(float(column.isna().mean()) - usual, 0.0)


@dataclass(frozen=True)
class Encoder:
    """A fixed map from raw rows to the model's inputs."""

    columns: tuple[str, ...]  # names of the encoded columns, each once
    sources: tuple[str, ...]  # the feature that each encoded column comes from
    parts: tuple[Part, ...]

    @property
    def native(self) -> bool:
        """Whether the model reads a column for each feature: categories as codes, missing values as NaN."""
        return any(not isinstance(part, PlainPart) and part.native for part in self.parts)

    @property
    def feature_sources(self) -> tuple[str, ...]:
        """The feature that each column of :meth:`features` comes from."""
        return tuple(part.name for part in self.parts for _ in part.suffixes)

    @property
    def categories(self) -> dict[int, str]:
        """Features that a model reads as codes, by the number of their encoded column."""
        own = [part for part in self.parts if not isinstance(part, PlainPart)] if self.native else []
        return {place: part.name for place, part in enumerate(own) if isinstance(part, CategoricalPart) or part.codes is not None}

    def with_codes(self, codes: Sequence[tuple[Any, ...] | None]) -> "Encoder":
        """The same for a model whose codes stand for these values, by column; ``None`` where it reads a number as it is."""
        parts = [part if found is None else part.coded(found) for part, found in zip(self.parts, codes, strict=True)]
        return replace(self, parts=tuple(parts))

    def with_splits(self, splits: Sequence[tuple[float, ...]]) -> "Encoder":
        """The same for given models that split columns of numbers there, by column."""
        pairs = zip(self.parts, splits, strict=True)
        return replace(self, parts=tuple(part if isinstance(part, CategoricalPart) else replace(part, splits=own) for part, own in pairs))

    def transform(self, frame: pd.DataFrame) -> Singles:
        """Encode coerced rows as ``(n, p)`` float32, as the model reads them.

        Unknown categories are zeros, natively missing. Raises ``InputError``: a value is too large, or lacks where none may.
        """
        if not self.native:
            return self.features(frame)
        handed = [part.hand_over(frame[part.name]) for part in self.parts if not isinstance(part, PlainPart)]
        for part, values in zip(self.parts, handed, strict=True):
            if (np.abs(values) > np.finfo(np.float32).max).any():
                raise _too_large(part.name)
        return np.stack(handed, axis=1).astype(np.float32)

    def features(self, frame: pd.DataFrame) -> Singles:
        """What the inputs carry, as numbers that any reader can take: a column for each level, medians for what is missing."""
        widths = [len(part.suffixes) for part in self.parts]
        encoded = np.zeros((len(frame), sum(widths)), dtype=np.float32)
        start = 0
        for part in self.parts:
            stop = start + len(part.suffixes)
            with np.errstate(over="ignore"):
                part.write(frame[part.name], encoded[:, start:stop])
            if not np.isfinite(encoded[:, start:stop]).all():
                raise _too_large(part.name)
            start = stop
        return encoded


def _too_large(name: str) -> InputError:
    return InputError(f"column '{name}' holds a number too large for the model", mend="rescale it, or correct the value")


def fit_encoder(
    frame: pd.DataFrame,
    features: tuple[FeatureColumn, ...],
    encode: Literal["standard", "none"],
    *,
    native: bool = False,
    groups: Column | None = None,
) -> Encoder:
    """Learn an encoder from coerced real training rows.

    ``standard``: numbers are standardised, missing ones set to the median with an indicator column; categories become one column per level,
    missing ones a level of their own. Levels with fewer than 11 rows (or people, where ``groups`` say whose rows they are), and all but the
    199 largest of more than 200, share the column ``(other)``. ``none``: numbers pass unchanged. Raises ``InputError``: ``none`` with a
    column that is no number or has gaps; numbers too large to standardise. ``native``: a model that splits by categories and missing values
    itself reads one column for each feature, with ``none`` numbers unscaled.
    """
    if encode == "none" and not native:
        other = [feature.name for feature in features if feature.kind != "numeric"]
        if other:
            mend = "exclude or recode it, or use data.encode: standard"
            raise InputError(f"column '{other[0]}' is no number, which encode: none needs", mend=mend)
        encoder = encoder_of([PlainPart(feature.name, usual=Usual.of(frame[feature.name])) for feature in features])
        encoder.transform(frame)
        return encoder
    how: Native = "" if not native else "raw" if encode == "none" else "standard"
    fitted = [_fit_numeric(frame[f.name], groups) if f.kind == "numeric" else _fit_categorical(frame[f.name], groups) for f in features]
    return encoder_of([replace(part, native=how) for part in fitted])


def encoder_of(parts: Sequence[Part]) -> Encoder:
    """The encoder of columns in their order."""
    if any(not isinstance(part, PlainPart) and part.native for part in parts):
        own = tuple(part.name for part in parts)
        return Encoder(own, own, tuple(parts))
    names = [part.name + suffix for part in parts for suffix in part.suffixes]
    return Encoder(_unique(names), tuple(part.name for part in parts for _ in part.suffixes), tuple(parts))


def _enough(told: Column, level: str, groups: Column | None) -> bool:
    """Whether a level may be named, which is that of rows of eleven people."""
    held = told[told == level]
    return len(held) >= SMALLEST_CELL and (groups is None or int(count_people(held, groups).sum()) >= SMALLEST_CELL)


def _fit_numeric(column: Column, groups: Column | None) -> NumericPart:
    values = column.to_numpy(dtype=np.float64)
    missing = np.isnan(values)
    fill = float(np.median(values[~missing])) if not missing.all() else 0.0
    filled = np.where(missing, fill, values)
    with np.errstate(over="ignore", invalid="ignore"):
        mean, scale = float(filled.mean()), float(filled.std())
    if not (np.isfinite(mean) and np.isfinite(scale)):
        raise InputError(f"column '{column.name}' holds numbers too large to standardise", mend="rescale it")
    indicator = _enough(column.isna().map({True: MISSING}), MISSING, groups)
    told = (fill, mean, scale if scale > 0 else 1.0, indicator, float(missing.mean()))
    return NumericPart(str(column.name), *told, usual=Usual.of(column))


def _fit_categorical(column: Column, groups: Column | None) -> CategoricalPart:
    told = column.where(column.notna(), MISSING)
    counts = Counter(told)
    people = counts if groups is None else count_people(told, groups)
    missing = counts.pop(MISSING, 0)
    ranked = sorted(counts, key=lambda level: (-counts[level], level))
    kept = [level for level in ranked if people[level] >= SMALLEST_CELL]
    if len(ranked) > MAX_ENCODED_LEVELS:
        kept = kept[: MAX_ENCODED_LEVELS - 1]
    pooled = frozenset(ranked) - frozenset(kept)
    tail = [OTHER] if OTHER not in kept and _enough(told.where(~told.isin(pooled), OTHER), OTHER, groups) else []
    tail += [MISSING] if _enough(told, MISSING, groups) else []
    rows = max(len(column), 1)
    rare_share = sum(counts[level] for level in pooled) / rows
    return CategoricalPart(str(column.name), (*sorted(kept), *tail), pooled, missing / rows, rare_share)


def _unique(names: list[str]) -> tuple[str, ...]:
    """Number names that coincide: a column ``a=b`` and level ``b`` of column ``a`` would read alike."""
    taken, found = set(names), dict[str, None]()
    for name in names:
        fresh, number = name, 2
        while fresh in found or (fresh != name and fresh in taken):
            fresh, number = f"{name}#{number}", number + 1
        found[fresh] = None
    return tuple(found)


def check_seen(
    encoder: Encoder | TextEncoder, frame: pd.DataFrame, *, table: str, where: str, faults: Faults | None = None, group: str | None = None
) -> tuple[Unseen, ...]:
    """The one check of every table (coerced rows, called ``table``) that enters the encoder.

    One entry for each column of which more than 1 % cannot be seen, or is of another scale. Values are told that eleven people have;
    whose each row is says the column ``group``, if the frame has it. Raises ``InputError``: more than 80 % of columns cannot be seen; where
    ``faults`` are gathered they are noted there, and columns that the frame lacks are left out.
    """
    if isinstance(encoder, TextEncoder) or not len(frame):
        return ()
    found, own = [], faults or Faults(table, where)
    whose = frame[group] if group in frame else pd.Series(range(len(frame)), index=frame.index)
    for part in encoder.parts:
        if faults is not None and part.name not in frame:
            continue
        column = frame[part.name]
        unseen, missing = part.unseen(column)
        share = unseen + missing
        if share > REFUSED:
            what = (
                f"{table}: column '{part.name}' {_found(part, column, unseen, missing, whose)}, so the model cannot see {share:.0%} of it"
            )
            own.add(what, "fill it and write its values as the real table does, or exclude the column")
            continue
        # Numbers of another scale may be true: they are told and prove no absence, but are not refused.
        usual = None if isinstance(part, CategoricalPart) else part.usual
        foreign, told = usual.foreign(column) if usual is not None else (0.0, "")
        share = max(share, missing + foreign * float(column.notna().mean()))
        if share > NOTED:
            found.append(Unseen(table, part.name, share, len(frame), told=told))
    if faults is None:
        own.settle()
    return tuple(found)


def check_like(real: pd.DataFrame, other: pd.DataFrame, columns: Sequence[ColumnKind], faults: Faults, group: str | None) -> None:
    """Note what an encoder of the ``real`` rows would not see of ``other`` ones (coerced), of the ``columns`` that these hold.

    ``group`` is the column that says whose each row is.
    """
    features = tuple(FeatureColumn(kind.name, kind.kind) for kind in columns if kind.name in other)
    with faults.gathering():
        check_seen(fit_encoder(real, features, "standard"), other, table=faults.table, where=faults.where, faults=faults, group=group)


def _found(part: Any, column: Column, unseen: float, missing: float, whose: Column) -> str:
    if missing >= unseen:
        return "has no values" if column.isna().all() else "lacks most of its values"
    counts = count_people(column[~column.isin(part.known)], whose).sort_values(ascending=False, kind="stable")
    theirs = [f"'{level}'" for level in counts.index[counts >= SMALLEST_CELL]][:_SHOWN]
    ours = [f"'{level}'" for level in part.levels if level in part.known][:_SHOWN]
    known = column.isin(part.known).any()
    what = "holds mostly values that no real training row has" if known else "shares no value with the real table"
    return what + (f" (it writes {', '.join(theirs)}; the real table {', '.join(ours)})" if theirs and ours else "")
