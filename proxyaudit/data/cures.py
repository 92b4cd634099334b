"""Cures: ways to alter training rows so that a model has less reason, or less means, to learn a protected attribute.

``resampled`` makes the attribute independent of the target (Kamiran & Calders 2012). The others treat the columns that carry it: they are
dropped, permuted over all rows, or repaired, so that they are distributed alike in every group (Feldman et al. 2015). ``mixed`` takes half
of the rows from another kind of training. Of texts words are ``scrubbed``. Each of these is a pure function of tables and a random stream,
so that what was tried can be written as a release. ``erased`` alters no row: an eraser is put into the model that was trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from proxyaudit.arrays import Floats, Ints
from proxyaudit.data.columns import Column, level_codes
from proxyaudit.data.public_counts import SMALLEST_CELL
from proxyaudit.errors import TaskError
from proxyaudit.later import Later

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = Later("pandas")  # slow to load, and needless for commands that read evidence

Share = Literal["none", "some", "half", "all"]
Way = Literal["resampled", "dropped", "permuted", "repaired", "scrubbed", "mixed", "erased"]
ERASED: Final = "erased"
MIXES: Final = "mixed-"  # before the name of the kind of training that rows are taken from
SCRUBBED: Final = "scrubbed"
RULES: Final = ("names", "pronouns", "dates", "ages")  # of scrubbing, all that mask words
ERASER: Final = "leace"  # the registered eraser that is tried
MOST_CARRIERS: Final = 3
_MOST_VALUES = 10  # of a number that are groups of their own; of more, quarters are
WORDS: Final[dict[str, str]] = {
    "resampled": "rows drawn again so that {attribute} does not depend on the target",
    "dropped": "without {columns}",
    "permuted": "{columns} shuffled over all rows",
    "repaired": "{columns} made alike in every group of {attribute}",
    "scrubbed": "names, gendered words, dates and ages masked in the training texts",
    "mixed": "half of the rows taken from {source}",
    # What is done, and not that nothing of it is left.
    "erased": "a linear eraser (LEACE) for {attribute} put into the trained model",
}


@dataclass(frozen=True)
class Cure:
    """One way to alter a training table, or a trained model, for the sake of one attribute.

    ``columns`` are the carriers that are treated, or the column of texts; ``source`` is the kind of training that a mixture takes half of
    its rows from.
    """

    way: Way
    attribute: str
    columns: tuple[str, ...] = ()
    source: str = ""

    @property
    def name(self) -> str:
        """Its name in evidence and on the command line: by way and number of carriers (``dropped-2``), or where rows are from."""
        what = self.source or (len(self.columns) if self.columns and self.way != SCRUBBED else "")
        return f"{self.way}-{what}" if what else self.way

    @property
    def drawn_for(self) -> str:
        """The attribute that its random draws hang on: a mixture is the same one for all, and so are its figures."""
        return "" if self.way == "mixed" else self.attribute

    @property
    def alters_rows(self) -> bool:
        """Whether it gives rows that can be written as a release."""
        return self.way != ERASED

    @property
    def needs_attribute(self) -> bool:
        """Whether the table must hold the attribute."""
        return self.way in ("resampled", "repaired")

    def is_part_of(self, other: Cure) -> bool:
        """Whether the other one does the same to more columns."""
        return (self.way, self.attribute) == (other.way, other.attribute) and set(self.columns) < set(other.columns)

    def as_read(self, frame: pd.DataFrame, altered: pd.DataFrame) -> pd.DataFrame:
        """Other rows as the model meets them that was trained on ``altered``: it never sees what was dropped, only the one value there."""
        if self.way != "dropped" or not len(altered):
            return frame
        return frame.assign(**{name: altered[name].iloc[:1].repeat(len(frame)).set_axis(frame.index) for name in self.columns})

    def words(self) -> str:
        """What it does, for people."""
        return WORDS[self.way].format(attribute=self.attribute, columns=_listed(self.columns), source=self.source)

    def alter(self, rows: pd.DataFrame, target_n: Ints, rng: np.random.Generator, others: pd.DataFrame | None = None) -> pd.DataFrame:
        """The altered rows, as many as before; ``target_n`` are their target classes. Dropped columns hold one value everywhere.

        A mixture takes half of its rows, without repetition, from ``others`` and has the columns that both have.

        Raises:
            TaskError: the table lacks the attribute, or it is known on too few rows; ``others`` are too few.
            ValueError: the cure alters no rows, or a mixture is given no ``others``.
        """
        if self.way == "mixed":
            return _mixed(rows, others, self.source, rng)
        if self.way == "erased":
            raise ValueError("an eraser alters the model, not its training rows")
        if self.way == "resampled":
            return rows.iloc[_drawn(_groups(rows, self.attribute), level_codes(pd.Series(target_n), cut=False), rng)].reset_index(drop=True)
        if self.way == "dropped":
            # The commonest value: a dropped number would otherwise stand far outside by chance.
            first = {name: rows[name].mode(dropna=True).iloc[:1] for name in self.columns}
            return rows.assign(**{name: value.repeat(len(rows)).set_axis(rows.index) for name, value in first.items() if len(value)})
        altered = rows.copy()
        if self.way == SCRUBBED:
            from proxyaudit.data.scrubbing import scrub  # lists of words, which commands that read evidence need not load
            from proxyaudit.data.text import lines_of

            for column in self.columns:
                altered[column] = scrub(lines_of(rows[column]), RULES)
            return altered
        if self.way == "permuted":
            order = rng.permutation(len(rows))
            for column in self.columns:  # all in one order: what they say together they still say, but of somebody else
                altered[column] = rows[column].to_numpy()[order]
            return altered
        groups = _groups(rows, self.attribute)
        for column in self.columns:
            numeric = pd.api.types.is_numeric_dtype(rows[column]) and not pd.api.types.is_bool_dtype(rows[column])
            altered[column] = _repaired_numbers(rows[column], groups) if numeric else _repaired_labels(rows[column], groups, rng)
        return altered


def cures_of(
    attribute: str, carriers: Sequence[str], *, known: bool, source: str = "", erasable: bool = False, text: str | None = None
) -> tuple[Cure, ...]:
    """The cures that are tried for an attribute; of ``carriers`` the leading ones come first; ``known``: the table holds the attribute.

    ``source`` is a cleaner kind of training to mix with, where there is one; ``erasable``: an eraser can be put into the model; ``text``:
    the column of texts to scrub.
    """
    leading = tuple(carriers[:MOST_CARRIERS])
    found = [Cure("resampled", attribute)]
    found += [Cure("dropped", attribute, leading[:count]) for count in range(1, len(leading) + 1)]
    found += [Cure("permuted", attribute, leading), Cure("repaired", attribute, leading)] if leading else []
    found += [Cure(SCRUBBED, attribute, (text,))] if text else []
    found += [Cure("mixed", attribute, source=source)] if source else []
    found += [Cure("erased", attribute)] if erasable else []
    return tuple(cure for cure in found if known or not cure.needs_attribute)


def real_share(kinds: Mapping[str, str], regime: str, cure: str) -> Share:
    """How many rows are those of real people in what a cure makes of a regime, their columns altered or not; ``kinds`` are by regime."""
    _, mixes, source = cure.partition(MIXES)
    own, other = kinds.get(regime), kinds.get(source) if mixes else None
    if cure == ERASED or not {own, other} & {"real", "mixed"}:
        return "none"
    if "mixed" in (own, other):
        return "some"
    return "half" if mixes else "all"


def _listed(columns: Sequence[str]) -> str:
    return columns[0] if len(columns) == 1 else f"{', '.join(columns[:-1])} and {columns[-1]}" if columns else ""


def _mixed(rows: pd.DataFrame, others: pd.DataFrame | None, source: str, rng: np.random.Generator) -> pd.DataFrame:
    """Half of the rows and half as many others, in an order that tells of none where it is from; of an odd number one more of the rows."""
    if others is None:
        raise ValueError("a mixture needs the rows of its source")
    taken = len(rows) // 2
    if len(others) < taken:
        raise TaskError(f"'{source}' has {len(others)} rows, and {taken} are to be taken from it")
    pieces = [part.iloc[rng.permutation(len(part))[:count]] for part, count in ((rows, len(rows) - taken), (others, taken))]
    joined = pd.concat(pieces, ignore_index=True, join="inner")
    return joined.iloc[rng.permutation(len(joined))].reset_index(drop=True)


def _groups(rows: pd.DataFrame, attribute: str) -> Ints:
    """Group of each row: levels of the attribute, or quarters of a number; rare ones are one group."""
    if attribute not in rows:
        raise TaskError(f"the rows do not hold '{attribute}'")
    column = rows[attribute]
    codes = level_codes(column, cut=pd.api.types.is_numeric_dtype(column) and column.nunique() > _MOST_VALUES)
    rare = np.bincount(codes) < SMALLEST_CELL
    codes = np.where(rare[codes], len(rare), codes)
    codes = np.unique(codes, return_inverse=True)[1].astype(np.int64)
    if codes.max() < 1:
        raise TaskError(f"'{attribute}' is known on too few of the training rows, or does not vary there")
    return codes


def _drawn(groups_n: Ints, target_n: Ints, rng: np.random.Generator) -> Ints:
    """Rows so that each cell of group and target gets the share that independence gives it; of a cell, rows as evenly as can be."""
    n = len(groups_n)
    joint = np.zeros((groups_n.max() + 1, target_n.max() + 1))
    np.add.at(joint, (groups_n, target_n), 1)
    wanted = np.outer(joint.sum(1), joint.sum(0)) / n
    wanted[joint == 0] = 0
    counts = _rounded(wanted / wanted.sum() * n, n)
    picked = []
    for (group, value), count in np.ndenumerate(counts):
        cell = np.flatnonzero((groups_n == group) & (target_n == value))
        if len(cell):
            whole, rest = divmod(int(count), len(cell))
            picked += [np.tile(cell, whole), rng.permutation(cell)[:rest]]
    return np.sort(np.concatenate(picked))


def _rounded(shares: Floats, total: int) -> Ints:
    """Whole numbers of the given total, nearest to the shares by largest remainders."""
    counts = np.floor(shares).astype(np.int64)
    left = total - int(counts.sum())
    order = np.argsort(-(shares - counts).ravel(), kind="stable")[:left]
    counts.ravel()[order] += 1
    return counts


def _repaired_numbers(column: Column, groups_n: Ints) -> Column:
    """Each value becomes the median over groups of the value at its rank in its own group; missing ones stay (Feldman et al. 2015)."""
    values = column.to_numpy(dtype=np.float64)
    known = np.isfinite(values)
    inside = [known & (groups_n == group) for group in np.unique(groups_n)]
    inside = [rows for rows in inside if rows.any()]
    result = values.copy()
    for rows in inside:
        order = pd.Series(values[rows]).rank(method="average").to_numpy()
        at = (order - 0.5) / rows.sum()
        result[rows] = np.median([np.quantile(values[other], at, method="inverted_cdf") for other in inside], axis=0)
    if pd.api.types.is_integer_dtype(column):
        result = np.round(result)
    return pd.Series(result, index=column.index).astype(column.dtype)


def _repaired_labels(column: Column, groups_n: Ints, rng: np.random.Generator) -> Column:
    """Every group gets the labels' shares in all rows: surplus rows of a label, drawn at random, take labels that the group lacks."""
    codes = level_codes(column, cut=False)
    shares = np.bincount(codes) / len(codes)
    result = codes.copy()
    for group in np.unique(groups_n):
        rows = np.flatnonzero(groups_n == group)
        wanted, counts = _rounded(shares * len(rows), len(rows)), np.bincount(codes[rows], minlength=len(shares))
        free = [rng.permutation(rows[codes[rows] == k])[: counts[k] - wanted[k]] for k in np.flatnonzero(counts > wanted)]
        taken = np.repeat(np.arange(len(shares)), np.maximum(wanted - counts, 0))
        if len(taken):
            result[np.concatenate(free)] = rng.permutation(taken)
    first = pd.Series(codes).drop_duplicates()
    labels = column.iloc[first.index].to_numpy(dtype=object)  # in the order of codes
    return pd.Series(labels[result], index=column.index).astype(column.dtype)
