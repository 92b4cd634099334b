"""Passages that texts have word for word in common: how much of real texts stands in what was made from them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from proxyaudit.data.public_counts import count_words

__all__ = ["LONG", "count_passages", "passage_words"]

LONG = 12  # words in a row: hardly a phrase that everybody uses
_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")


def count_passages(texts: Iterable[Any], real: Iterable[Any], *, words: int = LONG) -> int:
    """Number of texts that hold a passage of ``words`` words which stands in a real one, whatever the marks and capitals.

    >>> count_passages(["So it fits well!", "it fits me"], ["It fits, well..."], words=3)
    1
    """
    known: set[int] = set()
    for text in real:
        known.update(_passages(text, words))
    return sum(any(passage in known for passage in _passages(text, words)) for text in texts)


def _passages(text: Any, words: int) -> Iterable[int]:
    """Hashes of the passages: as good as the words, and a tenth of the memory."""
    found = _WORD.findall(text.lower()) if isinstance(text, str) else []
    return map(hash, zip(*(found[start:] for start in range(words)), strict=False))


def passage_words(copied: int, made: int, audit_copied: int, audit: int) -> str:
    """The counts in words: texts of a regime beside real ones that nobody copied, so coarse that none is a small cell."""
    return (
        f"{count_words(copied)} of {count_words(made)} texts hold {LONG} words in a row that stand in a real training text; "
        f"of {count_words(audit)} real audit texts, which repeat training texts by chance only, {count_words(audit_copied)} do"
    )
