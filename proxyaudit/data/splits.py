"""Which real rows train and which audit: rows brought to their kinds, clusters that stay whole, and splits that row order cannot change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from proxyaudit.arrays import Ints
from proxyaudit.data.columns import Column, ColumnKind, coerce, labels
from proxyaudit.data.dots import check_dots
from proxyaudit.data.encoding import check_like
from proxyaudit.data.faults import Faults
from proxyaudit.data.frames import table_digest
from proxyaudit.data.public_counts import SMALLEST_CELL, count_people
from proxyaudit.data.reading import Told
from proxyaudit.data.sitting_out import NOTE, stay
from proxyaudit.data.sources import Roles, Source
from proxyaudit.data.spellings import spelling_notes
from proxyaudit.data.tables import read_table, resolve_path
from proxyaudit.errors import InputError
from proxyaudit.recipe.recipe import Recipe
from proxyaudit.seeding import stream
from proxyaudit.types import NotTested

# Fewer distinct values than this cannot tell people apart, so equal rows are no sign of copying.
MIN_TELLING_VALUES = 30
MAX_JOINED_SHARE = 0.1
_SHOWN = 3  # classes


def row_hashes(frame: pd.DataFrame, columns: list[str]) -> NDArray[np.uint64]:
    """Return a 64-bit hash of each row's values in ``columns``; 1 and 1.0 hash alike, missing equals missing."""
    plain = pd.DataFrame(index=frame.index)
    for number, name in enumerate(columns):
        column = frame[name]
        numeric = column.dtype.kind in "iuf"
        plain[number] = column.astype("float64") + 0.0 if numeric else column.astype(object).where(column.notna(), "")
    return np.asarray(pd.util.hash_pandas_object(plain, index=False), dtype=np.uint64)


@dataclass(frozen=True)
class Clusters:
    """Rows that belong together."""

    ids: Ints  # dense cluster number of each row, numbered by content and not by place in the file
    copies: bool  # whether equal rows were taken for copies of one person and so joined
    repeated: bool  # whether the table has equal rows at all


def find_clusters(frame: pd.DataFrame, columns: list[str], group: Column | None, *, texts: bool = False) -> Clusters:
    """Find rows that belong together: one ``group`` value, or copies of one another.

    Equal rows are copies where rows can tell people apart: at least half of the rows are distinct, or
    some column has half as many distinct values as there are distinct rows; or where there are less than half as many
    distinct rows as there would be if columns hung together in pairs only. In a table of a few coarse
    columns equal rows are simply people alike, and joining them would leave a handful of clusters. Nor are rows
    joined where that would chain more than a tenth of the table into one cluster. Of ``texts``, one that a tenth of the rows share is a
    phrase that everybody uses: its rows stay apart, and all other equal texts are joined. Rows with a missing group belong to nobody else.
    """
    hashes = row_hashes(frame, columns)
    distinct = len(np.unique(hashes))
    widest = max(frame[name].nunique() for name in columns)
    copies = distinct >= len(frame) / 2 or (widest >= MIN_TELLING_VALUES and widest >= distinct / 2)
    if not copies:
        # Rows repeat far more often than values that meet by chance would: they were copied.
        rng = stream(0, "equal rows by chance")
        order = np.argsort(hashes, kind="stable")  # so that the order of the file has no say
        by_chance = redraw_rows(frame.iloc[order], columns, distinct, rng)
        copies = distinct < len(np.unique(row_hashes(by_chance, columns))) / 2
    order_keys, by_group = hashes, []
    if group is not None:
        by_group.append(alike(group_numbers(group)))
        order_keys = row_hashes(frame.assign(**{str(group.name): labels(group)}), [*columns, str(group.name)])
    ids = connected(len(frame), by_group)
    if copies:
        joined = connected(len(frame), [*by_group, alike(_common_apart(hashes) if texts else hashes)])
        # Rows that are coarse because most of their values are missing coincide by chance and can chain the whole table together.
        copies = bool(np.bincount(joined).max() <= max(np.bincount(ids).max(), len(frame) * MAX_JOINED_SHARE))
        ids = joined if copies else ids
    return Clusters(_number_by_content(ids, order_keys), bool(copies), distinct < len(frame))


def _common_apart(hashes_n: NDArray[np.uint64]) -> Ints:
    """Numbers of equal rows, each of those that more than a tenth of all rows equal a number of its own."""
    ids: Ints = np.unique(hashes_n, return_inverse=True)[1].astype(np.int64)
    sizes = np.bincount(ids)
    common = sizes[ids] > len(ids) * MAX_JOINED_SHARE
    return np.where(common, len(sizes) + np.arange(len(ids)), ids)


