"""From raw feature columns to the float32 table that a model reads, learnt on real training rows, and what it cannot see of other rows.

What training never showed reaches the model as zeros or the column's median. It then answers as if the column were not there, and an
audit on those rows would call removed what was only not shown (METHOD, section 6).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from proxyaudit.arrays import Singles
from proxyaudit.data.columns import MISSING, OTHER, Column, ColumnKind, as_truth, labels, one_spelling
from proxyaudit.data.faults import Faults
from proxyaudit.data.public_counts import SMALLEST_CELL, count_words, share_words
from proxyaudit.data.text import TextEncoder
from proxyaudit.errors import InputError
from proxyaudit.types import NotTested

MAX_ENCODED_LEVELS = 200  # names of encoded columns are published with the plan, so a level needs SMALLEST_CELL training rows to have one


@dataclass(frozen=True)
class FeatureColumn:
    """One model input, in file order."""

    name: str
    kind: Literal["numeric", "categorical", "text"]


@dataclass(frozen=True)
class _Numeric:
    name: str
    fill: float
    mean: float
    scale: float
    indicator: bool
    missing: float = 0.0  # share of the training rows

    def unseen(self, column: Column) -> tuple[float, float]:
        """Shares of rows that hold what training never showed (no number can), and gaps beyond those of the training rows."""
        return 0.0, _more_missing(column, self.missing)

    @property
    def suffixes(self) -> tuple[str, ...]:
        return ("", f"={MISSING}") if self.indicator else ("",)

    def write(self, column: Column, out: Singles) -> None:
        values = column.to_numpy(dtype=np.float64)
        missing = np.isnan(values)
        out[:, 0] = (np.where(missing, self.fill, values) - self.mean) / self.scale
        if self.indicator:
            out[:, 1] = missing


@dataclass(frozen=True)
class _Categorical:
    name: str
    levels: tuple[str, ...]
    pooled: frozenset[str]
    missing: float = 0.0  # share of the training rows
    rare_share: float = 0.0  # share of the training rows whose level is pooled
    exact: bool = True  # whether the pooled levels are those of training, and not guessed from a table

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
        return tuple(f"={level}" for level in self.levels)

    def write(self, column: Column, out: Singles) -> None:
        codes, uniques = pd.factorize(column)
        names = [OTHER if level in self.pooled else level for level in uniques] + [MISSING]
        positions = pd.Index(self.levels).get_indexer(pd.Index(names))[codes]
        known = positions >= 0
        out[np.flatnonzero(known), positions[known]] = 1.0


@dataclass(frozen=True)
class _Plain:
    name: str
    suffixes: tuple[str, ...] = ("",)

    def unseen(self, column: Column) -> tuple[float, float]:
        """Nothing: gaps are refused when the column is written."""
        return 0.0, 0.0

    def write(self, column: Column, out: Singles) -> None:
        values = column.to_numpy(dtype=np.float64)
        bad = ~(np.abs(values) <= np.finfo(np.float32).max)
        if bad.any():
            what = f"column '{self.name}' has {int(bad.sum())} missing or too large values, which encode: none cannot hand to the model"
            raise InputError(what, mend=_FILL)
        out[:, 0] = values


_Part = _Numeric | _Categorical | _Plain
# Not "use encode: standard" alone: files of trees are refused with it, and would send the reader back here.
_FILL = "fill them as the model had them in training; data.encode: standard fills them for models that are trained here"


def _more_missing(column: Column, usual: float) -> float:
    return max(float(column.isna().mean()) - usual, 0.0)


@dataclass(frozen=True)
class Encoder:
    """A fixed map from raw rows to the model's inputs."""

    columns: tuple[str, ...]  # names of the encoded columns, each once
    sources: tuple[str, ...]  # the feature that each encoded column comes from
    parts: tuple[_Part, ...]

    def transform(self, frame: pd.DataFrame) -> Singles:
        """Encode coerced rows as ``(n, p)`` float32, unknown categories as zeros; ``InputError`` for a value too large or lacking."""
        encoded = np.zeros((len(frame), len(self.columns)), dtype=np.float32)
        start = 0
        for part in self.parts:
            stop = start + len(part.suffixes)
            with np.errstate(over="ignore"):
                part.write(frame[part.name], encoded[:, start:stop])
            if not np.isfinite(encoded[:, start:stop]).all():
                raise InputError(f"column '{part.name}' holds a number too large for the model", mend="rescale it, or correct the value")
            start = stop
        return encoded

    def features(self, frame: pd.DataFrame) -> Singles:
        """What the inputs carry, as numbers: the encoded table itself."""
        return self.transform(frame)


