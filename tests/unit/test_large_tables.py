"""Tables larger than memory: the same sample whatever the order of rows, columns and files; groups whole, rare levels kept, all said."""

import gzip
import tracemalloc

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from proxyaudit.audits.plan import plan_audit
from proxyaudit.data.batches import parquet_files
from proxyaudit.data.columns import parse_numbers
from proxyaudit.data.frames import table_digest
from proxyaudit.data.reading import Reading, Told
from proxyaudit.data.sampling import FEWEST, draw_rows
from proxyaudit.data.streaming import Sampling
from proxyaudit.data.tables import read_table
from proxyaudit.errors import InputError
from proxyaudit.seeding import stream

N = 12_000


def table(n=N):
    rng = stream(0, "large tables", n)
    sex = rng.choice(["f", "m"], n)
    return pd.DataFrame(
        {
            "sex": sex,
            "race": rng.choice(["a", "b", "rare"], n, p=[0.7, 0.29, 0.01]),
            "age": rng.integers(18, 90, n),
            "score": rng.normal(size=n).round(4),
            "person": rng.integers(0, n // 4, n),
            "approved": (rng.random(n) < np.where(sex == "f", 0.4, 0.6)).astype(int),
        }
    )


def sampling(**more):
    return Sampling(0, 0.0, strata=("race", "approved"), **more)  # the least memory that there is: a thousand rows


def read(path, **more):
    told = Told()
    found = read_table(path, what="data", reading=Reading(sampling=sampling(**more)), told=told)
    return found, told


def as_set(frame):
    return sorted(map(tuple, frame[sorted(frame.columns)].astype(str).to_numpy().tolist()))


def write_folder(folder, frame, cuts, names):
    folder.mkdir()
    for part, name in zip(np.array_split(np.arange(len(frame)), cuts), names, strict=True):
        frame.iloc[part].to_parquet(folder / name, index=False)
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder, frame = tmp_path_factory.mktemp("large"), table()
    shuffled = frame.sample(frac=1, random_state=1)[["approved", "race", "sex", "person", "score", "age"]]
    paths = {
        "one": folder / "one.parquet",
        "folder": write_folder(folder / "parts", frame, 3, ["part-9.parquet", "part-10.parquet", "part-11.pq"]),
        "shuffled": write_folder(folder / "other", shuffled, 5, ["e.parquet", "a.parquet", "d.parquet", "b.parquet", "c.parquet"]),
        "csv": folder / "one.csv",
        "gzip": folder / "shuffled.csv.gz",
    }
    frame.to_parquet(paths["one"], index=False, row_group_size=1000)
    frame.to_csv(paths["csv"], index=False)
    shuffled.to_csv(paths["gzip"], index=False, sep=";")
    (folder / "parts" / "_SUCCESS").write_text("")
    return paths, frame


@pytest.mark.parametrize("more", [{}, {"rows": 700}, {"group": "person"}], ids=["plain", "fewer rows", "groups"])
def test_the_sample_is_the_same_for_any_order_of_rows_columns_and_files(written, more):
    paths, _ = written
    kept = {name: as_set(read(path, **more)[0]) for name, path in paths.items()}
    assert kept["one"] == kept["folder"] == kept["shuffled"]
    assert kept["csv"] == kept["gzip"]
    assert len(kept["one"]) == len(set(kept["one"]))
    assert more.get("rows", 1000) * 0.98 <= len(kept["one"]) <= more.get("rows", 1000)


def test_threads_do_not_change_the_sample(written):
    before, first = pa.cpu_count(), as_set(read(written[0]["csv"])[0])
    try:
        for threads in (1, 3):
            pa.set_cpu_count(threads)
            assert as_set(read(written[0]["csv"])[0]) == first
            assert len(read(written[0]["folder"])[0]) == 1000
    finally:
        pa.set_cpu_count(before)


def test_another_seed_keeps_other_rows_as_often(written):
    first, other = (
        set(as_set(read_table(written[0]["one"], what="data", reading=Reading(sampling=Sampling(seed, 0.0))))) for seed in (0, 1)
    )
    assert 20 < len(first & other) < 180  # of two samples of a twelfth each


def test_rare_levels_are_kept_and_the_design_is_told(written):
    found, told = read(written[0]["one"])
    everyone = int((written[1]["race"] == "rare").sum())
    assert everyone > 100
    assert (found["race"] == "rare").sum() == everyone
    what, why = told.remarks[0]
    assert what == "rows beyond those that fit into memory"
    for words in ("1,000 of 12,000 rows", "by what they hold (seed 0)", "data: {memory: 0}", "kept beyond their share, since few rows"):
        assert words in why


def test_whole_groups_are_kept(written):
    found, told = read(written[0]["folder"], group="person")
    sizes = written[1]["person"].value_counts()
    assert all(sizes[person] == count for person, count in found["person"].value_counts().items())
    assert "whole groups of 'person'" in told.remarks[0][1]


def test_groups_that_are_too_large_are_refused_in_words(tmp_path):
    table().assign(person=lambda frame: frame["age"] % 3).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"each group of 'person' has more rows than fit into memory.*raise data\.memory"):
        read(tmp_path / "t.parquet", group="person")


