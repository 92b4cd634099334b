"""A column of texts: which rows are kept together, what the model is handed, and what says what the texts carry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from text_world import texts

from proxyaudit.data.dataset import Dataset, load_dataset
from proxyaudit.data.releases import load_releases, release_notes
from proxyaudit.data.text import NO_TOKEN, TextEncoder
from proxyaudit.errors import InputError
from proxyaudit.recipe.recipe import Recipe, parse_recipe
from proxyaudit.regimes import make_regimes, make_training_data
from proxyaudit.seeding import stream

MODEL = {"kind": "huggingface", "path": "none", "max_length": 8}


def recipe_for(folder: Path, frame: pd.DataFrame, regimes: list[Any] | None = None, **data: Any) -> Recipe:
    frame.to_csv(folder / "t.csv", index=False)
    spec = {"path": "t.csv", "text": "text", "target": "y", "protected": ["sex"], "group": "author"} | data
    return parse_recipe({"name": "t", "data": spec, "regimes": regimes or ["real"], "model": MODEL})


def lengths(lines: list[str]) -> list[list[int]]:
    """A tokenizer that numbers each word by its length."""
    return [[len(word) for word in line.split()] for line in lines]


def load(folder: Path, frame: pd.DataFrame, **data: Any) -> Dataset:
    return load_dataset(recipe_for(folder, frame, **data), folder)


def with_tokens(data: Dataset) -> TextEncoder:
    assert isinstance(data.encoder, TextEncoder)
    return TextEncoder(data.encoder.column, data.encoder.train, data.encoder.width, lengths)


def test_the_text_is_the_only_input_and_authors_stay_whole(tmp_path: Path) -> None:
    data = load(tmp_path, texts(400))
    assert [(f.name, f.kind) for f in data.features] == [("text", "text")]
    assert data.text == "text"
    assert not set(data.train["author"]) & set(data.audit["author"])
    assert pd.DataFrame({"a": data.audit["author"], "p": data.parts}).groupby("a").nunique().p.eq(1).all()
    assert any("1 other columns as inputs" in note.what for note in data.notes)
    assert "stars" not in data.train


def test_equal_texts_are_one_cluster_whatever_stands_beside_them(tmp_path: Path) -> None:
    frame = texts(400).drop(columns="author")
    frame.loc[1::2, "text"] = frame.loc[::2, "text"].to_numpy()
    data = load(tmp_path, frame, group=None)
    assert not set(data.train["text"]) & set(data.audit["text"])
    assert len(set(data.clusters)) == data.audit["text"].nunique()


def test_rows_without_text_are_dropped_and_said_to_be(tmp_path: Path) -> None:
    frame = texts(400)
    frame.loc[:9, "text"] = ["", "  ", *[None] * 8]
    data = load(tmp_path, frame)
    assert len(data.train) + len(data.audit) == 390
    assert any(note.what == "real rows without a target or without text" for note in data.notes)


def test_a_row_is_its_tokens_then_nothing(tmp_path: Path) -> None:
    encoder = with_tokens(load(tmp_path, texts(300)))
    table = encoder.transform(pd.DataFrame({"text": ["a bbb", None, "x " * 20]}))
    assert table.dtype == np.float32
    assert table[0].tolist() == [1, 3] + [NO_TOKEN] * 6
    assert table[1].tolist() == [0] + [NO_TOKEN] * 7  # never a row without any token
    assert table[2].tolist() == [1] * 8
    assert len(encoder.columns) == len(set(encoder.columns)) == 8
    assert set(encoder.sources) == {"text"}
    huge = TextEncoder("text", encoder.train, 8, lambda lines: [[2**24]] * len(lines))
    with pytest.raises(InputError, match="too large"):
        huge.transform(pd.DataFrame({"text": ["a"]}))
    with pytest.raises(ValueError, match="attach"):
        TextEncoder("text", encoder.train, 8).transform(pd.DataFrame({"text": ["a"]}))


def test_features_say_what_the_texts_carry_and_are_learnt_on_training_texts(tmp_path: Path) -> None:
    data = load(tmp_path, texts(800, told=1.0))
    from sklearn.linear_model import LogisticRegression

    one, audit = data.encoder.features(data.train), data.encoder.features(data.audit)
    again = with_tokens(data).features(data.audit)
    np.testing.assert_array_equal(audit, again)
    assert np.isfinite(audit).all()
    fitted = LogisticRegression(max_iter=2000).fit(one, data.train["sex"])
    assert fitted.score(audit, data.audit["sex"]) > 0.9
    scrubbed = with_tokens(data).scrubbed(data.audit, ("pronouns",))
    assert fitted.score(data.encoder.features(scrubbed), data.audit["sex"]) < 0.65


def test_scrubbed_training_rows_are_the_real_ones_masked(tmp_path: Path) -> None:
    recipe = recipe_for(tmp_path, texts(400), ["real", {"scrub": ["pronouns"]}])
    data = load_dataset(recipe, tmp_path)
    object.__setattr__(data, "encoder", with_tokens(data))
    real, scrubbed = make_regimes(recipe, tmp_path)[:2]
    assert (scrubbed.name, scrubbed.kind, scrubbed.scrub) == ("scrub-pronouns", "scrubbed", ("pronouns",))
    both = [make_training_data(regime, data, {}, 100, stream(0, "rows")) for regime in (real, scrubbed)]
    np.testing.assert_array_equal(both[0].y, both[1].y)
    changed = (both[0].x != both[1].x).any(axis=1)
    assert 0.6 < changed.mean() < 1
    assert both[1].summary["real_rows"] == 100


def test_a_release_of_texts(tmp_path: Path) -> None:
    frame = texts(400)
    release = texts(200, seed=9).drop(columns=["author", "sex"])
    release.loc[:19, "text"] = frame["text"].to_numpy()[:20]
    release.to_csv(tmp_path / "r.csv", index=False)
    recipe = recipe_for(tmp_path, frame, ["real", {"synthetic": {"name": "vendor", "path": "r.csv"}}])
    data = load_dataset(recipe, tmp_path)
    object.__setattr__(data, "encoder", with_tokens(data))
    releases = load_releases(recipe, data, tmp_path, [])
    assert list(releases["vendor"].columns) == ["text", "y"]
    assert any("rows it shares with the audit" in note.what for note in release_notes(data, releases))  # the text alone is compared
    release.drop(columns="text").to_csv(tmp_path / "r.csv", index=False)
    with pytest.raises(InputError, match=r"column 'text' \(input\) is missing"):
        load_releases(recipe, data, tmp_path, [])
    release.assign(text="").to_csv(tmp_path / "r.csv", index=False)
    with pytest.raises(InputError, match="most rows have no text"):
        load_releases(recipe, data, tmp_path, [])


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"model": {"kind": "mlp"}}, "needs a model that reads text"),
        ({"regimes": [{"synthetic": {"sdv": "tvae"}}]}, "makes tables, not texts"),
        ({"regimes": ["real", {"quantise": "int8", "of": "rael"}]}, "names no regime"),
        ({"regimes": ["real", {"quantise": "int8"}]}, "'quantise' needs 'of'"),
        ({"regimes": [{"scrub": []}]}, "at least 1 item"),
        ({"model": {**MODEL, "tune": "some"}}, "unknown word 'some' .*; one of head, lora, full"),
        ({"model": {**MODEL, "hub": True, "package": "p"}}, "exclude each other"),
        ({"model": {**MODEL, "revision": "x"}}, "belongs to 'hub: true'"),
    ],
)
def test_recipes_that_cannot_be_meant(change: dict[str, Any], line: str) -> None:
    document = {"name": "t", "data": {"path": "t", "text": "text", "target": "y", "protected": ["a"]}, "regimes": ["real"], "model": MODEL}
    with pytest.raises(InputError, match=line):
        parse_recipe(document | change)
    with pytest.raises(InputError, match=r"name its column under 'data\.text'"):
        parse_recipe(document | {"data": {"path": "t", "target": "y", "protected": ["a"]}})


def test_frozen_is_another_word_for_head_and_rates_follow_what_is_tuned() -> None:
    data = {"path": "t", "text": "text", "target": "y", "protected": ["a"]}
    made = [
        parse_recipe({"name": "t", "data": data, "regimes": ["real"], "model": {**MODEL, "tune": tune}}).model
        for tune in ("frozen", "lora", "full")
    ]
    assert [m.learning_rate for m in made] == [1e-3, 1e-3, 5e-5]
    assert [getattr(m, "tune", None) for m in made] == ["head", "lora", "full"]
