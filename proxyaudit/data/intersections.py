"""Intersections of protected attributes: what holds of men and of Black people need not hold of Black men (Crenshaw 1989).

An intersection is asked as an attribute of its own, whose groups are the combinations of its parts' groups. A combination of too few rows
or people is left out in words: it takes part in no number, and is never shown by itself.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from proxyaudit.arrays import Ints
from proxyaudit.data.attributes import MAX_LEVELS, Attribute
from proxyaudit.data.columns import Column
from proxyaudit.data.public_counts import SMALLEST_CELL
from proxyaudit.errors import InputError, did_you_mean
from proxyaudit.types import NotTested

_BANDS = "cut it into groups (data: {bands: {NAME: [30, 50]}}), or leave it out of the intersection"
_ASKED_OF_PARTS = (
    "they are asked of the attributes that it is made of, one by one; cures, localisation, signatures and discovered proxies are not asked "
    "of an intersection"
)


def intersection_name(parts: Sequence[str]) -> str:
    """What an intersection is called.

    >>> intersection_name(["sex", "race", "age"])
    'sex, race and age'
    """
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def check_intersections(
    wanted: Sequence[Sequence[str]], protected: Sequence[str], taken: Iterable[str], where: str = "data.intersections"
) -> tuple[str, ...]:
    """Names of intersections; ``InputError``: of what is not protected, of one attribute, given twice, or called like a column."""
    taken = set(taken)
    seen: set[frozenset[str]] = set()
    for names in wanted:
        for name in names:
            if name not in protected:
                how = f"name it with --attribute, too: {name[:80]}" if where.startswith("--") else "list it among the protected ones, too"
                mend = did_you_mean(name, protected, f"{how}; they are {', '.join(protected)}", cutoff=0.6)
                raise InputError(f"'{name[:80]}' is in an intersection and no protected attribute", where=where, mend=mend)
        if len(set(names)) < max(len(names), 2):
            raise InputError(f"an intersection needs two different attributes, not '{', '.join(names)[:80]}'", where=where, mend="name two")
        if frozenset(names) in seen:
            raise InputError(f"the intersection '{intersection_name(names)[:80]}' is given twice", where=where, mend="keep one of the two")
        seen.add(frozenset(names))
        if intersection_name(names) in taken:
            what = f"a column is called '{intersection_name(names)[:80]}', as the intersection would be"
            raise InputError(what, where=where, mend="rename the column")
    return tuple(map(intersection_name, wanted))


def cross_all(
    wanted: Sequence[Sequence[str]],
    attributes: Sequence[Attribute],
    group: Column | None,
    notes: list[NotTested],
    *,
    fewest: int,
    where: str = "data.intersections",
) -> list[Attribute]:
    """:func:`cross` for every intersection that is ``wanted`` by the names of coded attributes; ``notes`` takes what was left out."""
    known, made = {attribute.name: attribute for attribute in attributes}, []
    for names in wanted:
        parts = [known[name] for name in names]
        one, more = cross(parts, fewest=fewest, people_n=people_of(group, len(parts[0].codes)), where=where)
        made.append(one)
        notes += more
    return made


def cross(parts: Sequence[Attribute], *, fewest: int, people_n: Ints, where: str) -> tuple[Attribute, tuple[NotTested, ...]]:
    """The intersection of coded attributes, and notes on what was left out.

    A combination needs ``fewest`` rows and eleven different ``people_n``, ``(n,)``. ``InputError``: a part is a number, or fewer than two
    combinations are large enough.
    """
    name = intersection_name([part.name for part in parts])
    number = next((part.name for part in parts if part.kind == "continuous"), None)
    if number is not None:
        raise InputError(f"'{number}' is a number, and an intersection is of groups", where=where, mend=_BANDS.replace("NAME", number))
    codes = np.stack([np.asarray(part.codes, dtype=np.int64) for part in parts], axis=1)
    known = (codes >= 0).all(axis=1)
    cells, place, rows = np.unique(codes[known], axis=0, return_inverse=True, return_counts=True)
    place = place.ravel()
    people = [len(np.unique(people_n[known][place == cell])) for cell in range(len(cells))]
    large = [cell for cell in range(len(cells)) if rows[cell] >= fewest and people[cell] >= SMALLEST_CELL]
    kept = sorted(sorted(large, key=lambda cell: (-int(rows[cell]), cell))[:MAX_LEVELS])
    if len(kept) < 2:
        what = f"the intersection '{name}' has fewer than two groups of {fewest} audit rows and eleven people"
        raise InputError(what, where=where, mend="leave it out, take its rare levels together in the table, or use more rows")
    coded = np.full(len(codes), -1, dtype=np.int64)
    coded[known] = np.array([kept.index(cell) if cell in kept else -1 for cell in range(len(cells))], dtype=np.int64)[place]
    coded.flags.writeable = False
    chosen = tuple(tuple(int(code) for code in cells[cell]) for cell in kept)
    made = Attribute(
        name, "intersection", "binary" if len(kept) == 2 else "multiclass", _level_names(parts, chosen), coded, tuple(parts), chosen
    )
    notes = [NotTested(what=f"{name}: questions that only single attributes are asked", why=_ASKED_OF_PARTS)]
    if len(kept) < len(cells):
        few = f"fewer than {fewest} audit rows or eleven people" if len(large) <= MAX_LEVELS else f"too few, or more than {MAX_LEVELS}"
        why = f"{few} in each of them; those rows take no part in this intersection's measures"
        notes.append(NotTested(what=f"{name}: rare combinations", why=why))
    return made, tuple(notes)


def _level_names(parts: Sequence[Attribute], cells: Sequence[tuple[int, ...]]) -> tuple[str, ...]:
    """Names of combinations: what their levels are called, with the attributes' names where two would read alike."""
    each = [[part.levels[code] for part, code in zip(parts, cell, strict=True)] for cell in cells]
    plain = tuple(map(intersection_name, each))
    if len(set(plain)) == len(plain):
        return plain
    return tuple(intersection_name([f"{part.name}: {level}" for part, level in zip(parts, levels, strict=True)]) for levels in each)


def people_of(group: Column | None, rows: int) -> Ints:
    """Number of the person behind each row, ``(n,)``; rows of nobody known are one person's each."""
    if group is None:
        return np.arange(rows)
    codes = np.asarray(pd.factorize(group)[0], dtype=np.int64)
    return np.where(codes < 0, codes.max(initial=-1) + 1 + np.arange(rows), codes)
