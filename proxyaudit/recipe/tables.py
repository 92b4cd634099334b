"""How tables of a recipe are written (``format``), which words mean nothing known (``values``), and how rows become one for a person."""

import codecs
import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from proxyaudit.recipe.models import Strict, refuse

MISSING_WORDS = ("", "NA", "N/A", "NaN", "null", "<NA>", "#N/A")


def plain_word(word: str) -> str:
    """A word as words for nothing known are compared: without regard to case and blanks."""
    return " ".join(word.split()).casefold()


def missing_line(words: Iterable[str], known: Sequence[str] = MISSING_WORDS) -> str:
    """The line of a recipe that takes ``words`` for missing beside those ``known``: a list of one's own stands in place of the usual one.

    >>> missing_line(["k.A."], ["", "NA"])
    'values: {missing: ["NA", "k.A."]}'
    """
    named: dict[str, str] = {}
    for word in (*known, *words):
        if plain := plain_word(word):  # an empty field is missing anyway
            named.setdefault(plain, word)
    return f"values: {{missing: [{', '.join(json.dumps(word, ensure_ascii=False) for word in named.values())}]}}"


def _codec(name: str) -> str:
    try:
        found = codecs.lookup(name)
    except (LookupError, ValueError):
        raise ValueError(f"'{name[:40]}' is no encoding; write utf-8, latin-1, cp1252 or utf-16") from None
    refuse(not getattr(found, "_is_text_encoding", True), f"'{name[:40]}' is no encoding of text; write utf-8, latin-1, cp1252 or utf-16")
    return name


def _word(value: Any) -> Any:
    refuse(value is None or isinstance(value, bool), "YAML reads null, yes, no, on and off as no text: put such a word in quotes")
    return value


class FormatSpec(Strict):
    """How a CSV file is written, where the file alone leaves more than one reading; what is not named is found."""

    separator: Annotated[Literal[",", ";", "|", "\t"] | None, BeforeValidator(lambda v: "\t" if v == "tab" else v)] = None
    decimal: Literal[".", ","] | None = None
    thousands: Literal[",", ".", " ", "'"] | None = None
    encoding: Annotated[str, Field(max_length=40), AfterValidator(_codec)] | None = None

    @model_validator(mode="after")
    def _two_marks(self) -> Self:
        refuse(self.thousands is not None and self.thousands == (self.decimal or "."), "'decimal' and 'thousands' are the same mark")
        return self


class ValuesSpec(Strict):
    """What values mean. ``missing``: the words, whatever their case, that stand for nothing known, the same in CSV, parquet and frames."""

    missing: tuple[Annotated[str, BeforeValidator(_word)], ...] = MISSING_WORDS


Statistic = Literal["first", "last", "mean", "min", "max", "sum", "mode", "distinct", "count"]
Statistics = Annotated[tuple[Statistic, ...], Field(min_length=1)]
NUMERIC_ONLY = ("mean", "min", "max", "sum")


class JoinSpec(Strict):
    """A second table with any number of rows for each ``key``, of which columns are summed up beside the row of that key.

    ``key`` is a column of the real table, ``key_there`` what the second table calls it, if otherwise. ``name`` tells columns of several
    joined tables apart.
    """

    path: str
    key: str
    key_there: str | None = None
    columns: dict[str, Statistics] = Field(min_length=1)
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$")] | None = None
    format: FormatSpec | None = None

    @property
    def there(self) -> str:
        """Name of the key in the second table."""
        return self.key_there or self.key

    def made(self, column: str, statistic: Statistic) -> str:
        """Name of the column that a statistic becomes."""
        return made_name(statistic, column if self.name is None else f"{self.name}.{column}")


def made_name(statistic: Statistic, column: str) -> str:
    """Name of the column that a statistic of a column becomes.

    >>> made_name("mean", "amount"), made_name("distinct", "item")
    ('mean of amount', 'distinct item')
    """
    return f"distinct {column}" if statistic == "distinct" else f"{statistic} of {column}"
