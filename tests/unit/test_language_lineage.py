"""What wrote a regime's texts, and whether it shares the base of the model under audit."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tiny_language import tiny_gpt2, word_tokenizer

from proxyaudit.errors import InputError
from proxyaudit.models.kinds.huggingface import HuggingFaceSpec
from proxyaudit.recipe.recipe import Recipe, SyntheticSpec, parse_recipe
from proxyaudit.regimes import synthesize
from proxyaudit.synthesizers.lineage import trace_language_models

DATA: dict[str, Any] = {"path": "x.csv", "target": "liked", "protected": ["age"]}


def recipe(**language_model: Any) -> Recipe:
    regimes = ["real", {"synthetic": {"language_model": language_model}}]
    return parse_recipe({"name": "n", "data": DATA, "regimes": regimes, "model": {"kind": "mlp"}})


def student(base: Recipe, path: str) -> Recipe:
    """The recipe with a pretrained transformer under audit, as far as tracing looks at it."""
    return base.model_copy(update={"model": HuggingFaceSpec(kind="huggingface", path=path)})


def dataset(kind: str = "text") -> Any:
    rng = np.random.default_rng(0)
    train = pd.DataFrame({"review": ["a good one", "a bad one"] * 6, "liked": ["yes", "no"] * 6, "age": rng.choice(["old", "young"], 12)})
    kinds = [SimpleNamespace(name=name) for name in train]
    features = (SimpleNamespace(name="review", kind=kind),)
    columns = lambda sees_protected: tuple(train) if sees_protected else ("review", "liked")  # noqa: E731
    return SimpleNamespace(
        features=features, train=train, kinds=kinds, synthesis_columns=columns, target="liked", text="review" if kind == "text" else None
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("lineage")
    tokenizer = word_tokenizer(["a good bad one liked : yes no age old young review"])
    for name, seed, layers in (("base", 0, 2), ("tuned", 1, 2), ("other", 0, 1)):
        tiny_gpt2(place / name, tokenizer, seed=seed, layers=layers, width=8)
    return place


@pytest.mark.parametrize(
    ("path", "word", "says"), [("base", "yes", "same weights"), ("tuned", "not known", "cannot be told"), ("other", "no", None)]
)
def test_a_shared_base_is_said(folder: Path, path: str, word: str, says: str | None) -> None:
    found = trace_language_models(student(recipe(path="base"), path), dataset(), folder)
    assert found.described[0]["shares the student's base"] == word
    assert found.described[0]["weights"] == found.hashes["language model of language_model"]
    traits = [note for note in found.notes if note.what.startswith("traits")]
    assert len(traits) == (says is not None)
    if says is not None:
        assert "a teacher that shares the student's base can pass traits on through unrelated text" in traits[0].why
        assert says in traits[0].why


def test_recipes_with_and_without_language_models(folder: Path) -> None:
    empty = parse_recipe({"name": "n", "data": DATA, "regimes": ["real"], "model": {"kind": "mlp"}})
    found = trace_language_models(empty, dataset(), folder)
    assert (found.hashes, found.described, found.notes) == ({}, [], [])
    with pytest.raises(InputError, match="no text column"):
        trace_language_models(recipe(path="base"), dataset("categorical"), folder)
    with pytest.raises(InputError, match="no such model"):
        trace_language_models(recipe(path="nowhere"), dataset(), folder)
    assert recipe(path="base").regime_names() == ["real", "language_model"]
    with pytest.raises(InputError, match="not 'sdv: language_model'"):
        parse_recipe({"name": "n", "data": DATA, "regimes": [{"synthetic": {"sdv": "language_model"}}], "model": {"kind": "mlp"}})
    with pytest.raises(InputError, match="exactly one of"):
        parse_recipe(
            {
                "name": "n",
                "data": DATA,
                "regimes": [{"synthetic": {"sdv": "tvae", "language_model": {"path": "x"}}}],
                "model": {"kind": "mlp"},
            }
        )
    with pytest.raises(InputError, match="did you mean 'top_p'"):
        recipe(path="base", top_q=0.5)


def test_synthesize_hands_the_recipe_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from proxyaudit import regimes
    from proxyaudit.synthesizers.language_model import language_model

    monkeypatch.setattr(regimes, "load_plugin", lambda group, name, where: {"language_model": language_model}[name])
    monkeypatch.setattr(regimes, "conform", lambda dataset, raw, columns, where, days: raw)
    data = dataset()
    data.target_codes = lambda rows: rows["liked"].map({"no": 0, "yes": 1})
    spec = SyntheticSpec.model_validate({"language_model": {"path": "base", "max_tokens": 5}, "epochs": 1})
    rows = synthesize(spec, data, 9, 0, folder)
    assert list(rows) == ["review", "liked", "age"]
    assert len(rows) == 9
    assert rows.equals(synthesize(spec, data, 9, 0, folder))
    assert not rows.equals(synthesize(spec, data, 9, 1, folder))
    unseen = spec.model_copy(update={"sees_protected": False})
    assert list(synthesize(unseen, data, 9, 0, folder)) == ["review", "liked"]
