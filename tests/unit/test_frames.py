"""Tables that are no files of rows: frames of other libraries, data sets on disk, and what SDV's metadata say of columns."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import proxyaudit
from proxyaudit.audits.probe.inputs import ProbeRequest, make_inputs
from proxyaudit.data.columns import labels
from proxyaudit.data.dataset import file_hashes, load_dataset
from proxyaudit.data.faults import Faults
from proxyaudit.data.frames import as_frame
from proxyaudit.data.reading import Reading, Told
from proxyaudit.data.releases import load_releases
from proxyaudit.data.tables import settle_values
from proxyaudit.errors import InputError
from proxyaudit.recipe.recipe import Recipe, parse_recipe


def people(n: int = 400, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"x": rng.normal(size=n).round(6), "code": rng.integers(1, 5, n), "sex": rng.choice(["f", "m"], n)})
    return frame.assign(y=rng.choice(["no", "yes"], n), help=rng.choice(["None", "much"], n))


class Streamed:
    """A frame of a library that is not named anywhere: Arrow's interface is all it has."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.table.__arrow_c_stream__(requested_schema)


def polars_frame(frame: pd.DataFrame) -> Any:
    polars = pytest.importorskip("polars", reason="polars is not installed")
    return polars.DataFrame({name: frame[name].tolist() for name in frame})


KINDS = {
    "pandas": lambda frame: frame,
    "pandas of Arrow": lambda frame: frame.convert_dtypes(dtype_backend="pyarrow"),
    "nullable pandas": lambda frame: frame.convert_dtypes(),
    "categories": lambda frame: frame.assign(sex=frame["sex"].astype("category")),
    "mapping": lambda frame: {name: frame[name].to_numpy() for name in frame},
    "Arrow": lambda frame: pa.Table.from_pandas(frame),
    "dictionaries of Arrow": lambda frame: pa.Table.from_pandas(frame.assign(sex=frame["sex"].astype("category"))),
    "a stream": lambda frame: Streamed(pa.Table.from_pandas(frame)),
    "polars": polars_frame,
}


def marked() -> pd.DataFrame:
    frame = people()
    frame.loc[:29, "sex"] = "NA"
    return frame


@pytest.mark.parametrize("kind", KINDS)
def test_labels_may_be_any_frame(kind: str) -> None:
    told = Told()
    table = settle_values(as_frame(KINDS[kind](marked())), Reading(), told, Faults("labels", "labels"))
    acts = np.random.default_rng(1).normal(size=(400, 4))
    made = make_inputs({"m": {"s": acts}}, table, ProbeRequest(("sex",), condition_on=("help",)), told=told)
    assert made.attributes[0].levels == ("f", "m")
    assert (made.attributes[0].codes >= 0).sum() == 370
    assert sorted(set(made.conditions["help"])) == ["None", "much"]
    assert {"labels: whether 'NA' is an answer or missing", "labels: whether 'None' is an answer or missing"} <= {
        n.what for n in made.notes
    }


def test_a_probe_takes_a_frame_of_another_library() -> None:
    frame = marked()
    acts = np.random.default_rng(1).normal(size=(400, 4)) + 3.0 * (frame["sex"] == "f").to_numpy()[:, None]
    audit = proxyaudit.probe({"m": {"s": acts}}, Streamed(pa.Table.from_pandas(frame)), attributes="sex", jobs=1)
    assert audit.findings["verdict"].tolist() == ["exposed"]
    assert "labels: whether 'NA' is an answer or missing" in [note.what for note in audit.pack.evidence.not_tested]


def test_frames_keep_what_tells_values_apart() -> None:
    wide = pa.table({"k": pa.array([2**60, 2**60 + 1, None])})
    assert labels(as_frame(Streamed(wide))["k"]).tolist()[:2] == [str(2**60), str(2**60 + 1)]


