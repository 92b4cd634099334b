"""Numbers in other clothes: with a currency or unit, marks between thousands, brackets for minus, or digits of another script.

They are measurements, and no names of rows, however seldom two of them are alike. Keys wear clothes too ("CUS52340"): letters count as a
unit only where the number has a fraction or marks between thousands, the letters are a currency's, or all values end on the same ones.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from proxyaudit.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    Column = pd.Series[Any]

_SIGN: Final = "[+(\u2212\u2010\u2011\u2012\u2013-]"
_BETWEEN: Final = "['\u2019`_,.\u066c \u00a0\u202f\u2009]"
_FRACTION: Final = r"[.,\uff0e\u066b]\d+"
_GROUPS: Final = rf"\d{{1,3}}(?P<mark>{_BETWEEN})\d{{3}}(?:(?P=mark)\d{{3}})?(?:(?!(?P=mark)){_FRACTION})?"  # an IP address has four
_CORE: Final = rf"(?:{_GROUPS}|\d+(?:{_FRACTION})?)"
_BEFORE: Final = r"(?P<before>[^\W\d_]{0,4}[^\w]{0,3}?)"
_AFTER: Final = r"\)?\s?(?P<after>[^\w]{0,2}|[^\W\d_]{1,4}\.?)"
_NUMBER: Final = re.compile(rf"{_BEFORE}{_SIGN}?\s?(?P<number>{_CORE}){_AFTER}")
_ZEROS: Final = re.compile(r"0\d")
_CURRENCY: Final = re.compile(
    r"(?:chf|eur|usd|gbp|jpy|cny|inr|sek|nok|dkk|pln|czk|huf|cad|aud|nzd|brl|zar|fr|rs|kr|zł|kč|ft)\.?|[a-z]{0,3}\$", re.IGNORECASE
)
_PLAIN: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_MOST: Final = 0.5  # of the values
_FEW_UNITS: Final = 3  # none among them
_APOSTROPHES: Final = re.compile(r"[+-]?(?:\d{1,3}(?:'\d{3})+|\d+)(?:\.\d+)?", re.ASCII)
_LOOKED_AT: Final = 5000  # different values


def decorated(known: Column) -> str | None:
    """A number as known texts that mostly are decorated numbers write it; ``None`` where they are plain ones, keys or words.

    >>> import pandas as pd
    >>> decorated(pd.Series(["52'340.25", "1'200.00"])), decorated(pd.Series(["A-1234", "B-5678"]))
    ("12'345.67", None)
    """
    texts = [str(value).strip() for value in known.unique()[:_LOOKED_AT]]
    found = [(text, match) for text in texts if (match := _NUMBER.fullmatch(text)) is not None and not _ZEROS.match(match["number"])]
    dressed = [(text, match) for text, match in found if not _PLAIN.fullmatch(text)]
    if len(dressed) <= _MOST * len(texts) or not _measures([match for _, match in dressed]):
        return None
    return Counter(disguised(text) for text, _ in dressed).most_common(1)[0][0]


def refuse_decorated(known: Column, name: str, *, fewest: int, where: str, leave: str) -> None:
    """``InputError`` where more than so many different texts of a column mostly are decorated numbers; ``leave``: what else mends it."""
    if known.nunique() <= fewest or (example := decorated(known)) is None:
        return
    mend = "write plain numbers (1234.5)"
    if all(_APOSTROPHES.fullmatch(str(value).strip()) for value in known.unique()):
        mend += """, or say of a CSV file: data: {format: {thousands: "'"}}"""
    what = f"column '{name}' writes numbers with marks that are not read (as in {example})"
    raise InputError(what, where=where, mend=f"{mend}, or {leave}")


def _measures(matches: list[re.Match[str]]) -> bool:
    """Whether letters and marks around and within the digits are those of measurements."""
    before = {match["before"].strip() for match in matches}
    after = {match["after"].strip() for match in matches}
    exact = sum(not match["number"].isdigit() for match in matches) > _MOST * len(matches)
    if max(len(before), len(after)) > _FEW_UNITS:
        return False
    return exact or all(not word or _CURRENCY.fullmatch(word) or unicodedata.category(word[0]) == "Sc" for word in before)


def disguised(text: str) -> str:
    """The clothes without the person: digits in their order from one on, of the script that they are of."""
    digits, made = 0, []
    for letter in text:
        if letter.isdigit() and (value := unicodedata.digit(letter, None)) is not None:
            digits += 1
            letter = chr(ord(letter) - value + digits % 10)
        made.append(letter)
    return "".join(made)
