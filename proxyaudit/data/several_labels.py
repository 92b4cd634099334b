"""A target of several columns of yes and no: they are one column of combinations while rows are split, made and compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
import pandas as pd

from proxyaudit.arrays import Floats, Ints
from proxyaudit.data.columns import Column, as_truth, labels
from proxyaudit.data.public_counts import SMALLEST_CELL, count_people
from proxyaudit.errors import InputError, did_you_mean

NONE, OTHERS = "none of them", "another combination"
_FEWEST: Final = 30  # rows of a combination that stands for itself, and of either answer to a label


def joint_name(names: Sequence[str]) -> str:
    """What the column of combinations is called."""
    return ", ".join(names)


def join_labels(frame: pd.DataFrame, names: Sequence[str], where: str) -> pd.DataFrame:
    """The table with the columns ``names`` as one; a row that lacks one has none. ``InputError``: one is not there, or no yes or no."""
    joint = joint_name(names)
    if not names or (joint in frame and not set(names) & set(frame)):
        return frame  # rows that an audit made hold combinations already
    answers = []
    for name in names:
        if name not in frame:
            mend = did_you_mean(name, [str(column) for column in frame], "name columns of the table")
            raise InputError(f"column '{name}' (target) is missing", where=where, mend=mend)
        found = as_truth(labels(frame[name], where=where))
        if found is None:
            raise InputError(f"target '{name}' holds other values than yes and no", where=where, mend="write 0 and 1, or audit it alone")
        answers.append(found.to_numpy(dtype=np.float64))
    answers_nl = np.stack(answers, axis=1)
    known = np.isfinite(answers_nl).all(axis=1)
    told = [_name(names, row) if is_known else None for row, is_known in zip(answers_nl, known, strict=True)]
    return frame.drop(columns=list(names)).assign(**{joint: pd.Series(told, index=frame.index, dtype=object)})


def _name(names: Sequence[str], answers: Sequence[float]) -> str:
    return joint_name([name for name, answer in zip(names, answers, strict=True) if answer]) or NONE


@dataclass(frozen=True)
class SeveralLabels:
    """How a column of combinations is read."""

    names: tuple[str, ...]
    kept: tuple[str, ...]  # combinations with enough rows to stand for themselves, the commonest first; others are one

    @classmethod
    def of(cls, names: tuple[str, ...], tables: Sequence[Column], groups: Sequence[Column | None], *, where: str) -> "SeveralLabels":
        """``InputError``: a label has too few rows, or people, of either answer in a table that has rows."""
        found, kept = cls(names, ()), []
        for table, people in ((table, who) for table, who in zip(tables, groups, strict=True) if len(table)):
            for name, answer_n in zip(names, found.answers(table, where=where).T, strict=True):
                counts, persons = np.bincount(answer_n.astype(np.int64), minlength=2), [SMALLEST_CELL]
                if people is not None and counts.min():
                    persons = list(count_people(pd.Series(answer_n.astype(np.int64), index=people.index), people))
                if counts.min() < _FEWEST or min(persons) < SMALLEST_CELL:
                    mend = "use more rows, or leave the label out of data.target"
                    raise InputError(f"target '{name}': too few rows have one of its two answers", where=where, mend=mend)
            whose = None if people is None else count_people(table, people).to_dict()
            kept.append(
                {
                    level
                    for level, count in table.value_counts().items()
                    if count >= _FEWEST and (whose is None or whose[level] >= SMALLEST_CELL)
                }
            )
        order = pd.concat([table for table in tables if len(table)]).value_counts()
        common = [
            str(level) for level in sorted(order.index, key=lambda level: (-order[level], level)) if all(level in one for one in kept)
        ]
        return cls(names, tuple(common))

    @property
    def classes(self) -> tuple[str, ...]:
        """Combinations by which rows are alike; all that are rare are one."""
        return (*self.kept, OTHERS)

    def codes(self, column: Column) -> Ints:
        """The place of each row's combination among the classes."""
        place = {level: at for at, level in enumerate(self.kept)}
        return column.map(lambda level: place.get(level, len(place))).to_numpy(dtype=np.int64)

    def answers(self, column: Column, *, where: str = "") -> Floats:
        """The answer to each label, ``(n, L)`` of 0 and 1. ``InputError``: a combination is none of these labels."""
        known: Mapping[str, Sequence[float]] = {
            _name(self.names, answers): answers for answers in product((0.0, 1.0), repeat=len(self.names))
        }
        distinct, places = np.unique(column.to_numpy(dtype=object).astype(str), return_inverse=True)
        strange = next((level for level in distinct if level not in known), None)
        if strange is not None:
            mend = "give each label as a column of 0 and 1, without missing values"
            raise InputError(f"target '{column.name}' holds something else than its labels", where=where, mend=mend)
        return np.array([known[level] for level in distinct], dtype=np.float64).reshape(-1, len(self.names))[places]
