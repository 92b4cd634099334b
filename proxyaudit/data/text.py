"""Text as model input: a row of fixed width, the numbers of its tokens and then -1; and numbers that say what the text itself carries.

Token numbers stay below 2**24, so float32 holds them exactly. A fraction says which spans a token lies in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from proxyaudit.arrays import Singles
from proxyaudit.data.scrubbing import scrub
from proxyaudit.errors import InputError

Tokenize = Callable[[list[str]], Sequence[Sequence[float]]]
"""Texts to token numbers, cut to the encoder's width."""

NO_TOKEN = -1.0
COMPONENTS = 192
_FEWEST_TEXTS, _MOST_TERMS = 5, 20_000
_LARGEST_TOKEN = 2**24
_MARKS = re.compile(r"[^\w\s]")


@dataclass(frozen=True)
class TextEncoder:
    """A fixed map from texts to the model's inputs."""

    column: str
    train: pd.Series[Any]  # real training texts; what :meth:`features` is learnt on
    width: int  # tokens of a row; longer texts are cut
    tokenize: Tokenize | None = None  # the model's, attached when the model is known
    token_names: Callable[[list[int]], list[str]] | None = None  # what tokens stand for, as text; empty for special ones
    special: tuple[int, ...] = ()  # tokens that the tokenizer puts around every text

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the places of a row."""
        return tuple(f"{self.column} token {place + 1}" for place in range(self.width))

    @property
    def sources(self) -> tuple[str, ...]:
        """The feature that each place comes from."""
        return (self.column,) * self.width

    def transform(self, frame: pd.DataFrame) -> Singles:
        """``(n, width)`` token numbers, then ``NO_TOKEN``; a missing text is one token, 0. ``InputError``: numbers above float32's."""
        if self.tokenize is None:
            raise ValueError("the tokenizer comes with the model: attach it first")
        table = np.full((len(frame), self.width), NO_TOKEN, dtype=np.float32)
        for row, tokens in enumerate(self.tokenize(lines_of(frame[self.column]))):
            kept = tokens[: self.width] or [0]
            table[row, : len(kept)] = kept
        if table.max(initial=0) >= _LARGEST_TOKEN:
            raise InputError("the tokenizer's numbers are too large", where="model", mend="use another tokenizer")
        return table

    def scrubbed(self, frame: pd.DataFrame, rules: tuple[str, ...]) -> pd.DataFrame:
        """Return the same rows with words of the text masked."""
        return frame.assign(**{self.column: scrub(lines_of(frame[self.column]), rules)}) if rules else frame

    def features(self, frame: pd.DataFrame) -> Singles:
        """What the texts carry, as ``(n, d)`` numbers: terms and character patterns reduced to few dimensions, and their surface.

        It is what the ``inputs`` reader reads and placebos are planted on. A reader of it misses what lies in the order of words or
        in rare words, so it bounds what the inputs carry from below.
        """
        words, characters, reduce = self._fitted
        from scipy.sparse import hstack

        texts = lines_of(frame[self.column])
        terms = reduce.transform(hstack([words.transform(texts), characters.transform(texts)]).tocsr())
        return np.concatenate([terms, _surface(texts)], axis=1).astype(np.float32)

    @cached_property
    def _fitted(self) -> tuple[Any, Any, Any]:
        from scipy.sparse import hstack
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        texts = lines_of(self.train)
        fewest = min(_FEWEST_TEXTS, max(1, len(texts) // 20))
        shared = {"min_df": fewest, "max_features": _MOST_TERMS, "sublinear_tf": True}
        words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", **shared)
        characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), lowercase=False, **shared)
        try:
            table = hstack([words.fit_transform(texts), characters.fit_transform(texts)]).tocsr()
        except ValueError:
            raise InputError(f"column '{self.column}' holds hardly any words", where="data.text", mend="name a column of texts") from None
        size = max(1, min(COMPONENTS, table.shape[1] - 1, len(texts) // 4))
        return words, characters, TruncatedSVD(size, random_state=0).fit(table)


def lines_of(column: Iterable[Any]) -> list[str]:
    """The texts of a column; a missing one is empty."""
    return [text if isinstance(text, str) else "" for text in column]


def _surface(texts: list[str]) -> NDArray[np.float64]:
    """Length and shares of marks, capitals and digits: how a text is written, not what it says."""
    rows = np.zeros((len(texts), 8))
    for place, text in enumerate(texts):
        size, words = max(len(text), 1), text.split()
        rows[place] = (
            np.log1p(len(text)),
            np.log1p(len(words)),
            len(_MARKS.findall(text)) / size,
            sum(letter.isupper() for letter in text) / size,
            sum(letter.isdigit() for letter in text) / size,
            text.count("!") / size,
            text.count("?") / size,
            sum(map(len, words)) / max(len(words), 1),
        )
    return rows
