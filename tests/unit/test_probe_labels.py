"""Labels of `probe`: one reading of the same text from CSV, parquet and frames, and numbers in other spellings are refused, not names."""

import datetime
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import proxyaudit
from proxyaudit.audits.probe.inputs import ProbeRequest, make_inputs
from proxyaudit.audits.probe.labels import no_numbers, read_labels, settle_labels
from proxyaudit.audits.probe.run import plan_files, probe_files
from proxyaudit.data.columns import coerce, infer_kind
from proxyaudit.data.reading import Told
from proxyaudit.errors import InputError
from proxyaudit.seeding import stream

N = 300
RNG = stream(0, "labels of a probe")
AGE = np.round(RNG.uniform(18, 90, N), 1)
INCOME = np.where(RNG.random(N) < 0.3, 0, RNG.integers(1000, 90000, N))
ACTS = RNG.normal(size=(N, 4)).astype(np.float32)
KINDS = ["csv", "parquet", "frame"]


def read(values, kind, folder):
    """Kind and values of a column, and what is told of it, as a probe of such a table would have them."""
    frame, told, notes = pd.DataFrame({"a": values, "k": "x"}), Told(), []
    if kind == "csv":
        frame.to_csv(folder / "labels.csv", index=False)
    elif kind == "parquet":
        frame.to_parquet(folder / "labels.parquet")
    table = settle_labels(frame, told) if kind == "frame" else read_labels(folder / f"labels.{kind}", told)
    found = infer_kind(table["a"], where="labels")
    no_numbers(table["a"], found, where="labels", notes=notes)
    return found.kind, coerce(table["a"], found, where="labels").tolist(), told.marks, [note.why for note in notes]