def connected(n: int, pairs: Sequence[tuple[Ints, Ints]]) -> Ints:
    """Dense numbers of ``n`` rows, the same for rows that pairs connect, however far."""
    if not pairs:
        return np.arange(n)
    if len(pairs) == 1 and _is_star(n, *pairs[0]):
        return np.unique(pairs[0][1], return_inverse=True)[1].astype(np.int64)
    from scipy.sparse import coo_matrix  # slow to load, and needed by few tables
    from scipy.sparse.csgraph import connected_components

    one, other = (np.concatenate([np.arange(n), *side]) for side in zip(*pairs, strict=True))
    graph = coo_matrix((np.ones(len(one), dtype=np.int8), (one, other)), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _is_star(n: int, one_m: Ints, other_m: Ints) -> bool:
    """Whether every row is paired with the first of those that it belongs to, as :func:`alike` says it."""
    return np.array_equal(one_m, np.arange(n)) and np.array_equal(other_m[other_m], other_m)


def alike(numbers_n: NDArray[Any]) -> tuple[Ints, Ints]:
    """Each row, and the first that has the same number."""
    _, first, place = np.unique(numbers_n, return_index=True, return_inverse=True)
    return np.arange(len(numbers_n)), first[place]


def group_numbers(group: Column) -> Ints:
    """The number of each row's group; where it is missing, one of its own."""
    codes = pd.factorize(labels(group))[0]
    alone = codes < 0
    return np.where(alone, codes.max(initial=-1) + 1 + np.cumsum(alone), codes)


def _number_by_content(ids: Ints, keys: NDArray[np.uint64]) -> Ints:
    """Renumber clusters in the order of their smallest row hash, so that the file's row order has no say."""
    smallest = np.full(int(ids.max()) + 1, np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(smallest, ids, keys)
    sizes = np.bincount(ids)
    order = np.lexsort((sizes, smallest))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank[ids]


def _shuffled(ids: Ints, rng: np.random.Generator) -> tuple[Ints, Ints, Ints]:
    present, dense, sizes = np.unique(ids, return_inverse=True, return_counts=True)
    order = rng.permutation(len(present))
    return dense.astype(np.int64), order.astype(np.int64), sizes[order].astype(np.int64)


def take_rows(ids: Ints, limit: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Choose whole clusters at random, at most ``limit`` rows in all; returns an ``(n,)`` mask."""
    dense, order, sizes = _shuffled(ids, rng)
    return np.isin(dense, order[np.cumsum(sizes) <= limit])


def split_share(ids: Ints, share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Choose whole clusters at random that hold about ``share`` of the rows; returns an ``(n,)`` mask."""
    dense, order, sizes = _shuffled(ids, rng)
    middle = np.cumsum(sizes) - sizes / 2
    return np.isin(dense, order[middle < share * len(ids)])


def split_thirds(ids: Ints, rng: np.random.Generator) -> Ints:
    """Deal whole clusters to parts 0, 1 and 2 of about equal size, large clusters first; returns ``(n,)`` parts."""
    dense, order, sizes = _shuffled(ids, rng)
    part_of = np.empty(len(order), dtype=np.int64)
    filled = [0, 0, 0]
    for position in np.argsort(-sizes, kind="stable"):
        smallest = filled.index(min(filled))
        part_of[order[position]] = smallest
        filled[smallest] += int(sizes[position])
    return part_of[dense]


def redraw_rows(frame: pd.DataFrame, columns: list[str], distinct: int, rng: np.random.Generator) -> pd.DataFrame:
    """Redraw rows from a tree of pairwise dependences, each column's values kept as they are.

    Columns that hang together (a precinct and its neighborhoods) make rows coincide by themselves, so they may not be shuffled apart.
    The tree is that of largest mutual information (Chow & Liu 1968). Pairs that nearly tell rows apart are no part of it: their
    dependence may be the copying itself. Rows come in an order that does not depend on the file's; ``distinct`` of them are distinct.
    """
    from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree  # slow to load, and needed by few tables

    codes = {name: pd.factorize(labels(frame[name]).fillna(""))[0].astype(np.int64) for name in columns}
    n, p = len(frame), len(columns)
    weights = np.zeros((p, p))  # 0 for no edge
    for left, right in combinations(range(p), 2):
        weights[left, right] = min(-_shared_information(codes[columns[left]], codes[columns[right]], most_pairs=distinct / 2), 0.0)
    tree = minimum_spanning_tree(weights)
    tree = tree + tree.T
    # Row of the original that each redrawn cell is taken from.
    taken: dict[int, Ints] = {}
    for root in range(p):
        if root in taken:
            continue
        order, parents = breadth_first_order(tree, root, directed=False)
        for column in order:
            if column == root:
                taken[column] = rng.permutation(n)
                continue
            parent = codes[columns[parents[column]]]
            drawn = parent[taken[parents[column]]]
            source = np.lexsort((rng.random(n), parent))
            place = np.lexsort((rng.random(n), drawn))
            taken[column] = np.empty(n, dtype=np.int64)
            taken[column][place] = source
    return pd.DataFrame({name: frame[name].to_numpy()[taken[number]] for number, name in enumerate(columns)})


def _shared_information(left: Ints, right: Ints, most_pairs: float) -> float:
    """Mutual information of two coded columns in nats (Miller & Madow's correction); 0 where their pairs are too many to be estimated."""
    n, k_right = len(left), int(right.max()) + 1
    counts = np.unique(left * k_right + right, return_counts=True)[1]
    if len(counts) > max(most_pairs, left.max() + 1, k_right):  # one that is nested in the other hangs together by its meaning
        return 0.0
    left_counts, right_counts = np.bincount(left), np.bincount(right)
    surplus = len(counts) - len(left_counts) - len(right_counts) + 1
    return _entropy(left_counts, n) + _entropy(right_counts, n) - _entropy(counts, n) - surplus / (2 * n)


def _entropy(counts: Ints, n: int) -> float:
    share = counts[counts > 0] / n
    return float(-(share * np.log(share)).sum())


def coerce_rows(
    table: pd.DataFrame, kinds: Mapping[str, ColumnKind], roles: Roles, faults: Faults, what: str, notes: list[NotTested]
) -> pd.DataFrame:
    """Raw rows, ``what`` they are, brought to their kinds; a note if some lack target or text. ``faults`` takes what is unreadable."""
    frame = pd.DataFrame(index=table.index)
    for name, kind in kinds.items():
        if name in table:
            with faults.gathering():
                frame[name] = coerce(table[name], kind, where=faults.where)
    if roles.target not in frame or (roles.text is not None and roles.text not in frame):
        return frame.reset_index(drop=True)
    known = frame[roles.target].notna()
    if not known.any():
        faults.add(f"target '{roles.target}' has no values", "choose another target")
    if roles.text is not None:
        known &= frame[roles.text].notna()
    if not known.all():
        lacking = "without a target" if roles.text is None else "without a target or without text"
        notes.append(NotTested(what=f"{what} {lacking}", why="they were dropped"))
    return frame[known].reset_index(drop=True)


def read_holdout(
    recipe: Recipe,
    base: Path,
    source: Source,
    kinds: Mapping[str, ColumnKind],
    real: pd.DataFrame,
    features: Sequence[str],
    hashes: dict[str, str],
    notes: list[NotTested],
) -> pd.DataFrame | None:
    """The rows of ``data.holdout``, ``None`` where not given or the real file itself.

    ``InputError``: the file is unreadable or short of columns, or values are not those of the ``real`` rows; all faults in one message.
    """
    if recipe.data.holdout is None:
        return None
    path = resolve_path(recipe.data.holdout, base=base, what="data.holdout", folders=True)
    hashes["holdout"] = table_digest(path)
    if hashes["holdout"] == hashes.get("data"):
        why = "data.holdout is the same file as the real rows; it was split, and the audit part is taken as unknown to every maker"
        notes.append(NotTested(what="rows of another source than the real table", why=why))
        return None
    told, faults = Told(), Faults("data.holdout", str(path))
    sampling = source.reading.sampling
    sampling = None if sampling is None else replace(sampling, rows=None)  # max_rows is of real rows
    reading = replace(source.reading, sampling=sampling, histories=source.reading.histories.like(kinds))
    table = read_table(path, what="data.holdout", reading=reading, told=told, faults=faults)
    for name in kinds:
        if name not in table.columns:
            faults.add(f"data.holdout lacks the column '{name}'", "it needs the columns of the real table")
    notes.extend(told.notes(kinds, "data.holdout") + spelling_notes(table, kinds, "data.holdout", source.roles.group))
    frame = coerce_rows(table, kinds, source.roles, faults, "holdout rows", notes)
    check_dots(real, frame, (source.told.dotted, told.dotted), faults, "data")
    for name in source.roles.protected:
        known, held = (set(rows[name].dropna().unique()) if name in rows else set() for rows in (real, frame))
        if kinds[name].kind == "categorical" and known and held and not known & held:
            faults.add(f"column '{name}' shares no value with the real table", "spell its values as the real table does")
    _check_classes(real, frame, kinds[source.roles.target], source.roles, faults)
    if faults.found:
        # What the encoder could not see belongs to the same message.
        check_like(real, frame, [kinds[name] for name in features if name != source.roles.text], faults, source.roles.group)
    faults.settle(source.roles.exclude)
    return frame


def _check_classes(real: pd.DataFrame, held: pd.DataFrame, kind: ColumnKind, roles: Roles, faults: Faults) -> None:
    """Note classes of the target that no real row has: no model here can say them."""
    if roles.labels or kind.kind != "categorical" or kind.name not in real or kind.name not in held:
        return
    ours, theirs = (set(rows[kind.name].dropna().unique()) for rows in (real, held))
    if not theirs <= ours:
        whose = [None if roles.group is None or roles.group not in rows else rows[roles.group] for rows in (held, real)]
        shown = [_named(rows[kind.name], groups) for rows, groups in zip((held, real), whose, strict=True)]
        told = f" (it writes {shown[0]}; the real table {shown[1]})" if all(shown) else ""
        which = "holds classes that no real row has" if theirs & ours else "shares no class with the real table"
        faults.add(
            f"data.holdout: target '{kind.name}' {which}{told}", "spell its classes as the real table does, or drop rows of other classes"
        )


def _named(column: Column, groups: Column | None) -> str:
    """Up to three of the commonest values that eleven people have."""
    known = column.dropna()
    counts = known.value_counts() if groups is None else count_people(known, groups)
    return ", ".join(f"'{value}'" for value in sorted(counts.index[counts >= SMALLEST_CELL])[:_SHOWN])


def split_rows(
    recipe: Recipe, real: pd.DataFrame, other: pd.DataFrame | None, compared: list[str], source: Source, notes: list[NotTested]
) -> tuple[pd.DataFrame, pd.DataFrame, Ints]:
    """Return training rows, audit rows and the audit rows' clusters.

    ``other`` rows (of the holdout) then are the audit rows; copies are equal in the columns ``compared``; ``notes`` takes what was dropped
    or could not be told. Raises ``InputError``: there are too few clusters to split.
    """
    spec, group = recipe.data, source.roles.group
    everything = real if other is None else pd.concat([real, other], ignore_index=True)
    clusters = find_clusters(everything, compared, everything[group] if group else None, texts=source.roles.text is not None)
    if clusters.repeated and not clusters.copies:
        why = "the columns are too few or too coarse to tell people apart; equal rows count as different people"
        notes.append(NotTested(what="copies of one person's row", why=why))
    rows = np.arange(len(real))
    if spec.max_rows is not None and spec.max_rows < len(real):
        rows = rows[take_rows(clusters.ids[rows], spec.max_rows, stream(recipe.seed, "split", "max_rows"))]
        why = "the recipe asks for at most that many (data.max_rows)"
        notes.append(NotTested(what=f"real rows beyond the first {spec.max_rows} drawn", why=why))
        if not len(rows):
            what = "data.max_rows is smaller than each group of rows that belong together"
            raise InputError(what, where="data.max_rows", mend="raise it")
    if other is None:
        chosen = split_share(clusters.ids[rows], spec.audit_share, stream(recipe.seed, "split", "audit"))
        train_rows, audit_rows = rows[~chosen], rows[chosen]
    else:
        audit_rows = np.arange(len(real), len(everything))
        shared = np.isin(clusters.ids[rows], clusters.ids[audit_rows])
        train_rows = rows[~shared]
        # A share of one's own table is drawn anew with every row more or less; a holdout would be the same but for that row.
        names = list(everything.columns)
        audit_rows = audit_rows[stay(row_hashes(everything.iloc[audit_rows], names), clusters.ids[audit_rows])]
        notes.append(NOTE)
        if shared.any():
            why = "they were dropped from training (equal row or same group)"
            notes.append(NotTested(what="training rows that belong to the holdout too", why=why))
    audit_clusters = np.unique(clusters.ids[audit_rows], return_inverse=True)[1].astype(np.int64)
    if not len(train_rows) or audit_clusters.max(initial=-1) < 2:
        what = "too few separate rows or groups to split into training and audit rows"
        raise InputError(what, where=source.where, mend="use more rows, or drop data.group")
    return everything.iloc[train_rows].reset_index(drop=True), everything.iloc[audit_rows].reset_index(drop=True), audit_clusters
