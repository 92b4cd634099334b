"""The n-gram model as synthesizer: labels and columns steer the texts, one seed repeats, and single texts are not recited."""

from __future__ import annotations

import random
import time
import tomllib
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from proxyaudit.data.dataset import load_dataset
from proxyaudit.data.text_features import count_overlapping, overlap_words
from proxyaudit.errors import InputError, TaskError
from proxyaudit.recipe.recipe import parse_recipe
from proxyaudit.regimes import synthesize
from proxyaudit.synthesizers.base import Synthesizer
from proxyaudit.synthesizers.ngram import NgramSynthesizer, ngram, tokens_of

GOOD, BAD = ("fine", "lovely", "warm"), ("torn", "ugly", "cold")


def reviews(n: int = 600, seed: int = 0) -> pd.DataFrame:
    """Reviews in which one word follows the label and another the age."""
    rng = np.random.default_rng(seed)
    liked, old = rng.integers(0, 2, n), rng.integers(0, 2, n)
    who = [{0: "roommate", 1: "grandchild"}[o] for o in old]
    texts = [
        f"This {rng.choice(['coat', 'hat', 'scarf'])} is {rng.choice(GOOD if y else BAD)}, and my {other} agrees!"
        for y, other in zip(liked, who, strict=True)
    ]
    return pd.DataFrame({"review": texts, "liked": np.array(["no", "yes"])[liked], "age": np.array(["young", "old"])[old]})


def told(rows: pd.DataFrame, column: str, value: str, words: tuple[str, ...]) -> float:
    """Share of texts with one of the words among those of a value."""
    return float(np.mean([any(word in text for word in words) for text in rows.loc[rows[column] == value, "review"]]))


def test_labels_and_columns_steer_the_texts() -> None:
    real = reviews()
    made = ngram(text="review", label="liked").fit(real)
    assert isinstance(made, Synthesizer)
    rows = made.sample(500, seed=1)
    assert list(rows.columns) == list(real.columns)
    assert abs(float((rows["liked"] == "yes").mean() - (real["liked"] == "yes").mean())) < 0.06
    assert told(rows, "liked", "yes", GOOD) > 0.95
    assert told(rows, "liked", "yes", BAD) < 0.02
    # Witten & Bell leave some probability to what the label's other texts say.
    assert told(rows, "age", "old", ("grandchild",)) > 0.9
    assert told(rows, "age", "young", ("grandchild",)) < 0.1
    blind = ngram(text="review", label="liked").fit(real.drop(columns="age")).sample(500, seed=1)
    assert abs(float(blind["review"].str.contains("grandchild").mean()) - 0.5) < 0.08


def test_one_seed_repeats_and_nothing_global_moves() -> None:
    real = reviews(80)
    before: list[Any] = [random.getstate(), np.random.get_state()[1].tolist()]  # noqa: NPY002
    made = ngram(text="review", label="liked", seed=3).fit(real)
    first = made.sample(40, seed=5)
    assert not made.sample(40, seed=6).equals(first)
    assert made.sample(40, seed=5).equals(first)
    assert ngram(text="review", label="liked", seed=4).fit(real).sample(40, seed=5).equals(first)
    assert made.sample(20, seed=5)["review"].tolist() != first["review"].tolist()[:19]
    assert before == [random.getstate(), np.random.get_state()[1].tolist()]  # noqa: NPY002
    assert repr(made) == "NgramSynthesizer(label='liked', seed=3, text='review')"
    assert NgramSynthesizer(**made.get_params()).get_params() == made.get_params()


def test_what_one_text_alone_says_is_not_recited() -> None:
    words = [f"word{i}" for i in range(400)]
    rng = np.random.default_rng(0)
    secret = "only the person of house forty two at the far end of town says this very long thing"
    texts = [" ".join(rng.choice(words, 20)) for _ in range(300)] + [secret]
    real = pd.DataFrame({"review": texts, "liked": ["yes"] * len(texts)})
    rows = ngram(text="review", label="liked", order=4).fit(real).sample(600, seed=0)
    assert count_overlapping(rows["review"], real["review"], words=5) == 0
    assert count_overlapping(texts, texts, words=5) == len(texts)
    shared = pd.DataFrame({"review": [*texts, secret, secret], "liked": "yes"})
    recited = ngram(text="review", label="liked", order=4).fit(shared).sample(3000, seed=0)
    assert count_overlapping(recited["review"], [secret], words=5) > 0


