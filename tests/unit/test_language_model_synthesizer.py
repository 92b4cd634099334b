"""The language model as synthesizer: labels steer the texts, one seed repeats, two differ, and nothing global moves."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tiny_language import tiny_gpt2, word_tokenizer

from proxyaudit.errors import InputError, TaskError
from proxyaudit.recipe.models import LanguageModelSpec
from proxyaudit.synthesizers.base import Synthesizer
from proxyaudit.synthesizers.language_model import LanguageModelSynthesizer, language_model

GOOD, BAD = ("fine", "lovely", "warm"), ("torn", "ugly", "cold")


@pytest.fixture(scope="module")
def real() -> pd.DataFrame:
    """Reviews whose words follow the label, with an age group beside them."""
    rng = np.random.default_rng(0)
    liked = rng.integers(0, 2, 48)
    texts = [f"this coat is {rng.choice(GOOD if y else BAD)} and {rng.choice(GOOD if y else BAD)}" for y in liked]
    return pd.DataFrame({"age": rng.choice(["young", "old"], 48), "review": texts, "liked": np.array(["no", "yes"])[liked]})


@pytest.fixture(scope="module")
def folder(real: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = [*real["review"], "age : young old (missing) liked : yes no review : score"]
    return tiny_gpt2(tmp_path_factory.mktemp("words"), word_tokenizer(words))


def make(folder: Path, **more: Any) -> LanguageModelSynthesizer:
    return language_model(**{"path": str(folder), "epochs": 24, "learning_rate": 1e-2, "max_tokens": 10, "top_p": 0.9, **more})


@pytest.fixture(scope="module")
def fitted(folder: Path, real: pd.DataFrame) -> LanguageModelSynthesizer:
    return make(folder, seed=3).fit(real)


@pytest.mark.long
def test_labels_steer_the_texts(fitted: LanguageModelSynthesizer, real: pd.DataFrame) -> None:
    assert isinstance(fitted, Synthesizer)
    rows = fitted.sample(60, seed=5)
    assert list(rows.columns) == list(real.columns)
    assert len(rows) == 60
    assert set(rows["liked"]) == {"yes", "no"}
    told = [any(word in text for word in (GOOD if y == "yes" else BAD)) for text, y in zip(rows["review"], rows["liked"], strict=True)]
    wrong = [any(word in text for word in (BAD if y == "yes" else GOOD)) for text, y in zip(rows["review"], rows["liked"], strict=True)]
    assert np.mean(told) > 0.85
    assert np.mean(wrong) < 0.2
    assert fitted.losses_[-1] < fitted.losses_[0] / 2


def test_seeds_rows_and_global_state(folder: Path, fitted: LanguageModelSynthesizer, real: pd.DataFrame) -> None:
    before = real.copy()
    first = fitted.sample(20, seed=5)
    other = fitted.sample(20, seed=6)
    states: list[Any] = [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]  # noqa: NPY002
    again = make(folder, seed=3).fit(real)
    assert again.sample(20, seed=5).equals(first)
    assert states == [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]  # noqa: NPY002
    torch.manual_seed(99)
    assert fitted.sample(20, seed=5).equals(first)
    assert not other.equals(first)
    assert (
        not make(folder, seed=4, epochs=2).fit(real).sample(20, seed=5).equals(make(folder, seed=3, epochs=2).fit(real).sample(20, seed=5))
    )
    pd.testing.assert_frame_equal(real, before)


def test_few_shot_trains_nothing_and_shows_real_texts_of_the_label(folder: Path, real: pd.DataFrame) -> None:
    made = make(folder, mode="few_shot", examples=2, texts_per_prompt=4, seed=1).fit(real)
    assert not hasattr(made, "losses_")
    prompts = made._prompts(made.prefixes_, range(8), 0, 0)
    assert sum(len(rows) for _, rows in prompts) == 8
    assert max(len(rows) for _, rows in prompts) <= 4
    for ids, rows in prompts:
        shown = made.model_.decode(ids)
        label = real["liked"][rows[0]]
        assert shown.count("liked :") == shown.count(f"liked : {label}") == 3
        assert any(word in shown for word in (GOOD if label == "yes" else BAD))
    rows = made.sample(12, seed=0)
    assert rows.equals(made.sample(12, seed=0))
    assert not rows.equals(made.sample(12, seed=1))
    stored = load_file(folder / "model.safetensors")
    assert all(torch.equal(value, made.model_.model.state_dict()[name]) for name, value in stored.items())


def test_a_table_without_texts_and_settings() -> None:
    made = language_model(path="nowhere", seed=2)
    assert made.get_params()["seed"] == 2
    assert "nowhere" in repr(made)
    with pytest.raises(TaskError, match="no text column"):
        made.fit(pd.DataFrame({"x": [1, 2]}))
    with pytest.raises(TaskError, match="no texts"):
        language_model(path="nowhere", text="t").fit(pd.DataFrame({"t": [None, " "]}))
    with pytest.raises(InputError, match="no such model"):
        made.fit(pd.DataFrame({"t": ["a text"]}))


def test_the_recipe_part_fits_the_synthesizer() -> None:
    spec = LanguageModelSpec(path="x", package="some_package", gguf_file="y.gguf")
    made = language_model(epochs=None, seed=1, **spec.model_dump())
    assert made.spec == spec
    known = {key: getattr(made.spec, key) for key in ("mode", "max_tokens", "top_p")}
    assert known == {"mode": "fine_tune", "max_tokens": 96, "top_p": 0.95}
    with pytest.raises(ValueError, match="exclude each other"):
        LanguageModelSpec(path="x", hub=True, package="p")
    with pytest.raises(ValueError, match="belongs to 'hub: true'"):
        LanguageModelSpec(path="x", revision="main")
