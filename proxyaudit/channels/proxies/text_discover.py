"""Which words and habits of style carry a protected attribute: what columns are for a table, these are for a text.

Thousands of terms are screened by a trace of counts, some hundreds are read out of fold on training texts, and the strongest are followed
through the run. All of it goes by training texts; what is published is measured on audit texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Ints
from proxyaudit.causal.columns import settle_cells
from proxyaudit.causal.proxies import Target, associate
from proxyaudit.channels.proxies.discover import known_target
from proxyaudit.channels.proxy_plan import ProxyPlan, people
from proxyaudit.data.dataset import Dataset
from proxyaudit.data.public_counts import SMALLEST_CELL
from proxyaudit.data.scrub_words import FUNCTION_WORDS
from proxyaudit.data.text_features import STYLES, Habit, Terms, frequent_terms, habit_table
from proxyaudit.probes.crossfit import TooFewRowsError
from proxyaudit.recipe.recipe import Recipe
from proxyaudit.seeding import stream
from proxyaudit.types import NotTested

MOST_OF = {"word": 12, "style": 6, "pattern": 6}  # followed through a run; parts of words would crowd out what a reader understands
FEWEST_HABITS = 8
_MOST_TEXTS = 5000
_WORDS, _PATTERNS = 120, 60  # read out of fold, besides function words and ways of writing
_SAME = 0.6  # share of texts in common above which a pattern is another one over again


def discover_habits(recipe: Recipe, dataset: Dataset) -> tuple[Dataset, ProxyPlan]:
    """Find the words and habits that carry each protected attribute in the real training texts.

    Returns:
        The data set with notes on what was not looked at, and the plan.
    """
    assert dataset.text is not None
    root, protected = recipe.seed, [a for a in dataset.attributes if a.role == "protected"]
    frame = dataset.train
    if len(frame) > _MOST_TEXTS:
        frame = frame.iloc[np.sort(stream(root, "discovery rows").permutation(len(frame))[:_MOST_TEXTS])]
    frame = frame.reset_index(drop=True)
    clusters = people(dataset, frame)
    texts = _texts(frame, dataset.text)
    others, whose = _texts(dataset.audit, dataset.text), (writers(dataset, frame), writers(dataset, dataset.audit))
    terms = frequent_terms(texts, whose[0], others, whose[1])
    targets = {a.name: known_target(a, frame, clusters, root) for a in protected}
    candidates = _candidates(terms, _styles((texts, others), whose), frame, list(targets.values()))
    strongest = dict.fromkeys(candidates.columns, 0.0)
    cells = {str(name): settle_cells(candidates[name], "numeric") for name in candidates.columns}
    for target, known in targets.values():
        for name in candidates.columns:
            try:
                value = associate(cells[name].codes(candidates[name][known]), target).value
            except TooFewRowsError:
                break
            strongest[name] = max(strongest[name], value)
    ranked = sorted(strongest, key=lambda name: (-round(strongest[name], 9), name))
    named = {habit.name: habit for habit in (*terms.habits, *(Habit("style", name) for name in STYLES))}
    columns: list[str] = []
    for name in ranked:
        taken = sum(named[other].kind == named[name].kind for other in columns)
        if taken < MOST_OF[named[name].kind] and (strongest[name] > 0 or len(columns) < FEWEST_HABITS):
            columns.append(name)
    plan = ProxyPlan(tuple(columns), {}, {name: cells[name] for name in columns}, (), {name: named[name] for name in columns})
    return _noted(dataset, len(columns)), plan


def writers(dataset: Dataset, frame: pd.DataFrame) -> Ints:
    """Whose text each is: the group's; where there is none, equal texts are one person's."""
    column = dataset.group if dataset.group is not None and dataset.group in frame else dataset.text
    return np.asarray(pd.factorize(frame[column], use_na_sentinel=False)[0], dtype=np.int64)


def with_habits(frame: pd.DataFrame, dataset: Dataset, plan: ProxyPlan) -> pd.DataFrame:
    """The same rows with a column for each habit of the plan."""
    if dataset.text is None or not plan.habits:
        return frame
    table = habit_table(list(plan.habits.values()), _texts(frame, dataset.text))
    return pd.concat([frame.reset_index(drop=True), table], axis=1)


def _texts(frame: pd.DataFrame, column: str) -> list[str]:
    return [text if isinstance(text, str) else "" for text in frame[column]]


def _styles(texts: Sequence[Sequence[str]], people: Sequence[Ints]) -> dict[str, Floats]:
    """Ways of writing that at least eleven people use and that vary between as many, among the first texts (returned) and all others."""
    tables = [habit_table([Habit("style", name) for name in STYLES], lines) for lines in texts]

    def shared(name: str) -> bool:
        columns = [table[name].to_numpy() for table in tables]
        return all(
            len(np.unique(people_n[found_n])) >= SMALLEST_CELL
            for column_n, people_n in zip(columns, people, strict=True)
            for found_n in (column_n > 0, column_n != pd.Series(column_n).mode()[0])
        )

    return {name: tables[0][name].to_numpy() for name in STYLES if shared(name)}


def _candidates(
    terms: Terms, styles: dict[str, Floats], frame: pd.DataFrame, targets: Sequence[tuple[Target, NDArray[np.bool_]]]
) -> pd.DataFrame:
    """Columns to be read out of fold: ways of writing that vary, function words, and the terms whose counts differ most."""
    chosen = dict(styles)
    if terms.held_nv is not None:
        trace = _traces(terms, targets)
        order = sorted(range(len(terms.habits)), key=lambda place: (-round(float(trace[place]), 6), terms.habits[place].name))
        words = [place for place in order if terms.habits[place].kind == "word"]
        words = words[:_WORDS] + [place for place in words[_WORDS:] if terms.habits[place].what in FUNCTION_WORDS]
        for place in words:
            chosen[terms.habits[place].name] = _column(terms, place)
        patterns = 0
        for place in (place for place in order if terms.habits[place].kind == "pattern"):
            column = _column(terms, place)
            if patterns < _PATTERNS and not any(_overlap(column, other) >= _SAME for other in chosen.values()):
                chosen[terms.habits[place].name] = column
                patterns += 1
    return pd.DataFrame({name: column for name, column in chosen.items() if name not in frame})


def _column(terms: Terms, place: int) -> Floats:
    return np.asarray(terms.held_nv[:, [place]].toarray(), dtype=np.float64).ravel()


def _overlap(one_n: Floats, two_n: Floats) -> float:
    """Jaccard's index of the texts that hold two things."""
    both, either = ((one_n > 0) & (two_n > 0)).sum(), ((one_n > 0) | (two_n > 0)).sum()
    return float(both / max(either, 1))


def _traces(terms: Terms, targets: Sequence[tuple[Target, NDArray[np.bool_]]]) -> Floats:
    """How far the classes (or the mean) of an attribute differ between texts with and without each term; for screening only."""
    best = np.zeros(len(terms.habits))
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


def _noted(dataset: Dataset, followed: int) -> Dataset:
    notes = [
        *dataset.notes,
        NotTested(
            what="words that fewer than eleven people use, and what lies in the order of words, in grammar and in spelling",
            why=f"words, characters and habits of style were looked through one by one; the {followed} that carry most in the training "
            "texts were followed, and what few people write is never named",
        ),
    ]
    if dataset.group is None:
        why = "data.group names no column of authors, so every different text counts as another person's"
        notes.append(NotTested(what="whether words that are reported are those of fewer people than texts", why=why))
    return replace(dataset, notes=tuple(notes))
