"""Splits: clusters stay whole, parts are of like size, and the file's row order has no say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from proxyaudit.data.splits import alike, connected, find_clusters, row_hashes, split_share, split_thirds, take_rows
from proxyaudit.seeding import stream

ids_strategy = st.lists(st.integers(0, 40), min_size=12, max_size=200).map(lambda v: np.unique(v, return_inverse=True)[1])


@settings(max_examples=60, deadline=None)
@given(ids_strategy, st.integers(0, 2**30))
def test_no_cluster_straddles(ids: np.ndarray, seed: int) -> None:
    chosen = split_share(ids, 0.5, stream(seed))
    parts = split_thirds(ids, stream(seed, 1))
    kept = take_rows(ids, len(ids) // 2, stream(seed, 2))
    for cluster in np.unique(ids):
        rows = ids == cluster
        assert len(set(chosen[rows])) == len(set(parts[rows])) == len(set(kept[rows])) == 1
    assert kept.sum() <= len(ids) // 2
    biggest = np.bincount(ids).max()
    assert abs(chosen.sum() - len(ids) / 2) <= biggest
    sizes = np.bincount(parts, minlength=3)
    assert sizes.max() - sizes.min() <= biggest


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_share_is_kept(share: float) -> None:
    assert split_share(np.arange(1000), share, stream(0)).sum() == pytest.approx(1000 * share, abs=1)


def test_seeds_decide() -> None:
    ids = np.arange(500)
    assert (split_share(ids, 0.5, stream(1)) == split_share(ids, 0.5, stream(1))).all()
    assert (split_share(ids, 0.5, stream(1)) != split_share(ids, 0.5, stream(2))).any()


def people(n: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"x": rng.normal(size=n), "c": rng.choice(["u", "v", None], n), "y": rng.integers(0, 2, n)})


def test_copies_are_one_cluster_even_when_every_row_is_repeated() -> None:
    frame = pd.concat([people(100)] * 7, ignore_index=True)
    clusters = find_clusters(frame, ["x", "c", "y"], None)
    assert clusters.copies
    assert clusters.ids.max() + 1 == 100
    assert (np.bincount(clusters.ids) == 7).all()


def test_coarse_rows_are_people_alike() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.integers(0, 2, (400, 3)), columns=list("abc"))
    clusters = find_clusters(frame, list("abc"), None)
    assert clusters.repeated
    assert not clusters.copies
    assert clusters.ids.max() + 1 == 400


def places(n: int, seed: int = 0) -> pd.DataFrame:
    """Coarse rows whose columns hang together: a neighborhood lies in one precinct, and its people resemble one another."""
    rng = np.random.default_rng(seed)
    home = rng.integers(0, 80, n)
    lean = rng.random(80)
    traits = {f"t{i}": (rng.random(n) < lean[home]).astype(int) for i in range(2)}
    return pd.DataFrame({"home": home, "precinct": home // 16, "city": home // 40, **traits})


def test_coarse_columns_that_hang_together_are_no_copies() -> None:
    frame = places(6000)
    clusters = find_clusters(frame, list(frame.columns), None)
    assert clusters.repeated
    assert not clusters.copies


def test_coarse_rows_that_were_copied_are_found() -> None:
    rng = np.random.default_rng(5)
    few = pd.DataFrame({f"c{i}": rng.integers(0, 8, 600) for i in range(6)})
    frame = pd.concat([few] * 10, ignore_index=True)
    clusters = find_clusters(frame, list(frame.columns), None)
    assert clusters.copies
    assert clusters.ids.max() + 1 == len(few.drop_duplicates())


def test_group_and_copies_join_and_missing_groups_stay_alone() -> None:
    frame = people(90)
    frame.loc[59, ["x", "c", "y"]] = frame.loc[0, ["x", "c", "y"]].to_numpy()
    frame["c"] = frame["c"].astype(object)
    group = pd.Series(["p"] * 3 + ["q"] * 3 + [None] * 53 + ["q"] + [None] * 30, name="g")
    ids = find_clusters(frame.assign(g=group), ["x", "c", "y"], group).ids
    assert len(set(ids[[0, 1, 2, 3, 4, 5, 59]])) == 1  # row 59 is a copy of row 0 and in the group of row 3
    assert len(set(ids)) == 90 - 6


def test_rows_made_coarse_by_gaps_do_not_chain_the_table_together() -> None:
    frame = people(400).assign(g=np.arange(400) // 2)
    frame.loc[::2, ["x", "c"]] = None
    clusters = find_clusters(frame, ["x", "c", "y"], frame["g"])
    assert not clusters.copies
    assert clusters.ids.max() + 1 == 200


def test_row_order_has_no_say() -> None:
    frame = people(300).assign(g=np.repeat(np.arange(100), 3))
    shuffled = frame.sample(frac=1, random_state=1).reset_index(drop=True)
    chosen = []
    for table in (frame, shuffled):
        ids = find_clusters(table, ["x", "c", "y"], table["g"]).ids
        chosen.append(set(table["x"][split_share(ids, 0.5, stream(3))]))
    assert chosen[0] == chosen[1]


def test_hashes_see_values_and_not_their_types() -> None:
    one = pd.DataFrame({"x": [1, 2], "c": ["u", None]})
    two = pd.DataFrame({"x": [1.0, -0.0], "c": ["u", np.nan]})
    first, second = row_hashes(one, ["x", "c"]), row_hashes(two, ["x", "c"])
    assert first[0] == second[0]
    assert first[1] != second[1]
    assert row_hashes(pd.DataFrame({"x": [0.0]}), ["x"]) == row_hashes(pd.DataFrame({"x": [-0.0]}), ["x"])


def test_a_phrase_that_everybody_uses_does_not_keep_other_copies_apart() -> None:
    texts = np.repeat([f"text {i}" for i in range(100)], 8)
    frame = pd.DataFrame({"text": [*texts, *(["no comment"] * 130)]})
    assert not find_clusters(frame, ["text"], None).copies
    clusters = find_clusters(frame, ["text"], None, texts=True)
    assert clusters.copies
    assert sorted(np.bincount(clusters.ids)) == [1] * 130 + [8] * 100
    # Nor does it chain the authors who use it.
    authors = frame.assign(author=np.arange(len(frame)) % 465)
    clusters = find_clusters(authors, ["text"], authors["author"], texts=True)
    assert np.bincount(clusters.ids[800:]).max() < 20


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 9), min_size=12, max_size=12), max_size=3))
def test_rows_that_pairs_connect_are_numbered_as_a_graph_has_it(columns: list[list[int]]) -> None:
    pairs, n = [alike(np.array(column)) for column in columns], 12
    one, other = (np.concatenate([np.arange(n), *(pair[side] for pair in pairs)]) for side in (0, 1))
    graph = coo_matrix((np.ones(len(one)), (one, other)), shape=(n, n))
    assert connected(n, pairs).tolist() == connected_components(graph, directed=False)[1].tolist()
