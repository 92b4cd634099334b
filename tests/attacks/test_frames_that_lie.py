"""Tables and arrays that look right and are read otherwise: texts that compare as one, rows in another order, settings of another type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import proxyaudit as pa
from proxyaudit.audits.probe import run as pipeline
from proxyaudit.cli.main import main
from proxyaudit.data.tables import read_table
from proxyaudit.errors import InputError

N = 300
RNG = np.random.default_rng(0)
SEX = RNG.integers(0, 2, N)
ACTS = RNG.normal(size=(N, 4))
LABELS = pd.DataFrame({"sex": np.array(["f", "m"])[SEX]})


def refused(acts: Any = ACTS, labels: Any = LABELS, **more: Any) -> str:
    with pytest.raises(InputError) as caught:
        pa.probe(acts, labels, **{"attributes": "sex", **more})
    assert "\n" not in str(caught.value)
    assert caught.value.mend
    return str(caught.value)


def _spelt(*levels: str) -> pd.DataFrame:
    return pd.DataFrame({"sex": np.array([*levels, "x"], dtype=object)[np.where(RNG.random(N) < 0.1, len(levels), SEX)]})


@pytest.mark.parametrize("levels", [("g\0f", "g\0m"), ("g", "g\0"), ("\0f", "\0m"), ("f", "\ud800")])
def test_no_two_categories_become_one_at_a_nul(levels: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no text" in refused(labels=_spelt(*levels))
    assert "no text" in refused(labels=_spelt(*levels).astype("category"))
    if "\ud800" in levels:
        return
    table = _spelt(*levels)
    table.to_parquet(tmp_path / "rows.parquet")
    (tmp_path / "rows.csv").write_bytes(b"sex\n" + "\n".join(table["sex"]).encode() + b"\n")
    np.save(tmp_path / "acts.npy", ACTS)
    for name in ("rows.parquet", "rows.csv"):
        with pytest.raises(InputError, match="no text"):
            read_table(tmp_path / name, what="release 'vendor'")
        given = ["--activations", f"m={tmp_path / 'acts.npy'}", "--labels", str(tmp_path / name), "--attribute", "sex"]
        assert main(["probe", *given, "--out", str(tmp_path / "out")]) == 2
        told = capsys.readouterr().err
        assert "column 'sex'" in told
        assert len(told.strip().splitlines()) == 1


@pytest.mark.parametrize("kind", ["series", "dictionaries", "frame", "one regime", "series of one name"])
def test_rows_are_never_brought_into_another_order_unsaid(kind: str) -> None:
    order = RNG.permutation(N)
    shuffled = pd.Series(SEX, index=order)
    if kind == "series":
        told = refused(labels={"sex": shuffled, "person": pd.Series(np.arange(N))}, group="person")
    elif kind == "dictionaries":
        told = refused(labels={"sex": dict(zip(order.tolist(), SEX.tolist(), strict=True))})
    elif kind == "series of one name":
        told = refused(labels={"sex": shuffled, "person": shuffled[::-1]}, group="person")
    elif kind == "frame":
        told = refused(pd.DataFrame(ACTS, index=order))
    else:
        told = refused({"real": {"s": pd.DataFrame(ACTS)}, "vendor": {"s": pd.DataFrame(ACTS).iloc[::-1]}}, LABELS.set_index(order + N))
    assert "order" in told


@pytest.mark.parametrize("names", [[1, "a", 2.5], ["a", 1, (2, 3)], [pd.Timestamp(0), "a", 1]])
def test_names_that_have_no_order_are_compared_too(names: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "probe_inputs", lambda inputs, *rest: inputs.attributes[0].codes)
    monkeypatch.setattr("proxyaudit.api.Audit", lambda folder, pack: pack)
    index = pd.Index([*names, *(f"row {place}" for place in range(N - 3))], dtype=object, tupleize_cols=False)
    labels = LABELS.set_axis(index)
    plain = pa.probe(ACTS, LABELS, attributes="sex")
    for own in (index, pd.RangeIndex(N)):
        assert np.array_equal(pa.probe(pd.DataFrame(ACTS, index=own), labels, attributes="sex"), plain)  # type: ignore[arg-type]
    assert "another order" in refused(pd.DataFrame(ACTS, index=index[::-1]), labels)


def test_frames_of_one_order_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "probe_inputs", lambda inputs, *rest: inputs.attributes[0].codes)
    monkeypatch.setattr("proxyaudit.api.Audit", lambda folder, pack: pack)
    order = RNG.permutation(N)
    plain = pa.probe(ACTS, LABELS, attributes="sex")
    for index in (order, order + 1000, [f"row {place}" for place in order]):
        named = pd.DataFrame(ACTS, index=index), LABELS.set_index(pd.Index(index))
        np.testing.assert_array_equal(pa.probe(*named, attributes="sex"), plain)
        np.testing.assert_array_equal(pa.probe(ACTS, {"sex": named[1]["sex"], "more": named[1]["sex"]}, attributes="sex"), plain)


@pytest.mark.parametrize(
    "more",
    [
        {"attributes": None},
        {"attributes": b"sex"},
        {"attributes": [["sex"]]},
        {"group": ""},
        {"group": 3},
        {"real": ["model"]},
        {"condition_on": None},
        {"seed": 1.5},
        {"seed": None},
        {"seed": "0"},
        {"jobs": "2"},
        {"name": None},
        {"intersections": 3},
        {"recipients": [3]},
    ],
    ids=str,
)
def test_a_setting_of_another_type_is_one_line(more: dict[str, Any]) -> None:
    refused(**more)


class Raising:
    """An array of somebody else, which fails only when it is read."""

    shape = (N, 4)

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise RuntimeError("4711")

    def __arrow_c_stream__(self, *_: Any) -> Any:
        raise RuntimeError("4711")


@pytest.mark.parametrize(
    "acts",
    [Raising(), {"m": {"s": [[1.0, 2.0], [3.0]]}}, torch.empty(N, 4, device="meta"), {"m": {"s\ud800": ACTS}}],
    ids=["raising", "ragged", "without data", "name that is no text"],
)
def test_what_cannot_be_read_is_one_line(acts: Any) -> None:
    assert "4711" not in refused(acts)


def test_nor_do_labels_say_what_others_raise() -> None:
    assert "4711" not in refused(labels=Raising())
    refused(labels={"sex": np.zeros(N, dtype=[("a", "i4")])})
    refused(labels=pd.DataFrame({("sex", "a"): SEX, ("sex", "b"): SEX}))


def test_moments_beyond_the_nanoseconds_of_pandas_are_days(tmp_path: Path) -> None:
    from proxyaudit.data.columns import coerce, infer_kind

    days = np.array(["9999-12-31", "1970-01-02", "NaT"], dtype="datetime64[us]")
    pd.DataFrame({"left": days}).to_parquet(tmp_path / "rows.parquet")
    left = read_table(tmp_path / "rows.parquet", what="data")["left"]
    np.testing.assert_array_equal(coerce(left, infer_kind(left, where="data"), where="data"), [2932896.0, 1.0, np.nan])
