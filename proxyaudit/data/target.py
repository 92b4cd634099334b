"""The task label: its classes, in a fixed order, from text, numbers or a threshold; or a number that is predicted as it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Ints
from proxyaudit.data.columns import Column, ColumnKind, coerce, infer_kind, labels, one_spelling, spellings_of
from proxyaudit.data.faults import NoNumbers
from proxyaudit.data.numbers import FEWEST_VALUES, Number, numeric_values
from proxyaudit.data.public_counts import SMALLEST_CELL, count_people, count_words
from proxyaudit.data.several_labels import SeveralLabels
from proxyaudit.data.sources import Roles
from proxyaudit.errors import InputError, did_you_mean
from proxyaudit.types import NotTested, Task

MAX_CLASSES = 20
# A class needs enough rows to be learnt, and enough to be audited.
MIN_CLASS_ROWS = 30


@dataclass(frozen=True)
class Target:
    """How a target column is read."""

    classes: tuple[str, ...]  # of two, the second is the positive one; of a number its bands
    threshold: float | None = None  # where a number is cut into two classes
    number: Number | None = None  # the scale of a number that is predicted as it is
    labels: SeveralLabels | None = None  # how combinations of several labels are read

    @property
    def task(self) -> Task:
        """What models predict."""
        return "number" if self.number is not None else "labels" if self.labels is not None else "classes"

    @property
    def n_classes(self) -> int:
        """Classes that models tell apart; 1 where they predict a number, of several labels their number."""
        if self.labels is not None:
            return len(self.labels.names)
        return len(self.classes) if self.number is None else 1

    def outcomes(self, name: str) -> tuple[str, ...]:
        """What each output speaks of."""
        if self.labels is not None:
            return self.labels.names
        return (name,) if self.number is not None else self.classes[1:] if len(self.classes) == 2 else self.classes

    @property
    def scale(self) -> tuple[float, float] | None:
        """Mean and standard deviation of a number."""
        return None if self.number is None else (self.number.mean, self.number.sd)

    def describe(self, name: str) -> dict[str, Any]:
        """As a plan holds it."""
        told: dict[str, Any] = {"name": name, "classes": list(self.classes)}
        told |= {} if self.labels is None else {"labels": list(self.labels.names)}
        return told if self.number is None else {**told, "task": "regression", "mean": self.number.mean, "sd": self.number.sd}

    def notes(self, name: str) -> list[NotTested]:
        """What is not asked of such a target, and how it is read."""
        if self.labels is not None:
            why = f"rows are alike in '{name}' where they have the same of the commonest combinations; rare ones count as one"
            return [NotTested(what="what rare combinations of the labels explain", why=why)]
        if self.number is None:
            return []
        why = f"they do not apply: '{name}' is predicted as a number and nobody is selected; data.target_threshold cuts it into two classes"
        beyond = f"what '{name}' explains is taken out within {len(self.classes)} bands of it, by a straight line in each"
        return [
            NotTested(what="selection rates, impact ratios and equal opportunity", why=why),
            NotTested(what=f"what '{name}' explains in another way than along straight lines", why=beyond),
        ]

    def codes(self, column: Column, *, where: str = "") -> Ints:
        """``(n,)`` class numbers, of a number its bands. ``InputError``: a target is missing or of no known class."""
        if self.number is not None:
            return self.number.bands(numeric_values(column, where=where))
        if self.labels is not None:
            return self.labels.codes(column)
        return encode_target(column, self.classes, self.threshold, where=where)

    def learnt(self, column: Column) -> NDArray[Any]:
        """What models are trained to say ``(n,)``: class numbers, or a number in standard deviations; of labels 0 and 1 ``(n, L)``."""
        if self.labels is not None:
            return self.labels.answers(column)
        return self.codes(column) if self.number is None else self.number.scaled(numeric_values(column))

    def truth(self, column: Column) -> Floats:
        """What each output would be if a model knew the target, ``(n, C)``."""
        said = self.learnt(column)
        if self.labels is not None:
            return np.asarray(said)
        if self.n_classes <= 2:
            return np.asarray(said, dtype=np.float64)[:, None]
        return np.asarray(said[:, None] == np.arange(self.n_classes), dtype=np.float64)


def settle_target(train: pd.DataFrame, audit: pd.DataFrame, roles: Roles, kinds: Mapping[str, ColumnKind], *, where: str) -> Target:
    """How the target of real rows is read. ``InputError``: too few rows of a class or band, or one class only."""
    name, groups = roles.target, tuple(None if roles.group is None else frame[roles.group] for frame in (train, audit))
    if roles.labels:
        several = SeveralLabels.of(roles.labels, (train[name], audit[name]), groups, where=where)
        return Target(several.classes, labels=several)
    if roles.target_threshold is not None:
        threshold, classes = threshold_classes(train[name], roles)
        found = Target(classes, threshold)
    elif kinds[name].kind == "numeric":
        number = Number.of(train[name], audit[name], groups, where=where)
        return Target(number.names, number=number)
    else:
        found = Target(order_classes(pd.concat([train, audit])[name], roles, where=where))
    for rows, frame, people in zip(("training", "audit"), (train, audit), groups, strict=True):
        check_support(found.codes(frame[name], where=where), found.classes, name, rows, where=where, groups=people)
    return found


def target_kind(column: Column, roles: Roles, *, where: str) -> ColumnKind:
    """Numeric where a threshold will cut it or models predict the number itself, else categorical.

    ``InputError``: a threshold on text, too many classes without one, or whole numbers of which nobody said whether they are classes.
    """
    known = column.dropna()
    if roles.labels:
        return ColumnKind(roles.target, "categorical")
    kind = infer_kind(column, where=where)
    if roles.task == "regression":
        return _number(known, kind, where)
    if roles.target_threshold is not None:
        if kind.kind != "numeric" or kind.date:
            mend = "remove data.target_threshold"
            what = f"target '{roles.target}' is no number, so it cannot be cut at a threshold"
            raise NoNumbers(what, where=where, mend=mend, column=roles.target, about=f"target '{roles.target}'")
        return kind
    text = labels(known, where=where)
    spellings = spellings_of(text)
    classes = len(set(spellings.values()))
    if classes > MAX_CLASSES:
        plain = kind.kind == "numeric" and not kind.date
        if plain and roles.task is None and not _is_whole(coerce(known, kind, where=where)):
            return _number(known, kind, where)  # nobody counts classes in fractions
        mend = "set data.target_threshold: median" if kind.kind == "numeric" else "choose a column with fewer classes"
        mend += ", or data.task: regression to have the number itself predicted" if plain and roles.task is None else ""
        what = f"target '{roles.target}' has {classes} distinct values, more than {MAX_CLASSES}"
        raise NoNumbers(what, where=where, mend=mend, column=roles.target, about=f"target '{roles.target}'")
    return ColumnKind(roles.target, "categorical", spellings=spellings)


def _number(known: Column, kind: ColumnKind, where: str) -> ColumnKind:
    if kind.kind != "numeric" or kind.date:
        what, mend = f"target '{kind.name}' is no number, which regression predicts", "leave out data.task: regression"
        raise NoNumbers(what, where=where, mend=mend, column=kind.name, about=f"target '{kind.name}'")
    if known.nunique() < FEWEST_VALUES:
        raise InputError(f"target '{kind.name}' has fewer than {FEWEST_VALUES} values", where=where, mend="leave out data.task: regression")
    return ColumnKind(kind.name, "numeric", truth=kind.truth)


def _is_whole(known: Column) -> bool:
    values = known.to_numpy(dtype=np.float64)
    return bool((values == np.round(values)).all())


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
        count = count_words(int((codes < 0).sum()))
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
