"""Every fault of a table in one message: each column, what was found there, what was expected and what mends it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from proxyaudit.errors import InputError, MachineError

_MOST = 40  # faults that are written out


@dataclass
class Faults:
    """What is wrong with a table, gathered while it is checked; ``where`` it lies."""

    table: str
    where: str
    found: list[InputError] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)  # those at fault that could be left out

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
        if len(self.found) == 1:
            raise self.found[0]
        if not self.found:
            return
        listed = [f"({number}) {self._line(error)}" for number, error in enumerate(self.found[:_MOST], 1)]
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
