"""Contexts in which signatures are read: slices of the audit rows by the output, or groups of them by a column."""

from itertools import pairwise

import numpy as np
import pandas as pd

from proxyaudit.arrays import Floats, Ints
from proxyaudit.data.columns import labels
from proxyaudit.data.dataset import Dataset
from proxyaudit.data.public_counts import SMALLEST_CELL, count_people
from proxyaudit.errors import InputError
from proxyaudit.evidence.signatures import Contexts
from proxyaudit.recipe.recipe import SignaturesSpec

FEWEST_ROWS = 100  # rows of a context; fewer say nothing about a leak of the margin
MOST_COLUMN_CONTEXTS = 24
HELD_OUT = 3
_FEWEST_WITH_HELD_OUT = HELD_OUT + 2


def make_contexts(spec: SignaturesSpec, dataset: Dataset, output_n: Floats) -> Contexts:
    """Slices of the audit rows; every second inner one is held out, and never fewer than three where there are five or more.

    Raises ``InputError``: the column that the recipe names is not read, or takes too few or too many values.
    """
    if spec.contexts is None:
        count = max(min(spec.slices, len(output_n) // FEWEST_ROWS), 1)
        cuts = np.unique([float(f"{q:.6g}") for q in np.quantile(output_n, np.arange(1, count) / count)])
        edges = tuple(float(cut) for cut in cuts)
        return Contexts(column=None, names=_slice_names(edges), edges=edges, held_out=_held_out(len(edges) + 1))
    name, where = spec.contexts, "signatures.contexts"
    if name == dataset.text:
        raise InputError(f"'{name}' holds the texts", where=where, mend="name a column of few values, such as topic or source")
    if name not in dataset.audit.columns:
        known = ", ".join(map(str, dataset.audit.columns[:8]))
        raise InputError(f"the audit reads no column '{name}'", where=where, mend=f"name one of its columns, e.g. {known}")
    values = labels(dataset.audit[name])
    counts = values.value_counts()
    large = counts[counts >= FEWEST_ROWS].index
    if dataset.group is not None:
        people = count_people(values, dataset.audit[dataset.group])
        large = large[people[large] >= SMALLEST_CELL]
    levels = tuple(sorted(str(level) for level in large))
    if not levels or len(levels) > MOST_COLUMN_CONTEXTS:
        found = f"column '{name}' has {len(levels)} values of {FEWEST_ROWS} audit rows or more"
        raise InputError(found, where=where, mend="name a column with 1 to 24")
    return Contexts(column=name, names=levels, levels=levels, held_out=_held_out(len(levels)))


def check_contexts(spec: SignaturesSpec | None, dataset: Dataset) -> None:
    """Refuse, before anything is measured, a column that contexts cannot go by; raises as :func:`make_contexts`."""
    if spec is not None and spec.contexts is not None:
        make_contexts(spec, dataset, np.zeros(len(dataset.audit)))


def context_codes(contexts: Contexts, frame: pd.DataFrame, output_n: Floats | None) -> Ints:
    """Number of the context of each row, -1 where it is in none; ``output_n`` is the mean output of the reference models."""
    if contexts.column is None:
        return np.full(len(frame), -1) if output_n is None else np.searchsorted(np.array(contexts.edges), output_n, side="right")
    if contexts.column not in frame.columns:
        return np.full(len(frame), -1)
    return pd.Index(contexts.levels).get_indexer(pd.Index(labels(frame[contexts.column]))).astype(np.int64)


def followed_output(outputs_nc: Floats) -> Floats:
    """The output that slices go by: the second of two classes, or the first of several."""
    return np.asarray(outputs_nc[:, 0])


def _slice_names(edges: tuple[float, ...]) -> tuple[str, ...]:
    if not edges:
        return ("all outputs",)
    inner = [f"output {a:.3g} to {b:.3g}" for a, b in pairwise(edges)]
    names = [f"output below {edges[0]:.3g}", *inner, f"output from {edges[-1]:.3g}"]
    return tuple(name if names.count(name) == 1 else f"{name} (slice {place + 1})" for place, name in enumerate(names))


def _held_out(count: int) -> tuple[bool, ...]:
    if count < _FEWEST_WITH_HELD_OUT:
        return (False,) * count
    # The outermost slices are never held out: a map would have to leave the range that it was fitted on.
    marks = [place % 2 == 1 and place < count - 1 for place in range(count)]
    if sum(marks) < HELD_OUT:
        marks[2 if count == _FEWEST_WITH_HELD_OUT else 4] = True
    return tuple(marks)