def fit_encoder(frame: pd.DataFrame, features: tuple[FeatureColumn, ...], encode: Literal["standard", "none"]) -> Encoder:
    """Learn an encoder from coerced real training rows.

    ``standard``: numbers are standardised, missing ones set to the median with an indicator column; categories become one column per level,
    missing ones a level of their own. Levels with fewer than 11 rows, and all but the 199 largest of more than 200, share the column
    ``(other)``. ``none``: numbers pass unchanged. Raises ``InputError``: ``none`` with a column that is no number or has gaps; numbers too
    large to standardise.
    """
    if encode == "none":
        other = [feature.name for feature in features if feature.kind != "numeric"]
        if other:
            mend = "exclude or recode it, or use data.encode: standard"
            raise InputError(f"column '{other[0]}' is no number, which encode: none needs", mend=mend)
        encoder = _encoder([_Plain(feature.name) for feature in features])
        encoder.transform(frame)
        return encoder
    return _encoder([_fit_numeric(frame[f.name]) if f.kind == "numeric" else _fit_categorical(frame[f.name]) for f in features])


def _encoder(parts: Sequence[_Part]) -> Encoder:
    names = [part.name + suffix for part in parts for suffix in part.suffixes]
    return Encoder(_unique(names), tuple(part.name for part in parts for _ in part.suffixes), tuple(parts))


def _fit_numeric(column: Column) -> _Numeric:
    values = column.to_numpy(dtype=np.float64)
    missing = np.isnan(values)
    fill = float(np.median(values[~missing])) if not missing.all() else 0.0
    filled = np.where(missing, fill, values)
    with np.errstate(over="ignore", invalid="ignore"):
        mean, scale = float(filled.mean()), float(filled.std())
    if not (np.isfinite(mean) and np.isfinite(scale)):
        raise InputError(f"column '{column.name}' holds numbers too large to standardise", mend="rescale it")
    indicator = int(missing.sum()) >= SMALLEST_CELL
    return _Numeric(str(column.name), fill, mean, scale if scale > 0 else 1.0, indicator, float(missing.mean()))


def _fit_categorical(column: Column) -> _Categorical:
    counts = Counter(column.where(column.notna(), MISSING))
    missing = counts.pop(MISSING, 0)
    ranked = sorted(counts, key=lambda level: (-counts[level], level))
    kept = [level for level in ranked if counts[level] >= SMALLEST_CELL]
    if len(ranked) > MAX_ENCODED_LEVELS:
        kept = kept[: MAX_ENCODED_LEVELS - 1]
    pooled = frozenset(ranked) - frozenset(kept)
    tail = [OTHER] if sum(counts[level] for level in pooled) >= SMALLEST_CELL and OTHER not in kept else []
    tail += [MISSING] if missing >= SMALLEST_CELL else []
    rows = max(len(column), 1)
    rare_share = sum(counts[level] for level in pooled) / rows
    return _Categorical(str(column.name), (*sorted(kept), *tail), pooled, missing / rows, rare_share)


def _unique(names: list[str]) -> tuple[str, ...]:
    """Number names that coincide: a column ``a=b`` and level ``b`` of column ``a`` would read alike."""
    taken, found = set(names), dict[str, None]()
    for name in names:
        fresh, number = name, 2
        while fresh in found or (fresh != name and fresh in taken):
            fresh, number = f"{name}#{number}", number + 1
        found[fresh] = None
    return tuple(found)


def describe_encoder(encoder: Encoder) -> list[dict[str, Any]]:
    """The encoder as plain data, without the names of levels that too few rows have."""
    found: list[dict[str, Any]] = []
    for part in encoder.parts:
        if isinstance(part, _Numeric):
            found.append({"kind": "numeric", **asdict(part), "missing": _coarse(part.missing)})
        elif isinstance(part, _Categorical):
            shares = {"missing": _coarse(part.missing), "rare": _coarse(part.rare_share)}
            found.append({"kind": "categorical", "name": part.name, "levels": list(part.levels), **shares})
        else:
            found.append({"kind": "plain", "name": part.name})
    return found


def _coarse(share: float) -> float:
    """In steps of 5 %, so that no few rows can be read off."""
    return round(share * 20) / 20


def encoder_again(parts: list[dict[str, Any]], frame: pd.DataFrame) -> Encoder:
    """The encoder of :func:`describe_encoder`, for coerced rows.

    Rare levels were not written down: a level of ``frame`` without a column of its own goes where they went. Raises ``KeyError``: a part
    lacks what its kind needs. Raises ``ValueError``: a part is of no known kind, or its numbers cannot scale a column.
    """
    made: list[_Part] = []
    for part in parts:
        name = str(part["name"])
        if part["kind"] == "numeric":
            fill, mean, scale = (float(part[key]) for key in ("fill", "mean", "scale"))
            if not (np.isfinite([fill, mean, scale]).all() and scale > 0):
                raise ValueError("a scale must be a positive number")
            # The first signatures do not say how many values were missing, or rare: then gaps and rare levels are not counted.
            missing = float(part.get("missing", bool(part["indicator"])))
            made.append(_Numeric(name, fill, mean, scale, bool(part["indicator"]), missing))
        elif part["kind"] == "categorical":
            levels = tuple(str(level) for level in part["levels"])
            pooled = frozenset(str(v) for v in frame[name].dropna().unique()) - frozenset(levels)
            shares = (float(part.get("missing", MISSING in levels)), float(part.get("rare", OTHER in levels)))
            made.append(_Categorical(name, levels, pooled, *shares, exact=False))
        elif part["kind"] == "plain":
            made.append(_Plain(name))
        else:
            raise ValueError("an encoder part is of no known kind")
    return _encoder(made)