def test_equal_rows_are_drawn_one_by_one(tmp_path):
    pd.DataFrame({"sex": np.resize(["f", "m", "m", "m"], 40_000), "y": 1}).to_parquet(tmp_path / "t.parquet")
    found, _ = read(tmp_path / "t.parquet")
    assert len(found) == 1000
    assert 200 < (found["sex"] == "f").sum() < 300


def test_a_table_that_fits_is_read_whole_without_a_word(written):
    found = read_table(written[0]["folder"], what="data", reading=Reading(sampling=Sampling(0, 1.0)), told=(told := Told()))
    assert told.remarks == []
    pd.testing.assert_frame_equal(found, written[1])


def test_names_of_folders_are_columns(tmp_path):
    for year in (2023, 2024):
        (tmp_path / "t" / f"year={year}" / "site=a b").mkdir(parents=True)
        table(200).to_parquet(tmp_path / "t" / f"year={year}" / "site=a b" / "x.parquet", index=False)
    found = read_table(tmp_path / "t", what="data")
    assert found["year"].value_counts().to_dict() == {2023: 200, 2024: 200}
    assert set(found["site"]) == {"a b"}
    assert len(parquet_files(tmp_path / "t")) == 2
    before = table_digest(tmp_path / "t")
    table(201).to_parquet(tmp_path / "t" / "year=2024" / "site=a b" / "x.parquet", index=False)
    assert table_digest(tmp_path / "t") != before


def test_a_column_in_the_files_and_in_names_of_folders_is_one_line(tmp_path):
    (tmp_path / "t" / "sex=f").mkdir(parents=True)
    table(200).to_parquet(tmp_path / "t" / "sex=f" / "x.parquet", index=False)
    with pytest.raises(InputError, match="column 'sex' is in the file and in the name of its folder"):
        read_table(tmp_path / "t", what="data")


def write_other_columns(folder):
    table(300).rename(columns={"age": "years"}).to_parquet(folder / "b.parquet", index=False)


def write_other_types(folder):
    table(300).assign(age="old").to_parquet(folder / "b.parquet", index=False)


def write_nothing(folder):
    for place in "ab":
        table(300).iloc[:0].to_parquet(folder / f"{place}.parquet", index=False)


def write_no_parquet(folder):
    (folder / "b.parquet").write_bytes(b"PAR1 but nothing else")


def write_bomb(folder):
    rows = pa.table({"sex": pa.array(np.zeros(4_000_000, dtype=np.int64))})
    for number in range(3):
        pq.write_table(rows, folder / f"{number}.parquet", compression="zstd")
    (folder / "a.parquet").unlink()


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (write_other_columns, "'b.parquet' and 'a.parquet' differ in column 'age'"),
        (write_other_types, "column 'age' is int64 here and text there"),
        (write_nothing, "the table has no rows"),
        (write_no_parquet, "not a parquet table"),
        (write_bomb, "expands to more than"),
    ],
)
def test_folders_that_are_no_table(tmp_path, write, words, monkeypatch):
    monkeypatch.setattr("proxyaudit.data.batches.MOST_TABLE", 2**20)
    table(300).to_parquet(tmp_path / "a.parquet", index=False)
    write(tmp_path)
    with pytest.raises(InputError) as error:
        read(tmp_path)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("broken", ["1,2\n3\n", "1,2\n3,4,5\n", '1,"2\n'], ids=["short", "long", "quote"])
