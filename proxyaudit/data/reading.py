"""How tables are read: what the recipe says of them, and what is told of a table beside its rows."""

from collections.abc import Collection
from dataclasses import dataclass, field

from proxyaudit.data.histories import Histories
from proxyaudit.data.missing import Word, word_notes
from proxyaudit.data.sdv_metadata import Metadata
from proxyaudit.data.streaming import Sampling
from proxyaudit.recipe.tables import MISSING_WORDS, FormatSpec, ValuesSpec
from proxyaudit.types import NotTested


@dataclass(frozen=True)
class Reading:
    """How a table is written; ``key`` is the section of a recipe that says so, empty where there is no recipe."""

    format: FormatSpec = field(default_factory=FormatSpec)
    missing: tuple[str, ...] = MISSING_WORDS
    key: str = ""
    metadata: Metadata = field(default_factory=Metadata)
    sampling: Sampling | None = None  # of a table that is larger than memory; None: all of it is read
    histories: Histories = field(default_factory=Histories)  # what makes one row of several
    labels: tuple[str, ...] = ()  # columns of yes and no that are the target together

    @classmethod
    def of(
        cls,
        form: FormatSpec | None,
        values: ValuesSpec | None,
        key: str = "data",
        metadata: Metadata | None = None,
        sampling: Sampling | None = None,
        histories: Histories | None = None,
        labels: tuple[str, ...] = (),
    ) -> "Reading":
        """What a recipe says."""
        words = (values or ValuesSpec()).missing
        return cls(form or FormatSpec(), words, key, metadata or Metadata(), sampling, histories or Histories(), labels)

    def or_named(self, line: str) -> str:
        """The line of a recipe that would say it, as the end of a message; empty where there is no recipe."""
        return f", or say so in the recipe: {self.key}: {{format: {{{line}}}}}" if self.key else ""


@dataclass
class Told:
    """What was found while a table was read: words for nothing known, and remarks, each a title and a reason."""

    words: list[Word] = field(default_factory=list)
    remarks: list[tuple[str, str]] = field(default_factory=list)
    marks: dict[str, list[str]] = field(default_factory=dict)  # how numbers are written, and in which columns
    missing: tuple[str, ...] = MISSING_WORDS  # the words that were taken for nothing known
    dotted: dict[str, bool] = field(default_factory=dict)  # decimals whose dots may stand between thousands: whether 'format' can say so

    def notes(self, columns: Collection[str], table: str, *, recipe: bool = True) -> list[NotTested]:
        """Notes of the ``columns`` in use of a ``table``; without a ``recipe`` it is the table that is to be changed."""
        found = [NotTested(what=f"{table}: {what}", why=why) for what, why in self.remarks]
        for mark, names in self.marks.items():
            if used := [name for name in names if name in columns]:
                what = f"{table}: whether numbers of {', '.join(used)} are read as they were meant"
                found.append(NotTested(what=what, why=f"they were read as written with {mark}"))
        return found + word_notes(self.words, columns, table, recipe=recipe, known=self.missing)