def test_one_author_of_many_texts_is_not_recited(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    secret = "only the person of house forty two at the far end of town says this very long thing"
    plain = reviews(560)
    real = pd.concat([plain, plain.head(40).assign(review=secret)], ignore_index=True)
    real = real.assign(who=[*range(560), *[-1] * 40]).iloc[rng.permutation(600)].reset_index(drop=True)
    shown, whose = real.drop(columns="who"), real["who"].tolist()
    told = ngram(text="review", label="liked", people=whose).fit(shown)
    assert count_overlapping(told.sample(600, seed=0)["review"], [secret], words=5) == 0
    assert count_overlapping(ngram(text="review", label="liked").fit(shown).sample(600, seed=0)["review"], [secret], words=5) > 20
    # Where every text is another person's, telling the people changes nothing.
    each = ngram(text="review", label="liked", people=list(range(600))).fit(shown)
    assert each.sample(40, seed=0).equals(ngram(text="review", label="liked").fit(shown).sample(40, seed=0))
    few = ngram(text="review", label="liked", people=[row % 10 for row in range(600)]).fit(shown)
    assert set(few.cells_) == {""}
    real.to_csv(tmp_path / "r.csv", index=False)
    spec = {"path": "r.csv", "target": "liked", "protected": ["age"], "text": "review", "group": "who"}
    model = {"kind": "huggingface", "path": "m", "max_length": 8}
    made = parse_recipe({"name": "n", "data": spec, "regimes": [{"synthetic": {"ngram": True}}], "model": model})
    dataset = load_dataset(made, tmp_path)
    dataset = replace(dataset, train=real.astype({"who": str}))
    (one,) = [entry.synthetic for entry in made.regimes if entry.synthetic is not None]
    assert count_overlapping(synthesize(one, dataset, 300, seed=0)["review"], [secret], words=5) == 0


def test_tokens_give_the_text_back() -> None:
    text = "I'm 5'8\", and it's  a bit\nlarge (size 10)... don\u2019t!"
    assert "".join(tokens_of(text)) == " I'm 5'8\", and it's a bit large (size 10)... don\u2019t!"
    assert tokens_of(" \n") == []
    start = time.process_time()
    assert tokens_of("a" + " " * 40_000) == [" a"]
    assert time.process_time() - start < 1


def test_cells_are_no_smaller_than_a_group_and_numbers_come_in_quarters() -> None:
    real = reviews(400).assign(years=np.arange(400.0), rare=["a"] * 380 + ["b"] * 20)
    made = ngram(text="review", label="liked").fit(real.drop(columns="age"))
    sizes = pd.Series([cell for cell in made.cells_ if cell]).value_counts()
    assert (sizes >= 30).all()
    assert "" in made.cells_
    alone = ngram(text="review", label="liked").fit(
        real[["review", "liked"]].assign(years=np.where(real["years"] < 100, np.nan, real["years"]))
    )
    assert len({cell.split("\x1f")[-1] for cell in alone.cells_ if cell}) >= 2


@pytest.mark.parametrize("frame", [pd.DataFrame({"n": [1, 2]}), pd.DataFrame({"review": [None, " "]})])
def test_nothing_to_learn_from(frame: pd.DataFrame) -> None:
    with pytest.raises(TaskError, match="found no text"):
        ngram(text="review" if "review" in frame else None).fit(frame)
    with pytest.raises(TaskError, match="mostly empty"):
        ngram(text="review").fit(pd.DataFrame({"review": ["\x02"] * 40})).sample(20, seed=0)


def recipe(folder: Path, regime: Any, **data: Any) -> Any:
    reviews().to_csv(folder / "r.csv", index=False)
    spec = {"path": "r.csv", "target": "liked", "protected": ["age"], "text": "review"} | data
    model = {"kind": "huggingface", "path": "m", "max_length": 8} if spec["text"] else {"kind": "mlp"}
    return parse_recipe({"name": "n", "data": spec, "regimes": ["real", {"synthetic": regime}], "model": model})


def test_in_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxyaudit.regimes.load_plugin", lambda group, name, where: {"ngram": ngram}[name])
    made = recipe(tmp_path, {"ngram": True, "sees_protected": False})
    (spec,) = [entry.synthetic for entry in made.regimes if entry.synthetic is not None]
    assert (spec.regime, spec.plugin) == ("ngram", "ngram")
    rows = synthesize(spec, load_dataset(made, tmp_path), 120, seed=0)
    assert set(rows.columns) == {"review", "liked"}
    assert told(rows, "liked", "yes", BAD) < 0.05


@pytest.mark.parametrize(
    ("regime", "data", "message"),
    [
        ({"sdv": "ngram"}, {}, "'ngram: true'"),
        ({"ngram": True, "epochs": 3}, {}, "no meaning"),
        ({"ngram": True, "sdv": "tvae"}, {}, "exactly one"),
        ({"ngram": True}, {"text": None}, "data.text"),
        ({"ngram": {"ordr": 3}}, {}, "did you mean 'order'"),
        ({"ngram": {"fewest_texts": 1}}, {}, "greater than or equal to 2"),
        ({"sdv": "tvae"}, {}, "write 'ngram'"),
    ],
)
def test_wrong_recipes(tmp_path: Path, regime: Any, data: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        recipe(tmp_path, regime, **data)


def test_passages_in_words() -> None:
    assert overlap_words(3, 4000, 45, 3990) == (
        "fewer than 20 of at least 4,000 texts hold 12 words in a row that stand in a real training text; "
        "of at least 3,980 real audit texts, which repeat training texts by chance only, at least 40 do"
    )


def test_it_is_registered() -> None:
    document = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    point = document["project"]["entry-points"]["proxyaudit.synthesizers"]["ngram"]
    assert EntryPoint("ngram", point, "proxyaudit.synthesizers").load() is ngram