@pytest.mark.parametrize(
    ("table", "words"), [("a.csv", "but a str"), (3, "but a int"), ({"a": [1], "b": [1, 2]}, "no table can"), (object(), "frame of pandas")]
)
def test_what_is_no_frame_is_refused(table: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        as_frame(table)


def test_no_frame_library_is_imported() -> None:
    assert importlib.util.find_spec("proxyaudit.data.frames") is not None
    text = Path(importlib.util.find_spec("proxyaudit.data.frames").origin or "").read_text(encoding="utf-8")  # type: ignore[union-attr]
    assert not any(f"import {name}" in text for name in ("polars", "datasets", "narwhals"))


def recipe_of(path: str, data: dict[str, Any] | None = None, regimes: list[Any] | None = None) -> Recipe:
    spec = {"path": path, "target": "y", "protected": ["sex"], "discover": 0} | (data or {})
    return parse_recipe({"name": "t", "data": spec, "regimes": regimes or ["real"], "model": {"kind": "mlp"}})


def save_dataset(frame: pd.DataFrame, folder: Path, *, files: int = 2, names: dict[str, list[str]] | None = None) -> str:
    """As ``datasets`` saves one: Arrow streams, and what they are in JSON beside them."""
    folder.mkdir(parents=True)
    table, listed = pa.Table.from_pandas(frame, preserve_index=False), []
    for number in range(files):
        name = f"data-{number:05d}-of-{files:05d}.arrow"
        start, stop = (len(frame) * edge // files for edge in (number, number + 1))
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table.slice(start, stop - start))
        listed.append({"filename": name})
    (folder / "state.json").write_text(json.dumps({"_data_files": listed, "_fingerprint": "f", "_split": None}))
    features = {name: {"names": names[name], "_type": "ClassLabel"} if names and name in names else {"_type": "Value"} for name in frame}
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
    return folder.name


def test_a_saved_data_set_is_read_as_its_file_would_be(tmp_path: Path) -> None:
    frame, held, release = people(), people(400, 1), people(200, 2)
    codes = {"y": ["no", "yes"], "sex": ["f", "m"]}
    coded = [table.assign(y=(table["y"] == "yes").astype(int), sex=(table["sex"] == "m").astype(int)) for table in (frame, held, release)]
    found = []
    for kind in ("csv", "folder"):
        folder = tmp_path / kind
        folder.mkdir()
        for name, plain, number in zip("trh", (frame, release, held), (coded[0], coded[2], coded[1]), strict=True):
            if kind == "csv":
                plain.to_csv(folder / name, index=False)
                (folder / name).rename(folder / f"{name}.csv")
            else:
                save_dataset(number, folder / f"{name}.csv", names=codes)
        recipe = recipe_of("t.csv", {"holdout": "h.csv"}, ["real", {"synthetic": {"name": "v", "path": "r.csv"}}])
        data = load_dataset(recipe, folder)
        found.append((data, load_releases(recipe, data, folder, [])["v"], file_hashes(recipe, folder)))
        assert found[-1][2].items() <= data.hashes.items()
    for place in ("train", "audit"):
        pd.testing.assert_frame_equal(getattr(found[0][0], place), getattr(found[1][0], place))
    pd.testing.assert_frame_equal(found[0][1], found[1][1])
    (tmp_path / "folder" / "h.csv" / "dataset_info.json").write_text("{}")
    assert file_hashes(recipe, tmp_path / "folder")["holdout"] != found[1][2]["holdout"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: (f / "dataset_dict.json").write_text('{"splits": ["train", "test"]}'), r"several splits \(train, test\)"),
        (lambda f: (f / "state.json").write_text("{"), "state.json"),
        (lambda f: (f / "state.json").write_text('{"_data_files": [{"filename": "../t.arrow"}]}'), "no files of rows beside it"),
        (lambda f: (f / "state.json").write_text('{"_data_files": []}'), "no files of rows"),
        (lambda f: (f / "state.json").write_text('{"_indices_files": [{"filename": "i.arrow"}]}'), "flatten_indices"),
        (lambda f: (f / "data-00000-of-00001.arrow").write_bytes(b"x"), "no Arrow stream"),
        (lambda f: (f / "state.json").unlink(), "this is a folder"),
    ],
)
def test_data_sets_that_cannot_be_read_are_refused(tmp_path: Path, spoil: Any, words: str) -> None:
    save_dataset(people(), tmp_path / "d", files=1)
    spoil(tmp_path / "d")
    with pytest.raises(InputError, match=words) as caught:
        load_dataset(recipe_of("d"), tmp_path)
    assert "\n" not in str(caught.value)


