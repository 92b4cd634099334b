"""Every fault of a table in one message: each column, what was found there, what was expected and what mends it."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from proxyaudit.errors import InputError, MachineError
from proxyaudit.recipe.tables import MISSING_WORDS, missing_line, plain_word

_MOST = 40  # faults that are written out
_NAMED = 3  # words of a column that are told with their rows
_FEWEST = 11  # rows of a word that is named: one of fewer may be what a single person is called
_USUAL = frozenset({"k.a.", "n.b.", "n.a.", "n.d.", "n/k", "unknown", "unbekannt", "missing", "keine angabe", "not known", "not available"})
_BARE = re.compile(r"[^\W\d_][\w .-]*\w")
# What YAML reads as no text, where nothing says that it is one.
_NO_TEXT = frozenset({"yes", "no", "on", "off", "true", "false", "null"})


def pasted(names: Iterable[str]) -> str:
    """Names as a list of a recipe that YAML reads as these very names.

    >>> pasted(["sex", "no", "1", "note, free: yes"])
    '[sex, "no", "1", "note, free: yes"]'
    """
    names = list(names)
    bare = [bool(_BARE.fullmatch(name)) and name.casefold() not in _NO_TEXT for name in names]
    return f"[{', '.join(name if plain else json.dumps(name, ensure_ascii=False) for name, plain in zip(names, bare, strict=True))}]"


@dataclass(frozen=True)
class Stray:
    """A word among the numbers of a column, the rows that hold it, and the number of the first one."""

    word: str
    rows: int
    first: int

    @property
    def nameable(self) -> bool:
        """Whether a message may name it: many rows hold it, it has no letters, or it is a usual word for nothing known."""
        return self.rows >= _FEWEST or plain_word(self.word) in _USUAL or not any(map(str.isalpha, self.word))


class NoNumbers(InputError):
    """A column that should hold numbers holds other values as well; ``about`` is the column in words, ``instead`` what else mends it."""

    def __init__(self, what: str, *, where: str = "", mend: str = "", column: str = "", about: str = "", instead: str = "") -> None:
        """Keep what is needed to tell it by the words that were found there."""
        super().__init__(what, where=where, mend=mend)
        self.column, self.about, self.instead = column, about or f"column '{column}'", instead or mend


@dataclass
class Faults:
    """What is wrong with a table, gathered while it is checked; ``where`` it lies."""

    table: str
    where: str
    found: list[InputError] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)  # those at fault that could be left out
    strays: dict[str, list[Stray]] = field(default_factory=dict)  # by column
    known: tuple[str, ...] = MISSING_WORDS  # words that the table's recipe takes for missing
    recipe: bool = True  # whether there is one, that could name more of them

    @contextmanager
    def gathering(self, column: str | None = None) -> Iterator[None]:
        """Note a refusal (``InputError``) and go on; ``column``: what could be left out instead of mended."""
        try:
            yield
        except MachineError:
            raise
        except InputError as error:
            self.found.append(error)
            if column is not None and column not in self.columns:
                self.columns.append(column)

    def add(self, what: str, mend: str) -> None:
        """Note a fault."""
        self.found.append(InputError(what, where=self.where, mend=mend))

    def settle(self, exclude: Sequence[str] | None = None) -> None:
        """Raise one ``InputError`` for all that was found, if anything was.

        ``exclude`` are the columns that the recipe keeps out of models already: with those at fault they are the line that leaves all out.
        """
        strays = [self.strays.get(error.column, []) if isinstance(error, NoNumbers) else [] for error in self.found]
        # A recipe has one such line: it names the words of all columns at fault.
        line = missing_line([one.word for words in strays for one in words if one.nameable], self.known) if self.recipe else ""
        found = [_told_by(error, words, line) for error, words in zip(self.found, strays, strict=True)]
        if len(found) == 1:
            raise found[0]
        if not found:
            return
        listed = [f"({number}) {self._line(error)}" for number, error in enumerate(found[:_MOST], 1)]
        more = f" and {len(self.found) - _MOST} more" if len(self.found) > _MOST else ""
        mend = "mend each of them"
        if exclude is not None and self.columns:
            names = pasted(dict.fromkeys((*exclude, *self.columns)))
            mend += f", or leave columns that models do not need out: data: {{exclude: {names}}}"
        raise InputError(f"{self.table}: {len(self.found)} faults: {' '.join(listed)}{more}", where=self.where, mend=mend)

    def _line(self, error: InputError) -> str:
        """One fault, without the place of the table, which is said once, and without its name."""
        place = error.where.removeprefix(self.where).lstrip(", ") if error.where.startswith(self.where) else error.where
        what = error.what.removeprefix(f"{self.table}: ")
        line = what + (f" [{place}]" if place else "") + (f": {error.mend}" if error.mend else "")
        return line if line.endswith("?") else f"{line}."


def _told_by(error: InputError, words: Sequence[Stray], line: str) -> InputError:
    """A refusal told by the ``words`` that stand among a column's numbers, and the recipe's ``line`` that takes them for missing."""
    if not isinstance(error, NoNumbers) or not words:
        return error
    often = sorted((one for one in words if one.nameable), key=lambda one: (-one.rows, one.word))
    rare = [one for one in words if not one.nameable]
    told = [f"'{one.word}' ({_rows(one.rows)})" for one in often[:_NAMED]]
    told += [f"and {len(often) - _NAMED} more"] if often[_NAMED:] else []
    if rare:
        rows, first = _rows(sum(one.rows for one in rare)), min(one.first for one in rare)
        told.append(f"{'others' if often else 'some'} in {rows}, first in row {first}")
    added = ", with these words added" if not often else ", with the others added" if rare else ""
    mend = f"let the recipe say{added}: {line}" if line else "leave those fields empty"
    what = f"{error.about} should hold numbers, but holds words as well: {', '.join(told)}"
    return InputError(what, where=error.where, mend=f"if they say that nothing is known, {mend}; if they are answers, {error.instead}")


def _rows(count: int) -> str:
    return f"{count:,} row{'s' if count > 1 else ''}"
