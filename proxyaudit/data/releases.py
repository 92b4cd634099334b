"""Releases: synthetic tables that someone else made, brought to the real table's kinds or refused."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from proxyaudit.data.dataset import Dataset, conform
from proxyaudit.data.dots import check_dots
from proxyaudit.data.encoding import check_seen
from proxyaudit.data.faults import Faults
from proxyaudit.data.public_counts import count_words, share_words
from proxyaudit.data.reading import Reading, Told
from proxyaudit.data.sources import require_columns
from proxyaudit.data.spellings import spelling_notes
from proxyaudit.data.splits import row_hashes
from proxyaudit.data.streaming import MEMORY, Sampling
from proxyaudit.data.tables import read_table, resolve_path
from proxyaudit.data.unseen import Unseen
from proxyaudit.errors import InputError
from proxyaudit.recipe.recipe import Recipe
from proxyaudit.types import NotTested

MOST_EMPTY = 0.5  # of a release's texts
_GIVE_MADE = "give the release one row for each person with this column, or leave the column out: data: {exclude: [...]}"


def load_releases(recipe: Recipe, dataset: Dataset, base: Path, notes: list[NotTested]) -> dict[str, pd.DataFrame]:
    """Read every release file and bring it to the real table's kinds: coerced rows by regime name.

    Features and target must be there; protected columns and proxies that are no inputs may be lacking; other columns are ignored.
    ``notes`` takes spellings that were united. ``InputError`` if a column is missing, a value cannot be read, or the target is unfit.
    """
    releases = {}
    for entry in recipe.regimes:
        spec = entry.synthetic
        if spec is None or spec.path is None:
            continue
        what = f"release {spec.regime}"
        path = resolve_path(spec.path, base=base, what=what, folders=True)
        told, faults = Told(), Faults(what, str(path))
        labels = () if dataset.read.labels is None else dataset.read.labels.names
        strata = (*dataset.protected, *(() if dataset.read.number is not None else (dataset.target,)))
        sampling = Sampling(recipe.seed, recipe.data.memory or MEMORY, None, dataset.group, strata)
        reading = Reading.of(spec.format, recipe.values, "synthetic", dataset.metadata, sampling, dataset.histories, labels)
        table = read_table(path, what=what, reading=reading, told=told, faults=faults)
        present = [str(name) for name in table.columns]
        made = dataset.histories.made(kind.name for kind in dataset.kinds)
        for role, names in (("input", [f.name for f in dataset.features]), ("target", [dataset.target])):
            for name in names:
                if name not in present and name in made:
                    faults.add(f"{what}: column '{name}' is missing, which data.join or data.pool makes of real rows", _GIVE_MADE)
                    continue
                with faults.gathering():
                    require_columns((name,), present, where=str(path), role=role)
        columns = tuple(name for name in dataset.synthesis_columns(sees_protected=True) if name in present)
        rows = conform(dataset, table, columns, where=str(path), faults=faults)
        check_dots(pd.concat([dataset.train, dataset.audit]), rows, (dataset.dotted, told.dotted), faults, "synthetic")
        _check_release(rows, dataset, faults)
        notes += told.notes(columns, what) + spelling_notes(table, dataset.kinds, what)
        releases[spec.regime] = rows
    return releases


def _check_release(rows: pd.DataFrame, dataset: Dataset, faults: Faults) -> None:
    what, where = faults.table, faults.where
    if dataset.target in rows and (missing := int(rows[dataset.target].isna().sum())):
        faults.add(f"{what}: {count_words(missing)} rows have no target '{dataset.target}'", "fill or drop those rows")
    check_seen(dataset.encoder, rows, table=what, where=where, faults=faults)
    for feature in dataset.features:
        if feature.kind == "text" and feature.name in rows and rows[feature.name].isna().mean() > MOST_EMPTY:
            faults.add(f"{what}: most rows have no text", "drop rows without text")
    faults.settle()
    try:
        dataset.encoder.transform(rows)
        said = dataset.learnt(rows)
    except InputError as error:
        raise InputError(f"{what}: {error.what}", where=", ".join(filter(None, (where, error.where))), mend=error.mend) from None
    if len(np.unique(said)) < 2:
        mend = "a model cannot be trained on it; give another release"
        raise InputError(f"{what}: target '{dataset.target}' has one value only", where=where, mend=mend)


def unseen_of(dataset: Dataset, name: str, rows: pd.DataFrame) -> tuple[Unseen, ...]:
    """Inputs of which the encoder cannot see some of a release."""
    return check_seen(dataset.encoder, rows, table=f"release {name}", where=name)


def release_notes(dataset: Dataset, releases: Mapping[str, pd.DataFrame]) -> tuple[NotTested, ...]:
    """Say which releases hold categories that real data lack, or rows equal to audit rows, as a maker who copies leaves."""
    notes = []
    for name, rows in releases.items():
        unseen = unseen_of(dataset, name, rows)
        notes += [found.note() for found in unseen]
        told = {found.column for found in unseen}
        for column in (f.name for f in dataset.features if f.kind == "categorical" and f.name not in told):
            known, real = rows[column].dropna(), pd.concat([dataset.train[column], dataset.audit[column]]).dropna()
            foreign = ~known.isin(set(real))
            if foreign.any():
                share = share_words(float(foreign.mean()) * len(rows), len(rows))
                why = f"no real row has them, so the model cannot see them ({share} of the column)"
                notes.append(NotTested(what=f"release {name}: some categories of column {column}", why=why))
        columns = list(rows.columns) if dataset.text is None else [dataset.text]
        audit = row_hashes(dataset.audit, columns)
        if len(np.unique(audit)) < len(audit) / 2:
            continue  # coarse rows coincide by chance
        copies = int(np.isin(row_hashes(rows, columns), audit).sum())
        if copies:
            why = f"{count_words(copies)} of its rows equal an audit row; some do by chance"
            notes.append(NotTested(what=f"how far what release {name} shows comes from rows that it shares with the audit", why=why))
    return tuple(notes)