def metadata(folder: Path, columns: dict[str, Any], version: str = "V2", **more: Any) -> str:
    table = {"columns": columns, **more}
    document = {"tables": {"people": table}, "relationships": []} if version != "SINGLE_TABLE_V1" else table
    (folder / "m.json").write_text(json.dumps(document | {"METADATA_SPEC_VERSION": version}))
    return "m.json"


@pytest.mark.parametrize("version", ["V2", "V1", "SINGLE_TABLE_V1"])
def test_metadata_say_what_columns_are(tmp_path: Path, version: str) -> None:
    frame, held = people(), people(400, 1)
    for table in (frame, held):
        table.insert(0, "who", [f"{k % 300}" for k in range(400)])
        table["mail"] = [f"p{k % 300}@example.org" for k in range(400)]
        table["seen"] = [f"{1 + k % 28:02d}.03.2020" for k in range(400)]
    said: dict[str, Any] = {"who": {"sdtype": "id"}, "mail": {"sdtype": "email", "pii": True}, "code": {"sdtype": "categorical"}}
    said |= {"x": {"sdtype": "numerical"}, "seen": {"sdtype": "datetime", "datetime_format": "%d.%m.%Y"}}
    frame.to_csv(tmp_path / "t.csv", index=False)
    held.to_csv(tmp_path / "h.csv", index=False)
    recipe = recipe_of("t.csv", {"holdout": "h.csv", "metadata": metadata(tmp_path, said, version, primary_key="who")})
    data = load_dataset(recipe, tmp_path)
    kinds = {feature.name: feature.kind for feature in data.features}
    assert kinds == {"x": "numeric", "code": "categorical", "seen": "numeric", "help": "categorical"}
    assert data.train["seen"].between(18_322, 18_349).all()  # days since 1970
    assert "metadata" in data.hashes
    assert recipe.published()["data"]["metadata"] == "m.json"


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("[", "no JSON"),
        ("[]", "no columns"),
        ('{"tables": {"a": {}, "b": {}}}', "describes 2 tables"),
        ('{"columns": {"x": "numerical"}}', "no columns"),
        ('{"columns": {"sex": {"sdtype": "numerical"}, "help": {"sdtype": "datetime"}}}', "'help' holds other values than dates"),
    ],
)
def test_metadata_that_do_not_fit_are_refused(tmp_path: Path, document: str, words: str) -> None:
    people().to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "m.json").write_text(document)
    with pytest.raises(InputError, match=words):
        load_dataset(recipe_of("t.csv", {"metadata": "m.json"}), tmp_path)


def test_the_very_metadata_of_sdv_are_read(tmp_path: Path) -> None:
    from sdv.metadata import Metadata

    frame = people().assign(key=[f"K{k}" for k in range(400)])
    frame.to_csv(tmp_path / "t.csv", index=False)
    made = Metadata.load_from_dict(
        {"tables": {"people": {"columns": {name: {"sdtype": "categorical"} for name in frame} | {"x": {"sdtype": "numerical"}}}}}
    )
    made.save_to_json(tmp_path / "m.json")
    data = load_dataset(recipe_of("t.csv", {"metadata": "m.json", "identifiers": ["key"]}), tmp_path)
    assert {feature.name: feature.kind for feature in data.features}["code"] == "categorical"
