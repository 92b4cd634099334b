"""Synthetic texts by an interpolated n-gram model of words: cheap, deterministic, and not able to recite one text.

Counts of every context, from ``order - 1`` words down to none, are kept for each label and, within it, for each combination of the
other columns (a *cell*). The next word comes from the longest context, and with the probability that Witten & Bell (1991) leave to
words not seen after it from the next shorter one; at each length the cell stands before the label. A context is used only where texts of
``fewest_texts`` people share it: no passage of a single person can be followed on. Lost is what a text says beyond a few words in a row.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from proxyaudit.data.columns import MISSING, OTHER
from proxyaudit.data.public_counts import SMALLEST_CELL
from proxyaudit.seeding import stream
from proxyaudit.synthesizers.base import costs
from proxyaudit.synthesizers.texts import TRIES, TextSynthesizer

_TOKEN = re.compile(r"\s?(?:\w+(?:['\u2019]\w+)*|[^\w\s])")  # of several blanks the last: looking past all of them takes quadratic time
_START, _END = "\x02", "\x03"  # tokens of no text: control characters are dropped
_FEWEST_ROWS = 30  # of a combination of columns, as of a level of an attribute; and of eleven people
_MOST_LEVELS = 10
_QUARTERS = (0.25, 0.5, 0.75)
Context = tuple[Any, ...]


class NgramSynthesizer(TextSynthesizer):
    """One n-gram model of words."""

    called = "the n-gram model"
    more = "it needs more or longer ones to learn from"

    def __init__(
        self,
        order: int = 4,  # words of the longest n-gram; all but one of them are the context
        *,
        fewest_texts: int = 3,  # that must share a context before it is used; of as many people, where ``people`` are told
        max_words: int = 150,  # most words and marks of a new text
        text: str | None = None,  # the text column; None takes the one with the longest strings
        label: str | None = None,  # that texts are modelled apart for; None has a cell for every combination and nothing above it
        people: Sequence[int] | None = None,  # number of each fitted row's person; None takes every text for another person's
        seed: int = 0,  # kept for the protocol: the fit draws nothing
    ) -> None:
        self.order, self.fewest_texts, self.max_words = order, fewest_texts, max_words
        self.text, self.label, self.people, self.seed = text, label, people, seed

    def fit(self, frame: pd.DataFrame) -> Self:
        """Count the words of the rows' texts, each modelled after the other columns. Raises ``TaskError``: there are no texts."""
        held = self._learn_from(frame)
        people = np.arange(int(held.sum())) if self.people is None else np.asarray(self.people)[held]
        told = self.label is not None and self.label in self.controls_
        self.labels_ = ["=" + value for value in _levels(self.controls_[self.label])] if told else [""] * len(self.controls_)
        self.cells_ = self._cells(people)
        counts: dict[Context, Counter[str]] = {}
        shared: dict[Context, tuple[int, int | None]] = {}  # people of a context, and the last of them
        for row in np.argsort(people, kind="stable"):  # one person's texts together, so that the last one is enough to know
            for context, word in self._seen(tokens_of(self.texts_[row]), self.labels_[row], self.cells_[row]):
                counts.setdefault(context, Counter())[word] += 1
                found, last = shared.get(context, (0, None))
                if last != people[row]:
                    shared[context] = (found + 1, int(people[row]))
        self.table_ = {
            context: _Successors(after) for context, after in counts.items() if len(context) == 2 or shared[context][0] >= self.fewest_texts
        }
        return self

    def sample(self, n: int, seed: int) -> pd.DataFrame:
        """Draw ``n`` rows, a function of the seed alone. Raises ``TaskError``: the model writes nothing but empty texts."""
        drawn, rows = self._drawn(n, seed)
        return self._table(rows, [self._write(self.labels_[source], self.cells_[source], seed, row) for row, source in enumerate(drawn)])

    def _cells(self, people: NDArray[np.int64]) -> list[str]:
        """The combination of a row's columns; empty where too few rows or people share it, so that the label alone speaks."""
        others = [name for name in self.controls_.columns if name != self.label]
        if not others:
            return [""] * len(self.controls_)
        levels = [_levels(self.controls_[name]) for name in others]
        cells = ["\x1f".join(values) for values in zip(self.labels_, *levels, strict=True)]
        sizes = Counter(cells)
        whose = Counter(cell for cell, _ in set(zip(cells, people.tolist(), strict=True)))
        return [cell if sizes[cell] >= _FEWEST_ROWS and whose[cell] >= SMALLEST_CELL else "" for cell in cells]

    def _seen(self, words: list[str], label: str, cell: str) -> Iterator[tuple[Context, str]]:
        padded = [_START] * (self.order - 1) + words + [_END]
        for place in range(self.order - 1, len(padded)):
            for size in range(self.order):
                before = tuple(padded[place - size : place])
                yield (0, label, *before), padded[place]
                if cell:
                    yield (1, cell, *before), padded[place]

    def _write(self, label: str, cell: str, seed: int, row: int) -> str:
        for attempt in range(TRIES):
            words: list[str] = []
            before = [_START] * (self.order - 1)
            for number in stream(seed, "row", row, attempt).random(self.max_words):
                word = self._next(label, cell, before, float(number))
                if word == _END:
                    break
                words.append(word)
                before = [*before[1:], word]
            text = "".join(words).strip()
            if text:
                return text
        return ""

    def _next(self, label: str, cell: str, before: list[str], number: float) -> str:
        """Draw the next word with one uniform number, which each step down the contexts rescales."""
        for size in range(self.order - 1, -1, -1):
            tail = tuple(before[self.order - 1 - size :])
            for context in ((1, cell, *tail), (0, label, *tail)) if cell else ((0, label, *tail),):
                found = self.table_.get(context)
                if found is None:
                    continue
                if number < found.weight or (size == 0 and context[0] == 0):
                    return found.at(number / found.weight)
                number = (number - found.weight) / (1 - found.weight)
        raise AssertionError("words without a context are always counted")


