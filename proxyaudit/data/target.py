"""The task label: its classes, in a fixed order, from text, numbers or a threshold."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from proxyaudit.data.columns import Column, ColumnKind, infer_kind, labels, one_spelling, spellings_of
from proxyaudit.data.public_counts import SMALLEST_CELL, count_people
from proxyaudit.data.sources import Roles
from proxyaudit.errors import InputError, did_you_mean

MAX_CLASSES = 20
# A class needs enough rows to be learnt, and enough to be audited.
MIN_CLASS_ROWS = 30


def target_kind(column: Column, roles: Roles, *, where: str) -> ColumnKind:
    """Numeric where a threshold will cut it, else categorical. ``InputError``: a threshold on text, or too many classes without one."""
    known = column.dropna()
    kind = infer_kind(column, where=where)
    if roles.target_threshold is not None:
        if kind.kind != "numeric" or kind.date:
            mend = "remove data.target_threshold"
            raise InputError(f"target '{roles.target}' is no number, so it cannot be cut at a threshold", where=where, mend=mend)
        return kind
    text = labels(known, where=where)
    spellings = spellings_of(text)
    classes = len(set(spellings.values()))
    if classes > MAX_CLASSES:
        mend = "set data.target_threshold: median" if kind.kind == "numeric" else "choose a column with fewer classes"
        raise InputError(f"target '{roles.target}' has {classes} distinct values, more than {MAX_CLASSES}", where=where, mend=mend)
    return ColumnKind(roles.target, "categorical", spellings=spellings)


def order_classes(column: Column, roles: Roles, *, where: str) -> tuple[str, ...]:
    """The class labels, sorted; of two the positive one last. ``InputError``: one class, or a ``target_positive`` that is none of two."""
    classes = sorted(column.dropna().unique())
    if len(classes) < 2:
        raise InputError(f"target '{roles.target}' has one value only", where=where, mend="choose another target")
    positive = roles.target_positive
    if positive is None:
        return tuple(classes)
    positive = str(one_spelling(pd.Series([positive.strip()], dtype=object), spellings_of(column)).iloc[0])
    if positive not in classes:
        counts = column.value_counts()
        shown = [name for name in classes if counts[name] >= SMALLEST_CELL]
        mend = did_you_mean(positive, shown, "write the class as it stands in the table", cutoff=0.3)
        raise InputError(f"target_positive is no class of target '{roles.target}'", where=where, mend=mend)
    if len(classes) > 2:
        mend = "remove data.target_positive"
        raise InputError(f"target '{roles.target}' has {len(classes)} classes, so none is the positive one", where=where, mend=mend)
    return tuple([name for name in classes if name != positive] + [positive])


def threshold_classes(train: Column, roles: Roles) -> tuple[float, tuple[str, str]]:
    """The threshold (a median is of training rows only) and the two class labels; ``InputError`` where the median overflows."""
    wanted = roles.target_threshold
    with np.errstate(over="ignore"):
        threshold = _shared_median(train.to_numpy(dtype=np.float64)) if wanted == "median" else float(wanted or 0.0)
    if not np.isfinite(threshold):
        raise InputError(f"target '{roles.target}' holds numbers too large to take their median", mend="rescale it")
    return threshold, (f"<= {threshold:g}", f"> {threshold:g}")


def _shared_median(values: NDArray[np.float64]) -> float:
    """The median, or where fewer than eleven people have that very value the mean of the eleven or twelve in the middle.

    The threshold is published as the name of a class; it must not be one person's number.
    """
    ordered = np.sort(values)
    middle = float(np.median(ordered))
    if (ordered == middle).sum() >= SMALLEST_CELL:
        return middle
    spare = max((len(ordered) - SMALLEST_CELL) // 2, 0)
    return float(ordered[spare : len(ordered) - spare].mean())


def encode_target(column: Column, classes: tuple[str, ...], threshold: float | None, *, where: str = "") -> NDArray[np.int64]:
    """Return ``(n,)`` class numbers. Raises ``InputError``: a value is missing or belongs to no class."""
    if threshold is not None:
        values = column.to_numpy(dtype=np.float64)
        if np.isnan(values).any():
            raise InputError(f"target '{column.name}' has missing values", where=where, mend="drop those rows")
        return (values > threshold).astype(np.int64)
    codes = pd.Index(classes).get_indexer(pd.Index(column))
    if (codes < 0).any():
        count = int((codes < 0).sum())
        mend = f"the classes are {', '.join(classes)}"
        raise InputError(f"target '{column.name}' has {count} rows with a value that is no class of the real data", where=where, mend=mend)
    return codes.astype(np.int64)


def check_support(
    codes: NDArray[np.int64], classes: tuple[str, ...], target: str, rows: str, *, where: str, groups: Column | None = None
) -> None:
    """``InputError`` if a class has fewer than ``MIN_CLASS_ROWS`` rows, or of those whom ``groups`` say, fewer than eleven people."""
    counts = np.bincount(codes, minlength=len(classes))
    if counts.min() < MIN_CLASS_ROWS:
        rare = f"class '{classes[int(counts.argmin())]}'" if counts.min() >= SMALLEST_CELL else "a class"
        mend = "use more rows, join rare classes, or change data.audit_share"
        raise InputError(f"target '{target}': {rare} has fewer than {MIN_CLASS_ROWS} {rows} rows", where=where, mend=mend)
    if groups is not None and count_people(pd.Series(codes, index=groups.index), groups).min() < SMALLEST_CELL:
        mend = "use rows of more people, join rare classes, or change data.audit_share"
        raise InputError(f"target '{target}': a class has fewer than {SMALLEST_CELL} people in the {rows} rows", where=where, mend=mend)