def test_what_is_wrong_with_a_csv_is_said_as_before(tmp_path, broken):
    (tmp_path / "t.csv").write_text("a,b\n" + "1,2\n" * 50 + broken)
    with pytest.raises(InputError, match=r"line 5|not a CSV table \(ParserError\)"):
        read(tmp_path / "t.csv")


def test_a_gzip_file_is_streamed_too(tmp_path):
    with gzip.open(tmp_path / "t.csv.gz", "wt") as stream_:
        table(3000).to_csv(stream_, index=False)
    assert len(read(tmp_path / "t.csv.gz")[0]) == 1000


def test_memory_is_that_of_the_sample_and_of_a_batch(tmp_path):
    frame = table(60_000)
    frame.to_csv(tmp_path / "t.csv", index=False)
    size = (tmp_path / "t.csv").stat().st_size
    tracemalloc.start()
    try:
        before = pa.total_allocated_bytes()
        found, _ = read(tmp_path / "t.csv")
        peak, kept = tracemalloc.get_traced_memory()[1], pa.total_allocated_bytes() - before
    finally:
        tracemalloc.stop()
    assert len(found) == 1000
    assert kept < size
    assert peak < 40e6 + 12 * size  # all of it as objects takes twenty times the file


def recipe(tmp_path, path, **data):
    regimes = ["real", {"synthetic": {"name": "vendor", "path": str(path)}}]
    data = {"path": str(path), "target": "approved", "protected": ["sex", "race"], "exclude": ["sex", "race", "person"], **data}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({"name": "t", "data": data, "regimes": regimes, "model": {"kind": "mlp"}}))
    return tmp_path / "recipe.yaml"


def test_the_design_of_the_sample_is_in_the_plan(tmp_path, written):
    small = plan_audit(recipe(tmp_path, written[0]["folder"], memory=0.001, max_rows=900), ())
    assert small["rows"]["train"] + small["rows"]["audit"] <= 900
    notes = {note["what"]: note["why"] for note in small["notes"]}
    assert "900 of 12,000 rows were drawn at random" in notes["real rows: rows beyond those that fit into memory"]
    assert "rows beyond those that fit into memory" in " ".join(note for note in notes if note.startswith("release vendor"))
    other = plan_audit(recipe(tmp_path, written[0]["shuffled"], memory=0.001, max_rows=900), ())
    assert other["rows"] == small["rows"]
    assert other["attributes"] == small["attributes"]
    whole = plan_audit(recipe(tmp_path, written[0]["folder"]), ())
    assert not any("fit into memory" in note["what"] for note in whole["notes"])


def test_keys_of_one_group_are_kept_together():
    keys = np.repeat(stream(0, "keys").integers(2**64, size=500, dtype=np.uint64), 4)
    chosen, extra = draw_rows(keys, 402)
    assert len(chosen) == 400
    assert extra == 0
    assert set(np.unique(keys[chosen], return_counts=True)[1]) == {4}
    assert len(draw_rows(np.repeat(keys[:1], 900), 800)[0]) == 0
    assert FEWEST == 500


@pytest.mark.parametrize(
    ("values", "numbers"),
    [
        (["1", "2.50", "-0.1", None], [1, 2.5, -0.1, np.nan]),
        (["0.1", "123456789012345", "-7"], [0.1, 123456789012345, -7]),
        ([" 1", "1e5", "+3", ".5"], [1, 1e5, 3, 0.5]),
        (["02139", "10001"], None),
        (["1", "two"], None),
        (["city1", "2"], None),
        (["nan", "1"], None),
        (["True", "1"], None),
        (["90071992547409931", "1"], None),
        (["1_000", "2"], None),
    ],
)
def test_numbers_are_read_as_before_however_quickly(values, numbers):
    found = parse_numbers(pd.Series(values, dtype=object))
    assert (found is None) == (numbers is None)
    if numbers is not None:
        assert np.array_equal(found.to_numpy(dtype=float), np.array(numbers, dtype=float), equal_nan=True)