NOTED, BARS, REFUSED = 0.01, 0.20, 0.80  # shares of rows
NOT_SEEN = "so many values of an input cannot be seen by the model that what it does without them proves no absence"
_SHOWN = 3


@dataclass(frozen=True)
class Unseen:
    """How much of one column of one table the encoder cannot see."""

    table: str
    column: str
    share: float
    rows: int

    @property
    def bars_absence(self) -> bool:
        """Whether nothing that rests on these rows may be called absent."""
        return self.share > BARS

    def note(self) -> NotTested:
        """What a reader must know."""
        shown = share_words(self.share * self.rows, self.rows)
        bars = "; absence is not claimed" if self.bars_absence else ""
        why = f"missing, or written as no training row writes them ({shown} of the column){bars}"
        return NotTested(what=f"{self.table}: values of column {self.column} that the model cannot see", why=why)


def check_seen(
    encoder: Encoder | TextEncoder, frame: pd.DataFrame, *, table: str, where: str, faults: Faults | None = None
) -> tuple[Unseen, ...]:
    """The one check of every table (coerced rows, called ``table``) that enters the encoder.

    One entry for each column of which more than 1 % cannot be seen. Raises ``InputError``: more than 80 % of columns cannot be seen; where
    ``faults`` are gathered they are noted there, and columns that the frame lacks are left out.
    """
    if isinstance(encoder, TextEncoder) or not len(frame):
        return ()
    found, own = [], faults or Faults(table, where)
    for part in encoder.parts:
        if faults is not None and part.name not in frame:
            continue
        column = frame[part.name]
        unseen, missing = part.unseen(column)
        share = unseen + missing
        if share > REFUSED:
            what = f"{table}: column '{part.name}' {_found(part, column, unseen, missing)}, so the model cannot see {share:.0%} of it"
            own.add(what, "fill it and write its values as the real table does, or exclude the column")
        elif share > NOTED:
            found.append(Unseen(table, part.name, share, len(frame)))
    if faults is None:
        own.settle()
    return tuple(found)


def check_like(real: pd.DataFrame, other: pd.DataFrame, columns: Sequence[ColumnKind], faults: Faults) -> None:
    """Note what an encoder of the ``real`` rows would not see of ``other`` ones (coerced), of the ``columns`` that these hold."""
    features = tuple(FeatureColumn(kind.name, kind.kind) for kind in columns if kind.name in other)
    with faults.gathering():
        check_seen(fit_encoder(real, features, "standard"), other, table=faults.table, where=faults.where, faults=faults)


def _found(part: Any, column: Column, unseen: float, missing: float) -> str:
    if missing >= unseen:
        return "has no values" if column.isna().all() else "lacks most of its values"
    counts = column[~column.isin(part.known)].value_counts()
    theirs = [f"'{level}'" for level in counts.index[counts >= SMALLEST_CELL]][:_SHOWN]
    ours = [f"'{level}'" for level in part.levels if level in part.known][:_SHOWN]
    known = column.isin(part.known).any()
    what = "holds mostly values that no real training row has" if known else "shares no value with the real table"
    return what + (f" (it writes {', '.join(theirs)}; the real table {', '.join(ours)})" if theirs and ours else "")


def spelling_notes(table: pd.DataFrame, kinds: Mapping[str, ColumnKind] | Sequence[ColumnKind], what: str) -> list[NotTested]:
    """Notes on levels that were united because they differ only in case, blanks or the way of writing true and false."""
    notes = []
    for kind in kinds.values() if isinstance(kinds, Mapping) else kinds:
        if kind.name not in table.columns or (kind.spellings is None and not kind.truth):
            continue
        raw = labels(table[kind.name]) if kind.spellings is not None or table[kind.name].dtype.kind not in "iuf" else None
        if kind.spellings is None or raw is None:
            if raw is not None and raw.notna().any() and pd.to_numeric(raw, errors="coerce").isna().any() and as_truth(raw) is not None:
                notes.append(NotTested(what=f"{what}: spellings of column {kind.name} apart", why="true and false were read as 1 and 0"))
            continue
        changed = raw[raw.notna() & (raw != one_spelling(raw, kind.spellings))]
        if not len(changed):
            continue
        counts = changed.value_counts()
        named = [f"'{level}' as '{kind.spelt(level)}' ({count_words(int(counts[level]))} rows)" for level in counts.index]
        named = [word for word, level in zip(named, counts.index, strict=True) if counts[level] >= SMALLEST_CELL][:_SHOWN]
        truth = any(level.casefold().split() != kind.spelt(level).casefold().split() for level in counts.index)
        how = "in how true and false are written" if truth else "in case or blanks"
        why = f"they differ from the others only {how}, and were read as the same" + (f" ({', '.join(named)})" if named else "")
        notes.append(NotTested(what=f"{what}: spellings of column {kind.name} apart", why=why))
    return notes
