"""Features of texts as columns: what one text has of each, and the text without it.

A feature is a word, a pattern of characters within words, or a way of writing that can be counted. Words that few people use can name a
person: a word or pattern is only named where at least eleven people use it, given names are counted together, digits are not looked at.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from proxyaudit.arrays import Floats, Ints
from proxyaudit.data.public_counts import SMALLEST_CELL, count_words
from proxyaudit.data.scrub_style import CONTRACTION, DRAWN_OUT, EMOTICON, spell_out
from proxyaudit.data.scrubbing import AMBIGUOUS_NAMES, FUNCTION_WORDS, GENDERED, GIVEN_NAMES, MASK
from proxyaudit.later import Later

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = Later("pandas")  # slow to load, and needless for commands that read evidence

_WORD = re.compile(r"(?<![^\W_])[^\W\d_]+(?:['\u2019][^\W\d_]+)*(?![^\W_])")
_ELLIPSIS = re.compile(r"\.{2,}|\u2026")
_STOP = re.compile(r"(?<!\.)\.(?!\.)")
_OTHER_MARK = re.compile(r"[^\w\s.,!?\u2026'\u2019]|_")
_CAPITALS = re.compile(r"\b[^\W\d_]{2,}\b")
_SPOKEN = re.compile(r"\w+(?:['\u2019]\w+)*")
_LONG = 12  # words in a row: hardly a phrase that everybody uses
_NAMES = GIVEN_NAMES - AMBIGUOUS_NAMES
_BLANKS = re.compile(r"\s+")
_MOST_TERMS = 20_000
_PATTERN = (2, 4)
BLANK = "\u00b7"  # how a pattern shows the edge of a word


def words_of(text: str) -> list[str]:
    """Words of a text in small letters; a mask is no word."""
    return [word.replace("\u2019", "'") for word in _WORD.findall(text.replace(MASK, " ").lower())]


def patterns_of(text: str) -> set[str]:
    """Runs of two to four characters inside words, with the blanks around them; capitals and marks count."""
    found: set[str] = set()
    for word in text.replace(MASK, " ").split():
        padded = f" {word} "
        for size in range(_PATTERN[0], _PATTERN[1] + 1):
            found.update(padded[start : start + size] for start in range(len(padded) - size + 1))
    return found


@dataclass(frozen=True)
class TextFeature:
    """A word, a pattern of characters or a way of writing."""

    kind: Literal["word", "pattern", "style"]
    what: str  # the word, the pattern, or the name of a way of writing in ``STYLES``

    @property
    def name(self) -> str:
        """How reports call it."""
        if self.kind == "style":
            return self.what
        if self.kind == "pattern":
            return f"characters \u201c{self.what.replace(' ', BLANK)}\u201d"
        return f"{'function word' if self.what in FUNCTION_WORDS else 'word'} \u201c{self.what}\u201d"

    @property
    def removable(self) -> bool:
        """Whether a text can be written without it."""
        return self.kind != "style" or STYLES[self.what][1] is not None

    def without(self, text: str) -> str:
        """The text without it: its words or marks left out, or written as others write; masks stay."""
        found = MASK.join(self._left_out(part) for part in text.split(MASK))
        return text if found == text else found.strip()

    def _left_out(self, text: str) -> str:
        if self.kind == "style":
            remove = STYLES[self.what][1]
            return text if remove is None else remove(text)
        if self.kind == "word":
            return _drop_words(text, lambda word: word == self.what)
        bare = self.what.strip()
        letters = any(letter.isalnum() for letter in bare)
        kept = []
        for token in re.split(r"(\s+)", text):
            if token and not token.isspace() and self.what in f" {token} ":
                # A run of marks is left out; of letters, the whole word.
                token = "" if letters else token.replace(bare, "")
            kept.append(token)
        return _tidy(text, "".join(kept))


def _tidy(before: str, after: str) -> str:
    return before if after == before else _BLANKS.sub(" ", after)


def _drop_words(text: str, gone: Callable[[str], bool]) -> str:
    return _tidy(text, _WORD.sub(lambda m: "" if gone(m.group().lower().replace("\u2019", "'")) else m.group(), text))


def _is_capitals(word: str) -> bool:
    return len(word) > 1 and word.isupper()


def _is_emoji(letter: str) -> bool:
    return unicodedata.category(letter) == "So"


def _words_in(words: frozenset[str]) -> Callable[[str], float]:
    return lambda text: sum(word in words for word in words_of(text))


def is_given_name(word: str) -> bool:
    """Whether a word is a given name of the built-in list, in capitals or not."""
    return word.lower().replace("\u2019", "'").removesuffix("'s") in _NAMES


def holds_given_name(term: str) -> bool:
    """Whether a run of characters is a given name or has one as a whole word, as far as it shows."""
    return any(map(is_given_name, words_of(term)))


Count = Callable[[str], float]
Remove = Callable[[str], str]


def _pattern(pattern: re.Pattern[str], instead: str = " ") -> tuple[Count, Remove]:
    return lambda text: len(pattern.findall(text)), lambda text: _tidy(text, pattern.sub(instead, text))


# What is counted (per hundred words, but for the first two), and how a text is written without it.
STYLES: dict[str, tuple[Count, Remove | None]] = {
    "length in words": (lambda text: len(words_of(text)), None),
    "length of words": (lambda text: float(np.mean([len(word) for word in words_of(text)] or [0])), None),
    "capital letters": (lambda text: sum(letter.isupper() for letter in text), str.lower),
    "words in capitals": (
        lambda text: sum(_is_capitals(word) for word in _CAPITALS.findall(text)),
        lambda text: _CAPITALS.sub(lambda match: match.group().lower() if _is_capitals(match.group()) else match.group(), text),
    ),
    "exclamation marks": _pattern(re.compile("!")),
    "question marks": _pattern(re.compile(r"\?")),
    "commas": _pattern(re.compile(",")),
    "full stops": _pattern(_STOP),
    "ellipses": _pattern(_ELLIPSIS),
    "other marks": _pattern(_OTHER_MARK),
    "digits": _pattern(re.compile(r"\d")),
    "emoticons and emoji": (
        lambda text: len(EMOTICON.findall(text)) + sum(map(_is_emoji, text)),
        lambda text: _tidy(text, "".join(" " if _is_emoji(letter) else letter for letter in EMOTICON.sub(" ", text))),
    ),
    "drawn-out words": _pattern(DRAWN_OUT, r"\1"),
    "contractions": (lambda text: len(CONTRACTION.findall(text)), spell_out),
    "function words": (_words_in(FUNCTION_WORDS), lambda text: _drop_words(text, FUNCTION_WORDS.__contains__)),
    "gendered words": (_words_in(GENDERED), lambda text: _drop_words(text, GENDERED.__contains__)),
    "given names": (lambda text: sum(map(is_given_name, words_of(text))), lambda text: _drop_words(text, is_given_name)),
}
_NOT_RATES = frozenset(list(STYLES)[:2])


def feature_table(features: Sequence[TextFeature], texts: Sequence[str]) -> pd.DataFrame:
    """What each text has of each feature: 1 or 0 for words and patterns, occurrences per hundred words for ways of writing."""
    found = np.zeros((len(texts), len(features)))
    for row, text in enumerate(texts):
        words, plain = words_of(text), text.replace(MASK, " ")
        own, patterns, rate = set(words), None, 100 / max(len(words), 1)
        for place, feature in enumerate(features):
            if feature.kind == "word":
                found[row, place] = feature.what in own
            elif feature.kind == "pattern":
                patterns = patterns_of(text) if patterns is None else patterns
                found[row, place] = feature.what in patterns
            else:
                count = STYLES[feature.what][0](plain)
                found[row, place] = count if feature.what in _NOT_RATES else count * rate
    return pd.DataFrame(found, columns=[feature.name for feature in features])


@dataclass(frozen=True)
class Terms:
    """Words and patterns that may be named, and the texts that hold them."""

    features: tuple[TextFeature, ...]
    held_nv: Any  # sparse; 1 where a text holds one

    def column(self, place: int) -> Floats:
        """Which texts hold one term, shape ``(n,)``."""
        return np.asarray(self.held_nv[:, [place]].toarray(), dtype=np.float64).ravel()


def frequent_terms(texts: Sequence[str], people_n: Ints, others: Sequence[str], other_people_n: Ints) -> Terms:
    """Words and patterns that at least eleven people use, and eleven do not, among training texts and among other ones.

    ``people_n`` says whose a text is; where nobody said, equal texts are one person's.
    """
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import CountVectorizer

    kept: list[TextFeature] = []
    held: list[Any] = []
    kinds: tuple[tuple[Literal["word", "pattern"], Callable[[str], Any]], ...] = (("word", words_of), ("pattern", patterns_of))
    for kind, split in kinds:
        reader = CountVectorizer(analyzer=split, binary=True, min_df=SMALLEST_CELL, max_features=_MOST_TERMS)
        try:
            table = reader.fit_transform(texts).tocsc()
        except ValueError:  # no term is frequent enough
            continue
        people = [_people_of(table, people_n), _people_of(reader.transform(others).tocsc(), other_people_n)]
        sizes = [len(np.unique(ids)) for ids in (people_n, other_people_n)]
        fit = np.all([(p >= SMALLEST_CELL) & (size - p >= SMALLEST_CELL) for p, size in zip(people, sizes, strict=True)], axis=0)
        names = reader.get_feature_names_out()
        chosen = [place for place in np.flatnonzero(fit) if _may_be_named(kind, str(names[place]))]
        kept += [TextFeature(kind, str(names[place])) for place in chosen]
        held.append(table[:, chosen])
    return Terms(tuple(kept), hstack(held).tocsc() if kept else None)


def _people_of(table_nv: Any, people_n: Ints) -> Ints:
    """Number of people that use each term."""
    from scipy.sparse import coo_matrix

    dense = np.unique(people_n, return_inverse=True)[1]
    own = coo_matrix((np.ones(len(dense)), (dense, np.arange(len(dense)))), shape=(int(dense.max()) + 1, len(dense))).tocsr()
    return np.asarray(((own @ table_nv) > 0).sum(axis=0)).ravel().astype(np.int64)


def _may_be_named(kind: str, term: str) -> bool:
    if any(letter.isdigit() for letter in term) or not term.isprintable():
        return False
    return not is_given_name(term) if kind == "word" else bool(term.strip()) and not holds_given_name(term)


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
    found = _SPOKEN.findall(text.lower()) if isinstance(text, str) else []
    return map(hash, zip(*(found[start:] for start in range(words)), strict=False))


def overlap_words(copied: int, made: int, audit_copied: int, audit: int) -> str:
    """The counts in words: texts of a regime beside real ones that nobody copied, so coarse that none is a small cell."""
    return (
        f"{count_words(copied)} of {count_words(made)} texts hold {_LONG} words in a row that stand in a real training text; "
        f"of {count_words(audit)} real audit texts, which repeat training texts by chance only, {count_words(audit_copied)} do"
    )