class _Successors:
    """What follows a context, and how much of the probability is its own (Witten & Bell 1991, method C)."""

    __slots__ = ("cumulated", "weight", "words")

    def __init__(self, counts: Counter[str]) -> None:
        self.words = sorted(counts)
        self.cumulated: NDArray[np.int64] = np.cumsum([counts[word] for word in self.words])
        self.weight = float(self.cumulated[-1] / (self.cumulated[-1] + len(self.words)))

    def at(self, share: float) -> str:
        place = int(np.searchsorted(self.cumulated, min(share, 1.0) * float(self.cumulated[-1]), side="right"))
        return self.words[min(place, len(self.words) - 1)]


def tokens_of(text: str) -> list[str]:
    """Words and marks, each with the blank before it if there is one, so that joining them gives the text back after a blank.

    >>> tokens_of("It's nice,  very!")
    [" It's", ' nice', ',', ' very', '!']
    """
    found = (match.group() for match in _TOKEN.finditer(f" {text.replace(_START, '').replace(_END, '')}"))
    return [f" {token.strip()}" if token[0].isspace() else token for token in found]


def _levels(column: "pd.Series[Any]") -> list[str]:
    """A column as few levels: many numbers by their quarters, the most frequent values by name, the rest together."""
    if column.dtype.kind in "iuf" and column.nunique() > _MOST_LEVELS:
        values = column.to_numpy(dtype=np.float64)
        quarter = np.searchsorted(np.nanquantile(values, _QUARTERS), values)
        return [MISSING if np.isnan(value) else f"quarter {place}" for value, place in zip(values, quarter, strict=True)]
    text = ["" if pd.isna(value) else f"is {value}" for value in column]
    counts = Counter(text)
    kept = set(sorted(counts, key=lambda level: (-counts[level], level))[:_MOST_LEVELS])
    return [(level or MISSING) if level in kept else OTHER for level in text]


@costs(1.5)  # fitted and drawn from
def ngram(epochs: int | None = None, seed: int = 0, **options: Any) -> NgramSynthesizer:
    """An n-gram model of words; ``order`` and the other keys of a recipe's ``ngram`` are its options, ``epochs`` has no meaning for it."""
    return NgramSynthesizer(seed=seed, **options)
