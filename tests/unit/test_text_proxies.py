"""Words and habits of style that carry an attribute: which are followed, what a model does without them, which tokens feed it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from text_world import AUTHOR_WORDS, MARK, MAX_TOKENS, STYLE_WORDS, author_texts, save_tiny, style_texts
from views import view_of

from proxyaudit.activations.capture import capture
from proxyaudit.causal.attribution import TextRows, attribute_tokens
from proxyaudit.causal.columns import ColumnCells
from proxyaudit.channels.proxies.discover import discover, measure_association
from proxyaudit.channels.proxies.measure import measure_use, tokens_to_name
from proxyaudit.channels.proxies.record import TABLES, USES, UnitCarried
from proxyaudit.channels.proxy_plan import Proxy, ProxyPlan
from proxyaudit.data.attributes import Followed
from proxyaudit.data.dataset import Dataset, load_dataset
from proxyaudit.data.text import TextEncoder
from proxyaudit.data.text_features import TextFeature
from proxyaudit.estimates.record import Measurement
from proxyaudit.models.base import TrainedModel
from proxyaudit.models.build import build_model
from proxyaudit.models.huggingface import attach_tokenizer
from proxyaudit.models.kinds.huggingface import HuggingFaceSpec
from proxyaudit.models.text import TextClassifier
from proxyaudit.models.training import train_model
from proxyaudit.recipe.recipe import Recipe, parse_recipe


def prepared(folder: Path, frame: pd.DataFrame, words: list[str], **data: Any) -> tuple[Recipe, Dataset, ProxyPlan]:
    save_tiny("bert", folder / "bert", words=words)
    frame.to_csv(folder / "t.csv", index=False)
    document = {
        "name": "t",
        "data": {"path": "t.csv", "text": "text", "target": "y", "protected": ["sex"], "group": "author", **data},
        "regimes": ["real"],
        "model": {"kind": "huggingface", "path": "bert", "max_length": MAX_TOKENS, "epochs": 60, "learning_rate": 0.02, "patience": None},
    }
    recipe = parse_recipe(document)
    dataset, plan = discover(recipe, attach_tokenizer(recipe, folder, load_dataset(recipe, folder)))
    return recipe, dataset, plan


@pytest.fixture(scope="module")
def styled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recipe, Dataset, ProxyPlan]:
    folder = tmp_path_factory.mktemp("styled")
    frame = style_texts(900)
    women = frame.loc[frame.sex == "f", "author"].drop_duplicates().iloc[:14]
    # Seven women or so in training and in audit: a word that tells the sex of each of them.
    frame.loc[frame.author.isin(women), "text"] += " zorblatt"
    return folder, *prepared(folder, frame, STYLE_WORDS)


def measured(dataset: Dataset, plan: ProxyPlan) -> Mapping[str, UnitCarried]:
    out = Measurement()
    measure_association(dataset.audit, dataset, plan, 0, out, rows=True)
    return TABLES.find(out, "sex").units  # type: ignore[union-attr]


def test_the_planted_habit_and_words_come_first_and_rare_words_do_not_come_at_all(styled: tuple[Path, Recipe, Dataset, ProxyPlan]) -> None:
    _, recipe, dataset, plan = styled
    assert plan.columns[0] == "exclamation marks"
    assert set(plan.columns[1:3]) == {"word \u201cshe\u201d", "word \u201che\u201d"}
    assert not [name for name in plan.columns if "zor" in name or "blat" in name]
    assert plan.describe()["of"] == "texts"
    assert discover(recipe, dataset)[1].describe() == plan.describe()
    found = measured(dataset, plan)
    assert found["exclamation marks"].association.value > 0.3
    assert found["exclamation marks"].association.p < 0.001
    assert found["digits"].association.value < 0.02
    assert any("fewer than eleven people" in note.what for note in dataset.notes)
    assert not any("of fewer people than texts" in note.what for note in dataset.notes)


@pytest.mark.parametrize(("few", "followed"), [(10, False), (60, True)])
def test_a_way_of_writing_of_fewer_than_eleven_people_is_not_followed(tmp_path: Path, few: int, followed: bool) -> None:
    frame = author_texts(120, 5, 4)
    women = frame.loc[frame.sex == "f", "author"].unique()
    frame.loc[frame.author.isin(women[:few]), "text"] += " ?"  # ten people write it fifty times
    _, _, plan = prepared(tmp_path, frame, AUTHOR_WORDS)
    assert ("question marks" in plan.columns) is followed


def test_without_a_group_column_the_report_says_that_texts_count_as_people(tmp_path: Path) -> None:
    _, dataset, _ = prepared(tmp_path, style_texts(300).drop(columns="author"), STYLE_WORDS, group=None)
    assert any("of fewer people than texts" in note.what for note in dataset.notes)


def test_words_of_authors_carry_nothing_where_authors_are_told(tmp_path: Path) -> None:
    _, dataset, plan = prepared(tmp_path, author_texts(80, 10, 4), AUTHOR_WORDS)
    found = measured(dataset, plan)
    assert min(one.association.p for one in found.values()) * len(found) > 0.05


def head_on(folder: Path, recipe: Recipe, dataset: Dataset, labels_n: np.ndarray) -> TrainedModel:
    model = build_model(recipe.model, recipe.sites, n_inputs=MAX_TOKENS, n_classes=2, base=folder, seed=1)
    x = dataset.encoder.transform(dataset.train)
    return train_model(model, x, labels_n.astype(np.int64), np.ones(len(x)), recipe.model, 0)


@pytest.mark.long
def test_a_model_that_acts_on_the_habit_and_one_that_does_not(styled: tuple[Path, Recipe, Dataset, ProxyPlan]) -> None:
    folder, recipe, dataset, plan = styled
    marked = dataset.train["text"].str.contains(MARK, regex=False).to_numpy()
    task = dataset.target_codes(dataset.train)
    assert isinstance(dataset.encoder, TextEncoder)
    features = (TextFeature("style", "exclamation marks"), TextFeature("word", "good"), TextFeature("style", "length of words"))
    few = replace(plan, proxies=tuple(Proxy(ColumnCells(one.name, np.array([0.5]), None, ()), one) for one in features))
    groups = np.asarray(next(a for a in dataset.attributes if a.name == "sex").codes, dtype=np.int64)
    x = dataset.encoder.transform(dataset.audit)
    found = {}
    for name, labels in (("acts", marked), ("does not", task)):
        model, out = head_on(folder, recipe, dataset, labels), Measurement()
        followed = {"sex": Followed(groups, ("f", "m"), 0)}
        measure_use(view_of(model, capture(model, x), x, dataset, followed, recipe=recipe, plan=few), out)
        found[name] = USES.read(out, "sex")
    acts, idle = (found[name].units["exclamation marks"] for name in ("acts", "does not"))
    assert set(found["acts"].units) == {"exclamation marks", "word \u201cgood\u201d"}  # the length of words cannot be left out
    # Men (group 1) write it less: what it adds, it adds in the other group.
    assert acts.total.value < -0.05
    assert abs(idle.total.value) < abs(acts.total.value) / 2
    assert acts.moved.value > 0.05
    assert 0.5 < acts.through.value / acts.total.value < 1.5
    assert max(acts.random) < abs(acts.through.value) / 2
    given = found["acts"].attribution
    for split in (given.direction, given.output):
        names = dict(zip(given.names, split.columns, strict=True))
        assert max(names, key=lambda token: abs(names[token])) == MARK
        assert split.incomplete < 0.05
    assert "zorblatt" not in given.names


def test_attributions_to_tokens_are_exact_where_the_model_is_linear_in_its_embeddings(
    styled: tuple[Path, Recipe, Dataset, ProxyPlan],
) -> None:
    class Sum(torch.nn.Module):
        """Hidden states are the embeddings themselves."""

        def __init__(self) -> None:
            super().__init__()
            self.words = torch.nn.Embedding(12, 3)

        def get_input_embeddings(self) -> torch.nn.Module:
            return self.words

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
            return type("Out", (), {"last_hidden_state": self.words(input_ids)})()

    torch.manual_seed(0)
    body = Sum()
    module = TextClassifier(body, (), HuggingFaceSpec(kind="huggingface", path="none"), width=3, n_outputs=1)
    model = TrainedModel(module.eval(), 2, (), (), {})
    rng = np.random.default_rng(0)
    x, groups = rng.integers(1, 12, (60, 5)).astype(np.float32), np.arange(60) % 2
    x[groups == 1, 0] = 7
    x[::3, 3:] = -1
    found = attribute_tokens(model, TextRows(x, groups, [[7], [8, 9]], [2]), 0)
    assert found is not None
    with torch.no_grad():
        weight = (body.words.weight - body.words.weight[0]) @ module.head.weight[0]
    share = np.where(x >= 0, 1 / (x >= 0).sum(axis=1, keepdims=True), 0)
    wanted = [
        (share * np.isin(x, tokens) * weight.numpy()[np.maximum(x, 0).astype(int)]).sum(axis=1)
        for tokens in ([7], [8, 9], [1, 3, 4, 5, 6, 7, 8, 9, 10, 11])
    ]
    gaps = [(one[groups == 1].mean() - one[groups == 0].mean()) / wanted[2].std() for one in wanted]
    assert found.columns == pytest.approx(gaps[:2], abs=1e-4)
    assert found.difference == pytest.approx(gaps[2], abs=1e-4)
    assert found.incomplete < 1e-4


def test_tokens_of_few_people_digits_and_given_names_are_not_named() -> None:
    names = {1: "", 2: "good", 3: "rare", 4: "mary", 5: "x9", 6: "Good"}
    encoder = TextEncoder("text", pd.Series(["a"]), 3, token_names=lambda tokens: [names[token].lower() for token in tokens])
    x = np.tile(np.array([[2, 4, 5]], dtype=np.float32), (30, 1))
    x[10:20, 0], x[20:, 0] = 6, 3
    assert tokens_to_name(x, np.arange(30), encoder) == ([[2, 6]], ["good"])  # twenty people with either spelling, ten with the rare word
    assert tokens_to_name(x, np.arange(30) % 10, encoder) == ([], [])
    shouted = TextEncoder("text", pd.Series(["a"]), 3, token_names=lambda tokens: [("Mary", "good", "##MARY")[token] for token in tokens])
    assert tokens_to_name(np.tile(np.arange(3, dtype=np.float32), (30, 1)), np.arange(30), shouted) == ([[1]], ["good"])
