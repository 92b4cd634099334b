"""What `probe` reads: every fault is one line with a way out, and copies of a row belong together."""

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from proxyaudit.audits.probe.inputs import ProbeRequest, make_inputs, read_activation_file
from proxyaudit.audits.probe.run import probe_files
from proxyaudit.errors import InputError
from proxyaudit.seeding import stream

N = 120


def acts(d=4, n=N, name="acts"):
    return stream(0, name, n, d).normal(size=(n, d)).astype(np.float32)


def table(n=N, **more):
    rng = stream(0, "table", n)
    return pd.DataFrame({"sex": rng.choice(["f", "m"], n), "age": rng.normal(size=n), "person": np.arange(n), **more})


def with_value(value):
    bad = acts()
    bad[3, 1] = value
    return bad


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 400
    return text


@pytest.mark.parametrize(
    ("regimes", "words"),
    [
        ({}, "no activations"),
        ({"real": {}}, "has no sites"),
        ({"real": {"l": with_value(np.nan)}}, "NaN"),
        ({"real": {"l": with_value(np.inf)}}, "infinite"),
        ({"real": {"l": acts().astype(np.float64) * 1e300}}, "too large"),
        ({"real": {"l": acts()[:, 0]}}, r"shape \(120,\)"),
        ({"real": {"l": acts().reshape(N, 2, 2)}}, r"shape \(120, 2, 2\)"),
        ({"real": {"l": acts()[:, :0]}}, "no columns"),
        ({"real": {"l": acts()[:0]}}, "has 0 rows"),
        ({"real": {"l": acts()[:-1]}}, "119 rows"),
        ({"real": {"l": acts().astype(str)}}, "no real numbers"),
        ({"real": {"l": acts().astype(np.complex64)}}, "no real numbers"),
        ({"real": {"l": torch.complex(torch.zeros(N, 3), torch.ones(N, 3))}}, "no real numbers"),
        ({"real": {"l": np.ma.masked_array(acts(), mask=acts() > 0)}}, "are masked"),
        ({"real": {"l": [["x"]]}}, "no real numbers"),
        ({"real": {"l": np.arange(4 * N).reshape(N, 4) + 2**60}}, "double precision would round"),
        ({"real": {"l": torch.arange(4 * N).reshape(N, 4) - 2**60}}, "double precision would round"),
        ({"real": {"l": np.arange(4 * N).reshape(N, 4) + np.longdouble(2) ** 60}}, "double precision would round"),
        ({"real": {1: acts(), "1": acts()}}, "two sites of regime 'real' are written alike"),
        ({1: {"l": acts()}, "1": {"l": acts()}}, "two regimes are written alike"),
        ({"real": {"l": acts()}, "synthetic": {"m": acts()}}, "do not have the same sites"),
        ({"real": {"l": acts(), "m": acts()}, "synthetic": {"l": acts()}}, "do not have the same sites"),
        ({"real": {"l": acts()}, "synthetic": {"l": acts(n=N + 1)}}, "121 rows"),
        *(({name: {"l": acts()}}, "reserved") for name in ("floor", "untrained", "placebo", "reweighed", "inputs")),
    ],
)
def test_activations_that_cannot_be_used(regimes, words):
    with pytest.raises(InputError, match=words) as error:
        make_inputs(regimes, table(), ProbeRequest(("sex",)))
    one_line(error)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"attributes": []}, "no attribute"),
        ({"attributes": ["sxe"]}, "no column 'sxe'"),
        ({"attributes": ["sex", "sex"]}, "two roles"),
        ({"attributes": ["sex"], "group": "sex"}, "two roles"),
        ({"attributes": ["sex"], "condition_on": ["sex"]}, "two roles"),
        ({"attributes": ["sex"], "group": "nobody"}, "no column 'nobody'"),
        ({"attributes": ["sex"], "condition_on": ["why"]}, "no column 'why'"),
        ({"attributes": ["sex"], "real": "reel"}, "'reel' is none of the regimes"),
    ],
)
def test_names_that_do_not_fit(arguments, words):
    with pytest.raises(InputError, match=words) as error:
        make_inputs({"real": {"l": acts()}}, table(), ProbeRequest(**arguments))
    one_line(error)


