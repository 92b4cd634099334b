"""Verbatim overlap: how much of real texts stands word for word in what was made from them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from proxyaudit.data.public_counts import count_words

_LONG = 12  # words in a row: hardly a phrase that everybody uses
_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")


def count_overlapping(texts: Iterable[Any], real: Iterable[Any], *, words: int = _LONG) -> int:
    """Number of texts that hold ``words`` words in a row which stand in a real one, whatever the marks and capitals.

    >>> count_overlapping(["So it fits well!", "it fits me"], ["It fits, well..."], words=3)
    1
    """
    known: set[int] = set()
    for text in real:
        known.update(_runs(text, words))
    return sum(any(run in known for run in _runs(text, words)) for text in texts)


def _runs(text: Any, words: int) -> Iterable[int]:
    """Hashes of the runs of words: as good as the words, and a tenth of the memory."""
    found = _WORD.findall(text.lower()) if isinstance(text, str) else []
    return map(hash, zip(*(found[start:] for start in range(words)), strict=False))


def overlap_words(copied: int, made: int, audit_copied: int, audit: int) -> str:
    """The counts in words: texts of a regime beside real ones that nobody copied, so coarse that none is a small cell."""
    return (
        f"{count_words(copied)} of {count_words(made)} texts hold {_LONG} words in a row that stand in a real training text; "
        f"of {count_words(audit)} real audit texts, which repeat training texts by chance only, {count_words(audit_copied)} do"
    )
