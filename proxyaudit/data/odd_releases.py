"""What a release is that a model cannot learn from as its maker meant: the real rows themselves, or columns that no longer go together."""

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
import pandas as pd

from proxyaudit.arrays import Floats, Ints
from proxyaudit.data.columns import Column
from proxyaudit.data.dataset import Dataset
from proxyaudit.data.public_counts import share_words
from proxyaudit.data.splits import row_hashes
from proxyaudit.names import in_short
from proxyaudit.types import HOLDS_REAL, LOOSE, NotTested

_COPIED: Final = 0.5  # share of rows from which on a release counts as the real rows
_FEWEST: Final = 200  # rows: of fewer, associations are noise
_ROWS, _COLUMNS = 5000, 200  # that are looked at
_LEVELS: Final = 6  # of a column, the last for all that is rarer; numbers are cut at the real rows' fifths
_STRONG: Final = 0.25  # Cramér's V of two columns that go together in the real rows
_LOST: Final = 0.25  # times that, at most, is left of it where it counts as lost
_SAME: Final = 0.1  # in total variation: a column that is spread as in the real rows


def odd_releases(dataset: Dataset, releases: Mapping[str, pd.DataFrame]) -> tuple[NotTested, ...]:
    """Say in words which releases hold the real rows, and which have columns that lost what goes with them; of tables, not of texts."""
    if dataset.text is not None:
        return ()
    real = pd.concat([dataset.train, dataset.audit])
    return tuple(note for name, rows in releases.items() for note in (*_copied(name, rows, real), *_loose(name, rows, real)))


def _copied(name: str, rows: pd.DataFrame, real: pd.DataFrame) -> Iterable[NotTested]:
    columns = [column for column in rows.columns if column in real]
    known = np.unique(row_hashes(real, columns))
    if len(known) < len(real) / 2:
        return  # coarse rows coincide by chance
    copies = float(np.isin(row_hashes(rows, columns), known).mean())
    if copies > _COPIED:
        why = f"{share_words(copies * len(rows), len(rows))} of its rows equal a real row, so it shows what training on real rows does"
        yield NotTested(what=HOLDS_REAL.format(name), why=why)


def _loose(name: str, rows: pd.DataFrame, real: pd.DataFrame) -> Iterable[NotTested]:
    """Columns that are spread as in the real rows while everything that goes with them there does not here."""
    columns = [column for column in rows.columns if column in real][:_COLUMNS]
    if min(len(rows), len(real)) < _FEWEST or len(columns) < 2:
        return
    (before, old), (after, new) = (_associations([_codes(real[c], table[c]) for c in columns]) for table in (real, rows))
    strong = before >= _STRONG
    held = np.array([0.5 * np.abs(one - other).sum() <= _SAME for one, other in zip(old, new, strict=True)])
    gone = (strong & (after > _LOST * before)).sum(axis=1) == 0
    loose = np.flatnonzero(strong.any(axis=1) & gone & held)
    if len(loose):
        first = int(loose[np.argmax(before[loose].max(axis=1))])
        other = columns[int(before[first].argmax())]
        why = (
            "each is spread as in the real rows, but what goes with it there does not here, as if columns had been shuffled against one "
            f"another ('{columns[first]}' and '{other}': association {before[first].max():.1f} in the real rows, "
            f"{after[first, before[first].argmax()]:.1f} here); models cannot learn from it what they say together"
        )
        told = in_short([columns[k] for k in loose])
        yield NotTested(what=f"{LOOSE.format(name)}: {told}", why=why)


def _codes(real: Column, column: Column) -> Ints:
    """Level of each of at most so many rows, evenly drawn from the table: fifths of real numbers, or the commonest real values."""
    column = column.iloc[np.linspace(0, len(column) - 1, min(len(column), _ROWS)).astype(int)]
    if pd.api.types.is_numeric_dtype(real) and not pd.api.types.is_bool_dtype(real) and real.nunique() > _LEVELS:
        edges = np.unique(np.nanquantile(real.to_numpy(dtype=np.float64), np.linspace(0, 1, _LEVELS)[1:-1]))
        values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
        return np.where(np.isfinite(values), np.searchsorted(edges, values, side="right"), _LEVELS - 1)
    common = [str(value) for value in real.value_counts().index[: _LEVELS - 1]]
    places = {value: place for place, value in enumerate(common)}
    return np.array([places.get(str(value), _LEVELS - 1) for value in column], dtype=np.int64)


def _associations(codes: list[Ints]) -> tuple[Floats, Floats]:
    """Cramér's V of each pair of columns ``(p, p)``, corrected for chance, zero with themselves; and shares of levels ``(p, levels)``."""
    n, p = len(codes[0]), len(codes)
    held = np.concatenate([np.eye(_LEVELS)[one] for one in codes], axis=1)  # (n, p * levels)
    counts, joint = held.sum(axis=0), held.T @ held
    expected = np.outer(counts, counts) / n
    parts = np.divide((joint - expected) ** 2, expected, out=np.zeros_like(joint), where=expected > 0)
    starts = np.arange(0, p * _LEVELS, _LEVELS)
    phi = np.add.reduceat(np.add.reduceat(parts, starts, axis=0), starts, axis=1) / n
    free = (counts.reshape(p, _LEVELS) > 0).sum(axis=1) - 1.0
    phi = np.maximum(phi - np.outer(free, free) / (n - 1), 0.0)
    v = np.sqrt(np.divide(phi, np.minimum.outer(free, free), out=np.zeros_like(phi), where=np.minimum.outer(free, free) > 0))
    np.fill_diagonal(v, 0.0)
    return v, counts.reshape(p, _LEVELS) / n