READ = {
    "plain": ([f"{v}" for v in AGE], AGE),
    "decimal comma": ([f"{v}".replace(".", ",") for v in AGE], AGE),
    "commas between thousands": ([f"{v * 100:,}" for v in INCOME], INCOME * 100),
    "dots between thousands": ([f"{v * 100:,}".replace(",", ".") for v in INCOME], INCOME * 100),
    "exponents": ([f"{v:.1e}" for v in INCOME], [float(f"{v:.1e}") for v in INCOME]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spelling", READ)
def test_text_that_is_surely_numbers_is_read_as_such_from_any_table(tmp_path, spelling, kind):
    values, wanted = READ[spelling]
    found, numbers, marks, _ = read(values, kind, tmp_path)
    assert (found, numbers) == ("numeric", list(wanted))
    assert bool(marks) == (spelling[:3] in ("dec", "com", "dot"))


REFUSED = {
    "one comma": ([f"{v:,}" for v in INCOME], "in a spelling that is not read as one"),
    "one dot": ([f"{v:,}".replace(",", ".") for v in INCOME], "dots between thousands"),
    "apostrophes": ([f"{v:,}".replace(",", "'") for v in INCOME], "in a spelling"),
    "hard blanks": ([f"{v:,}".replace(",", "\u00a0") for v in INCOME], "in a spelling"),
    "dollars": ([f"${v}" for v in INCOME], "in a spelling"),
    "euros": ([f"{v} €" for v in INCOME], "in a spelling"),
    "francs": ([f"CHF {v:,}" for v in INCOME], "in a spelling"),
    "brackets": ([f"({v})" if k % 2 else str(v) for k, v in enumerate(INCOME)], "in a spelling"),
    "per cent": ([f"{v}%" for v in AGE], "in a spelling"),
    "years": ([f"{v} y" for v in AGE], "in a spelling"),
    "years alone": ([f"{v}J" for v in AGE], "in a spelling"),
    "minus signs": ([f"\u2212{v}" for v in AGE], "in a spelling"),
    "zeros in front": ([f"{v:05.1f}" for v in AGE], "in a spelling"),
    "two decimal marks": ([f"{v}".replace(".", ",.", 1).replace(",.", ".,"[k % 2]) for k, v in enumerate(AGE)], "in a spelling"),
    "other digits": ([str(v).translate({48 + k: 0xFF10 + k for k in range(10)}) for v in INCOME], "in a spelling"),
    "some unknown": (["k.A." if k % 30 == 0 else f"{v}" for k, v in enumerate(AGE)], "with texts such as 'k.A.'"),
    "most unknown": (["keine" if k % 3 else f"{v}" for k, v in enumerate(AGE)], "with texts such as 'keine'"),
    "open ends": (["<20" if v < 20 else ">85" if v > 85 else f"{v}" for v in AGE], "mixes numbers"),
    "German dates": ([f"{int(v) % 28 + 1:02d}.05.{2024 - int(v)}" for v in AGE], "holds dates or times"),
    "American dates": ([f"05/{int(v) % 28 + 1:02d}/{2024 - int(v)}" for v in AGE], "holds dates or times"),
    "dates and words": (["k.A." if k % 30 == 0 else f"{2024 - int(v)}-05-01" for k, v in enumerate(AGE)], "e.g. 'k.A.'"),
    "times": ([f"{int(v) % 24:02d}:{int(v * 7) % 60:02d}" for v in AGE], "holds dates or times"),
}


@pytest.mark.parametrize("spelling", REFUSED)
def test_numbers_in_another_spelling_are_refused_alike_from_any_table(tmp_path, spelling):
    values, words = REFUSED[spelling]
    said = set()
    for kind in KINDS:
        with pytest.raises(InputError) as error:
            read(values, kind, tmp_path)
        said.add(str(error.value))
    assert len(said) == 1
    assert "column 'a'" in next(iter(said))
    assert words in next(iter(said))
    line = re.search(r"put a letter before each \((.*)\)$", str(error.value))
    if line is not None:  # what it offers works when pasted
        labels = pd.DataFrame({"a": values})
        exec(line[1], {"labels": labels})
        assert read(labels["a"], "csv", tmp_path)[0] == "categorical"
    assert line is not None or "give them as numbers" in error.value.mend


NAMES = {
    "bands": [f"{int(v) // 5 * 5}-{int(v) // 5 * 5 + 4}" for v in AGE],
    "codes": [f"E{int(v)}.{int(v * 10) % 10}" for v in AGE],
    "classes": [f"{int(v) // 8}{'abcd'[k % 4]}" for k, v in enumerate(AGE)],
    "districts": [f"District {int(v)}" for v in AGE],
    "few": [f"{int(v) // 10 * 10} y" for v in AGE],
    "with a letter": [f"c{v}" for v in INCOME],
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_names_with_digits_stay_names(tmp_path, names):
    for kind in KINDS:
        assert read(names, kind, tmp_path) == ("categorical", names, {}, [])


@pytest.mark.parametrize("codes", [[f"{v % 9000:05d}" for v in INCOME], [str(10**17 + int(v)) for v in INCOME]], ids=["zip", "long"])
def test_codes_of_digits_stay_names_and_it_is_told(tmp_path, codes):
    for kind in KINDS:
        found, values, _, notes = read(codes, kind, tmp_path)
        assert (found, values) == ("categorical", codes)
        assert "they were read as names" in notes[0]


@pytest.mark.parametrize("role", ["attribute", "condition"])
def test_both_roles_are_checked_before_anything_is_measured(tmp_path, role):
    table = pd.DataFrame({"sex": np.where(np.arange(N) % 2, "m", "f"), "income": [f"${v}" for v in INCOME]})
    request = ProbeRequest(("income",)) if role == "attribute" else ProbeRequest(("sex",), condition_on=("income",))
    np.save(tmp_path / "acts.npy", ACTS)
    table.to_csv(tmp_path / "labels.csv", index=False)
    named = [f"real={tmp_path / 'acts.npy'}"]
    calls = [
        lambda: make_inputs({"real": {"a": ACTS}}, table, request),
        lambda: plan_files(named, tmp_path / "labels.csv", request),
        lambda: probe_files(named, tmp_path / "labels.csv", request, out=tmp_path / "out"),
        lambda: proxyaudit.probe(ACTS, table, attributes=request.attributes, condition_on=request.condition_on),
    ]
    for call in calls:
        with pytest.raises(InputError, match="column 'income' holds numbers in a spelling"):
            call()
    assert not (tmp_path / "out").exists()


def test_a_group_may_be_called_by_numbers_of_any_spelling():
    table = pd.DataFrame({"sex": np.where(np.arange(N) % 2, "m", "f"), "person": [f"No. {k}" if k % 9 else f"{k},0" for k in range(N)]})
    assert len(make_inputs({"real": {"a": ACTS}}, table, ProbeRequest(("sex",), group="person")).clusters) == N


def test_a_name_that_two_columns_of_a_folder_have_is_one_line(tmp_path):
    one = pa.table([["m"] * N, ["f"] * N, list(range(N))], names=["sex", "sex", "k"])
    folder = tmp_path / "labels"
    folder.mkdir()
    pq.write_table(one, folder / "1.parquet")
    pq.write_table(one.select([2, 0, 1]), folder / "2.parquet")
    with pytest.raises(InputError, match="two columns are named 'sex'"):
        read_labels(folder, Told())


ARROW = {
    "list": (pa.list_(pa.string()), [["a"], ["b"]], "nested"),
    "struct": (pa.struct([("x", pa.int64())]), [{"x": 1}, {"x": 2}], "nested"),
    "map": (pa.map_(pa.string(), pa.int64()), [[("a", 1)], [("b", 2)]], "nested"),
    "date": (pa.date32(), [datetime.date(2020, 1, 1), datetime.date(2021, 1, 1)], ""),
    "missing": (pa.string(), ["m", None], "has one value only"),
}


@pytest.mark.parametrize("kind", ARROW)
def test_columns_of_types_of_arrow_are_read_or_refused_in_one_line(kind):
    dtype, two, words = ARROW[kind]
    column = pd.Series(pd.arrays.ArrowExtensionArray(pa.array([two[k % 2] for k in range(N)], dtype)))
    table = settle_labels(pd.DataFrame({"a": column, "b": np.arange(N) % 2}), Told())
    assert make_inputs({"real": {"a": ACTS}}, table, ProbeRequest(("b",))).unfit == {}
    if words == "nested":
        with pytest.raises(InputError, match="holds nested values"):
            make_inputs({"real": {"a": ACTS}}, table, ProbeRequest(("a",)))
    else:
        unfit = make_inputs({"real": {"a": ACTS}}, table, ProbeRequest(("a",))).unfit
        assert words in unfit.get("a", "")
        assert bool(unfit) == bool(words)


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([f"{v} y" for v in AGE], "'12.3 y'"),
        (["Ada Lovelace" if k == 7 else f"{v}" for k, v in enumerate(AGE)], "texts; "),
        ([f"17.{k % 28 + 1:02d}.19{k % 70 + 10}" for k in range(N)], "'12.34.5678'"),
    ],
)
def test_messages_show_the_spelling_and_nobodys_value(tmp_path, values, shown):
    with pytest.raises(InputError) as error:
        read(values, "frame", tmp_path)
    assert shown in f"{error.value.what}; "
    assert not any(f"'{value}'" in str(error.value) for value in values)
