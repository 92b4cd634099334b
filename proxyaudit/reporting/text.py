"""Text for readers: numbers, and strings from data made visible and harmless."""

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from proxyaudit.types import Estimate

# Control characters, marks that turn the reading direction, surrogates and non-characters. Shown as
# code points: they break XML, or make a name read as another one.
_INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff"
    "\U000e0000-\U000e0fff]"
)
DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
_WHOLE = 1e15  # from here on numbers in double precision hardly have decimals


def visible(text: str) -> str:
    r"""Return ``text`` with characters that cannot be seen, or that reorder others, written as code points.

    >>> visible("a\u202eb")
    'a⟨U+202E⟩b'
    """
    return _INVISIBLE.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text)


def escaped(document: str) -> str:
    r"""JSON with the same characters as escapes, but for its own line ends: it means the same, and steers no terminal.

    >>> escaped('["a\u202eb"]')
    '["a\\u202eb"]'
    """
    return _INVISIBLE.sub(lambda match: match[0] if match[0] == "\n" else json.dumps(match[0])[1:-1], document)


def shorten(text: str, length: int = 24) -> str:
    """Return ``text`` cut to ``length`` characters, the last an ellipsis; never cut inside a combined character."""
    if len(text) <= length:
        return text
    cut = length - 1
    while cut > 1 and unicodedata.combining(text[cut]):
        cut -= 1
    return text[:cut].rstrip() + "…"


def squeeze(text: str, length: int = 20) -> str:
    """Return ``text`` cut in the middle: names of one family often differ only at their end.

    >>> squeeze("mixed-gaussian_copula-0.5", 16)
    'mixed-ga…ula-0.5'
    """
    if len(text) <= length:
        return text
    tail = (length - 1) // 2
    start = len(text) - tail
    while start < len(text) - 1 and unicodedata.combining(text[start]):
        start += 1
    return shorten(text[: len(text) - 1], length - tail)[:-1].rstrip() + "…" + text[start:]


def number(value: float | None, digits: int = 3) -> str:
    """A number with fixed digits and a true minus sign; a dash where there is none.

    Halves go up in size, whatever stands before them: published numbers lie on a grid, and .235 must not be 24 points here and .23 there.

    >>> number(0.15749), number(-0.00001), number(0.235, 2), number(23.5, 0), number(1e40, 0)[:4]
    ('0.157', '0.000', '0.24', '24', '1000')
    """
    if value is None:
        return DASH
    if not abs(value) < _WHOLE:  # no halves there, and no number of an audit: a pack that somebody made up may hold it
        return f"{value:.{digits}f}".replace("-", MINUS)
    shown = Decimal(f"{value:.12g}").quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
    return f"{shown:z.{digits}f}".replace("-", MINUS)


def span(low: float | None, high: float | None, digits: int = 3) -> str:
    """``low to high``, or an empty string where an end is missing."""
    return "" if low is None or high is None else f"{number(low, digits)} to {number(high, digits)}"


def interval(estimate: Estimate | None, digits: int = 3) -> str:
    """The interval of an estimate as ``low to high``, or an empty string."""
    return "" if estimate is None else span(estimate.low, estimate.high, digits)


def beside(text: str, more: str) -> str:
    """Words with more of them in brackets, where there are more.

    >>> beside("0.157", "0.145 to 0.171"), beside("0.157", "")
    ('0.157 (0.145 to 0.171)', '0.157')
    """
    return f"{text} ({more})" if more else text


def figure(estimate: Estimate | None, digits: int = 3) -> str:
    """Value and interval of an estimate; a dash where there is no value."""
    return DASH if estimate is None or estimate.value is None else beside(number(estimate.value, digits), interval(estimate, digits))


def count_word(value: Any) -> str:
    """A count with narrow spaces between thousands; a dash where there is none."""
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}") if isinstance(value, int) else DASH


def percent(value: float | None, digits: int = 0) -> str:
    """A share as a percentage.

    >>> percent(0.242), percent(0.0004)
    ('24 %', '0 %')
    """
    return DASH if value is None else f"{number(100 * value, digits)} %"


def hundredths(e: Estimate | None) -> Estimate | None:
    """A share or a gap times 100: per cent, or points."""
    if e is None:
        return None
    return e.model_copy(update={key: 100 * end for key in ("value", "low", "high") if (end := getattr(e, key)) is not None})


def points(value: float | None, digits: int = 0) -> str:
    """A difference of probabilities in percentage points.

    >>> points(0.012), points(0.18)
    ('1 point', '18 points')
    """
    shown = number(None if value is None else 100 * value, digits)
    return shown if value is None else f"{shown} point{'' if shown.lstrip(MINUS) == '1' else 's'}"


def capital(text: str) -> str:
    """A text with its first letter as a capital."""
    return text[:1].upper() + text[1:]


def at_most(items: Sequence[str], most: int) -> list[str]:
    """The first of some items, and how many more there are."""
    return [*items[:most], *([f"{len(items) - most} more"] if len(items) > most else [])]


def join_words(words: Sequence[str], last: str = "and") -> str:
    """Join words as in a sentence.

    >>> join_words(["a", "b", "c"])
    'a, b and c'
    """
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def join_names(names: Sequence[str], last: str = "and") -> str:
    """Join names from data as in a sentence; very long ones are cut in the middle, tables show them whole."""
    return join_words([squeeze(name, 40) for name in names], last)


@dataclass(frozen=True)
class ToldTable:
    """A table as text: title, header, rows of cells, and remarks below it."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class ToldView:
    """An answer in words, and its tables."""

    attribute: str
    answer: str
    tables: tuple[ToldTable, ...]
