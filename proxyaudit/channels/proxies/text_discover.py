"""Which features of texts are asked whether they carry an attribute: what columns are for a table, these are for a text.

Thousands of terms are screened by a trace of counts, some hundreds are read out of fold on training texts, and the strongest are followed
through the run. All of it goes by training texts; what is published is measured on audit texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Ints
from proxyaudit.causal.columns import settle_cells
from proxyaudit.causal.proxies import Target
from proxyaudit.channels.proxy_plan import Proxy
from proxyaudit.data.dataset import Dataset
from proxyaudit.data.public_counts import SMALLEST_CELL
from proxyaudit.data.scrub_words import FUNCTION_WORDS
from proxyaudit.data.text import lines_of
from proxyaudit.data.text_features import STYLES, Terms, TextFeature, feature_table, frequent_terms
from proxyaudit.types import NotTested

MOST_OF = {"word": 12, "style": 6, "pattern": 6}  # followed through a run; parts of words would crowd out what a reader understands
FEWEST_FEATURES = 8
MOST_TEXTS = 5000
_WORDS, _PATTERNS = 120, 60  # read out of fold, besides function words and ways of writing
_SAME = 0.6  # share of texts in common above which a pattern is another one over again
_STYLES = [TextFeature("style", name) for name in STYLES]


def candidates(
    dataset: Dataset, column: str, frame: pd.DataFrame, targets: Sequence[tuple[Target, NDArray[np.bool_]]]
) -> tuple[pd.DataFrame, list[Proxy]]:
    """Features to be read out of fold, and their values: ways of writing that vary, function words, and the terms that differ most."""
    texts, others = lines_of(frame[column]), lines_of(dataset.audit[column])
    whose = (_writers(dataset, frame), _writers(dataset, dataset.audit))
    terms = frequent_terms(texts, whose[0], others, whose[1])
    chosen = _with_terms(_styles((texts, others), whose), terms, targets)
    values = pd.DataFrame({name: column for name, column in chosen.items() if name not in frame})
    named = {feature.name: feature for feature in (*terms.features, *_STYLES)}
    return values, [Proxy(settle_cells(values[name], "numeric"), named[name]) for name in values.columns]


def pick_features(ranked: Sequence[Proxy], strongest: Mapping[str, float]) -> tuple[Proxy, ...]:
    """Those that are followed, the strongest first: so many of each kind, and none that carries nothing once there are a few."""
    picked: list[Proxy] = []
    for proxy in ranked:
        assert proxy.feature is not None
        taken = sum(other.feature is not None and other.feature.kind == proxy.feature.kind for other in picked)
        if taken < MOST_OF[proxy.feature.kind] and (strongest[proxy.name] > 0 or len(picked) < FEWEST_FEATURES):
            picked.append(proxy)
    return tuple(picked)


def notes_on_texts(dataset: Dataset, followed: int) -> list[NotTested]:
    """What of texts was not looked at."""
    notes = [
        NotTested(
            what="words that fewer than eleven people use, and what lies in the order of words, in grammar and in spelling",
            why=f"words, characters and habits of style were looked through one by one; the {followed} that carry most in the training "
            "texts were followed, and what few people write is never named",
        )
    ]
    if dataset.group is None:
        why = "data.group names no column of authors, so every different text counts as another person's"
        notes.append(NotTested(what="whether words that are reported are those of fewer people than texts", why=why))
    return notes


def _writers(dataset: Dataset, frame: pd.DataFrame) -> Ints:
    """Whose text each is: the group's; where there is none, equal texts are one person's."""
    column = dataset.group if dataset.group is not None and dataset.group in frame else dataset.text
    return np.asarray(pd.factorize(frame[column], use_na_sentinel=False)[0], dtype=np.int64)


def _styles(texts: Sequence[Sequence[str]], people: Sequence[Ints]) -> dict[str, Floats]:
    """Ways of writing that at least eleven people use and that vary between as many, among the first texts (returned) and all others."""
    tables = [feature_table(_STYLES, lines) for lines in texts]

    def shared(name: str) -> bool:
        columns = [table[name].to_numpy() for table in tables]
        return all(
            len(np.unique(people_n[found_n])) >= SMALLEST_CELL
            for column_n, people_n in zip(columns, people, strict=True)
            for found_n in (column_n > 0, column_n != pd.Series(column_n).mode()[0])
        )

    return {name: tables[0][name].to_numpy() for name in STYLES if shared(name)}


def _with_terms(styles: dict[str, Floats], terms: Terms, targets: Sequence[tuple[Target, NDArray[np.bool_]]]) -> dict[str, Floats]:
    """Ways of writing, words, and patterns that are nothing of these over again; those whose counts differ most first."""
    if terms.held_nv is None:
        return styles
    trace = _traces(terms, targets)
    order = sorted(range(len(terms.features)), key=lambda place: (-round(float(trace[place]), 6), terms.features[place].name))
    words = [place for place in order if terms.features[place].kind == "word"]
    words = words[:_WORDS] + [place for place in words[_WORDS:] if terms.features[place].what in FUNCTION_WORDS]
    chosen = styles | {terms.features[place].name: terms.column(place) for place in words}
    patterns = 0
    for place in (place for place in order if terms.features[place].kind == "pattern"):
        column = terms.column(place)
        if patterns < _PATTERNS and not any(_overlap(column, other) >= _SAME for other in chosen.values()):
            chosen[terms.features[place].name] = column
            patterns += 1
    return chosen


def _overlap(one_n: Floats, two_n: Floats) -> float:
    """Jaccard's index of the texts that hold two things."""
    both, either = ((one_n > 0) & (two_n > 0)).sum(), ((one_n > 0) | (two_n > 0)).sum()
    return float(both / max(either, 1))


def _traces(terms: Terms, targets: Sequence[tuple[Target, NDArray[np.bool_]]]) -> Floats:
    """How far the classes (or the mean) of an attribute differ between texts with and without each term; for screening only."""
    best = np.zeros(len(terms.features))
    for target, known in targets:
        held = terms.held_nv.tocsr()[known]
        n, size = held.shape[0], np.asarray(held.sum(axis=0)).ravel()
        if target.classes:
            columns = (target.labels_n[:, None] == np.arange(target.classes)).astype(np.float64)
        else:
            values = target.labels_n.astype(np.float64)
            columns = ((values - values.mean()) / max(float(values.std()), 1e-300))[:, None]
        sums, mean = np.asarray(held.T @ columns), columns.mean(axis=0)
        spread = np.maximum((mean if target.classes else np.ones(1)) * (size * (1 - size / max(n, 1)))[:, None], 1e-9)
        free = max(columns.shape[1] - 1, 1)
        best = np.maximum(best, (((sums - size[:, None] * mean) ** 2 / spread).sum(axis=1) - free) / np.sqrt(2 * free))
    return best
