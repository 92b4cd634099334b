"""Every fault of a table in one message: each column, what was found there, what was expected and what mends it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from proxyaudit.errors import InputError, MachineError
from proxyaudit.recipe.tables import MISSING_WORDS, missing_line

_MOST = 40  # faults that are written out
_NAMED = 3  # words of a column that are told with their rows


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
    strays: dict[str, dict[str, int]] = field(default_factory=dict)  # words among the numbers of a column, and their rows
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
        strays = [self.strays.get(error.column, {}) if isinstance(error, NoNumbers) else {} for error in self.found]
        # A recipe has one such line: it names the words of all columns at fault.
        line = missing_line([word for words in strays for word in words], self.known) if self.recipe else ""
        found = [_told_by(error, words, line) for error, words in zip(self.found, strays, strict=True)]
        if len(found) == 1:
            raise found[0]
        if not found:
            return
        listed = [f"({number}) {self._line(error)}" for number, error in enumerate(found[:_MOST], 1)]
        more = f" and {len(self.found) - _MOST} more" if len(self.found) > _MOST else ""
        mend = "mend each of them"
        if exclude is not None and self.columns:
            names = ", ".join(dict.fromkeys((*exclude, *self.columns)))
            mend += f", or leave columns that models do not need out: data: {{exclude: [{names}]}}"
        raise InputError(f"{self.table}: {len(self.found)} faults: {' '.join(listed)}{more}", where=self.where, mend=mend)

    def _line(self, error: InputError) -> str:
        """One fault, without the place of the table, which is said once, and without its name."""
        place = error.where.removeprefix(self.where).lstrip(", ") if error.where.startswith(self.where) else error.where
        what = error.what.removeprefix(f"{self.table}: ")
        line = what + (f" [{place}]" if place else "") + (f": {error.mend}" if error.mend else "")
        return line if line.endswith("?") else f"{line}."


def _told_by(error: InputError, words: Mapping[str, int], line: str) -> InputError:
    """A refusal told by the ``words`` that stand among a column's numbers, and the recipe's ``line`` that takes them for missing."""
    if not isinstance(error, NoNumbers) or not words:
        return error
    often = sorted(words, key=lambda word: (-words[word], word))
    told = [f"'{word}' ({words[word]:,} row{'s' if words[word] > 1 else ''})" for word in often[:_NAMED]]
    more = f" and {len(often) - _NAMED} more" if often[_NAMED:] else ""
    mend = (
        f"if they say that nothing is known, write in the recipe: {line}" if line else "if they say that nothing is known, leave them empty"
    )
    what = f"{error.about} should hold numbers, but holds words as well: {', '.join(told)}{more}"
    return InputError(what, where=error.where, mend=f"{mend}; if they are answers, {error.instead}")
