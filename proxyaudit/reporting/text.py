"""Text for readers: numbers, and strings from data made visible and harmless."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from proxyaudit.types import Estimate

__all__ = ["DASH", "MINUS", "interval", "join_names", "join_words", "number", "shorten", "squeeze", "visible"]

# Control characters, marks that turn the reading direction, surrogates and non-characters. Shown as
# code points: they break XML, or make a name read as another one.
_INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff]"
)
DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"


def visible(text: str) -> str:
    r"""Return ``text`` with characters that cannot be seen, or that reorder others, written as code points.

    >>> visible("a\u202eb")
    'a⟨U+202E⟩b'
    """
    return _INVISIBLE.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text)


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
    """Return a number with fixed digits and a true minus sign; a dash where there is none.

    >>> number(0.15749), number(-0.00001)
    ('0.157', '0.000')
    """
    if value is None:
        return DASH
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.removeprefix("-")
    return text.replace("-", MINUS)


def interval(estimate: Estimate | None) -> str:
    """Return ``low to high`` or an empty string."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return ""
    return f"{number(estimate.low)} to {number(estimate.high)}"


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