def test_too_few_rows():
    with pytest.raises(InputError, match="30 rows are too few") as error:
        make_inputs({"real": {"l": acts(n=30)}}, table(30), ProbeRequest(("sex",)))
    one_line(error)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"age,sex\n1,f\n", "not a safetensors file"),
        (b"", "not a safetensors file"),
        (b"\xff" * 64, "not a safetensors file"),
        (None, "no such file"),
    ],
)
def test_files_that_are_no_safetensors(content, words, tmp_path):
    path = tmp_path / "acts.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=words) as error:
        read_activation_file(path)
    assert str(path) in one_line(error)


def test_a_path_that_is_wrong_is_said_before_anything_is_hashed(tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("sex\n" + "f\nm\n" * 20)
    with pytest.raises(InputError, match="no such file") as error:
        probe_files([f"real={tmp_path / 'gone.safetensors'}"], labels, ProbeRequest(attributes=("sex",)), out=tmp_path / "out")
    assert "give the path of a safetensors file" in one_line(error)


def test_a_folder_and_a_file_without_tensors(tmp_path):
    with pytest.raises(InputError, match="the folder holds no activations"):
        read_activation_file(tmp_path)
    save_file({}, tmp_path / "empty.safetensors")
    with pytest.raises(InputError, match="no tensors"):
        read_activation_file(tmp_path / "empty.safetensors")


@pytest.mark.parametrize("bad", [torch.tensor([[1.0, float("nan")]]), torch.zeros(5), torch.zeros(2, 3, 4), torch.zeros(3, 0)])
def test_tensors_that_are_no_finite_matrices_are_named(bad, tmp_path):
    save_file({"good": torch.zeros(2, 2), "bad": bad}, tmp_path / "acts.safetensors")
    with pytest.raises(InputError, match="tensor 'bad'") as error:
        read_activation_file(tmp_path / "acts.safetensors")
    one_line(error)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int8, torch.int64, torch.bool])
def test_any_number_type_is_read_as_single_precision(kind, tmp_path):
    values = (torch.arange(12).reshape(4, 3) % 2).to(kind)
    save_file({"b": values.clone(), "a": values}, tmp_path / "acts.safetensors")
    found = read_activation_file(tmp_path / "acts.safetensors")
    assert list(found) == ["a", "b"]
    assert found["a"].dtype == np.float32
    assert np.array_equal(found["a"], values.float().numpy())


def test_order_of_rows_and_names_has_no_say():
    first = acts(6)
    labels = table()
    asked = ProbeRequest(("sex",), group="person", condition_on=("age",))
    order = stream(0, "order").permutation(N)
    one = make_inputs({"real": {"l": first}, "other": {"l": 2 * first}}, labels, asked)
    two = make_inputs({"real": {"l": first[order]}, "other": {"l": 2 * first[order]}}, labels.iloc[order], asked)
    for regime in ("real", "other"):
        assert np.array_equal(one.acts[regime]["l"], two.acts[regime]["l"])
    assert np.array_equal(one.attributes[0].codes, two.attributes[0].codes)
    assert np.array_equal(one.clusters, two.clusters)
    assert np.array_equal(one.conditions["age"], two.conditions["age"])
    # Rows keep their labels.
    place = {tuple(row): sex for row, sex in zip(first, labels["sex"], strict=True)}
    levels = one.attributes[0].levels
    assert all(levels[c] == place[tuple(row)] for row, c in zip(one.acts["real"]["l"], one.attributes[0].codes, strict=True))


def test_attributes_that_cannot_be_told_apart_are_unfit_with_a_reason():
    labels = table(constant="x", nearly=["rare"] * 3 + ["x"] * (N - 3), empty=[None] * N)
    found = make_inputs({"real": {"l": acts()}}, labels, ProbeRequest(("sex", "constant", "nearly", "empty", "age")))
    assert [a.name for a in found.attributes] == ["sex", "age"]
    assert set(found.unfit) == {"constant", "nearly", "empty"}
    assert "groups of 11" in found.unfit["nearly"]


def clusters(activations, **more):
    found = make_inputs(
        {"real": {"l": activations}}, table(len(activations), **more), ProbeRequest(("sex",), group="home" if "home" in more else None)
    )
    return found, np.bincount(found.clusters)


def test_near_copies_are_joined_and_strangers_are_not():
    rng = stream(0, "copies")
    people = rng.normal(size=(100, 12))
    copied = np.concatenate([people, people[:30] + 0.01 * rng.normal(size=(30, 12)), people[:10]])
    found, sizes = clusters(copied)
    assert np.bincount(sizes)[1:].tolist() == [70, 20, 10]
    assert any(note.what == "copies as separate people" for note in found.notes)
    assert clusters(people)[1].max() == 1
    assert clusters(stream(0, "heavy").normal(size=(300, 12)) ** 3)[1].max() == 1


def test_copies_must_be_copies_in_every_site_pair_of_regimes_or_one_is_enough():
    """A row that is a copy in one regime only is joined as well: identity links the rows wherever it shows."""
    rng = stream(0, "one regime")
    first, second = rng.normal(size=(150, 12)), rng.normal(size=(150, 12))
    second[75:90] = second[:15]
    found = make_inputs({"real": {"l": first}, "other": {"l": second}}, table(150), ProbeRequest(("sex",)))
    assert np.bincount(found.clusters).max() == 2


def test_groups_are_kept_and_missing_ones_stand_alone():
    home = np.repeat(np.arange(40), 3).astype(object)
    home[:6] = None
    _, sizes = clusters(acts(12), home=home)
    assert np.bincount(sizes)[1:].tolist() == [6, 0, 38]


def test_a_table_of_few_distinct_rows_is_not_chained_into_one_person():
    found, sizes = clusters(np.repeat(np.eye(3), 40, axis=0) @ acts(3, 3))
    assert sizes.max() == 1
    assert any("chain the table together" in note.why for note in found.notes)


def test_names_that_are_no_text_are_written_as_text():
    sites = make_inputs({0: {"b": acts(), 2: acts(), None: acts()}}, table(), ProbeRequest(("sex",))).acts
    assert {regime: list(found) for regime, found in sites.items()} == {"0": ["2", "None", "b"]}


@pytest.mark.parametrize("kind", ["Int64", "UInt8", "Float64", "boolean", "int16[pyarrow]"])
@pytest.mark.parametrize("role", ["attributes", "condition_on", "group"])
def test_missing_values_of_nullable_columns(kind, role):
    column = pd.Series(np.arange(N) // 40 % 2 if kind == "boolean" else np.arange(N) % 40).astype(kind)
    column[:20] = pd.NA
    request = {"attributes": ("sex",), role: "told" if role == "group" else ("told",)}
    found = make_inputs({"real": {"l": acts()}}, table(told=column), ProbeRequest(**request))
    if role == "attributes":
        assert np.array_equal(np.sort(found.places[~found.attributes[0].known]), np.arange(20))


@pytest.mark.parametrize("kind", ["Int64", "int64", "UInt64"])
def test_whole_numbers_beyond_double_precision_stay_apart(kind):
    codes = 2**60 + np.arange(N) % 2
    column = pd.Series(codes, dtype=kind)
    if kind != "int64":
        column[:20] = pd.NA
    attribute = make_inputs({"real": {"l": acts()}}, table(told=column), ProbeRequest(("told",))).attributes[0]
    assert attribute.levels == (str(2**60), str(2**60 + 1))
