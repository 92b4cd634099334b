"""Pipelines of scikit-learn on embeddings as heads: exactly what they say of embeddings, under a transformer, or refused in one line."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier, SGDClassifier, SGDRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, Normalizer, QuantileTransformer, RobustScaler, StandardScaler
from text_world import MAX_TOKENS, save_tiny, texts, transformers
from torch import nn

from proxyaudit.activations.capture import capture
from proxyaudit.errors import InputError
from proxyaudit.models.base import predictions
from proxyaudit.models.kinds.huggingface import HuggingFaceSpec
from proxyaudit.models.own_classifier import PipelineClassifier
from proxyaudit.models.pipeline_head import read_head
from proxyaudit.pipeline.plan import prepare
from proxyaudit.recipe.recipe import parse_recipe

pytestmark = pytest.mark.skipif(find_spec("skops") is None, reason="the extra 'trees' (skops) is not installed")
ADAM = "sklearn.neural_network._stochastic_optimizers.AdamOptimizer"
SPEC = HuggingFaceSpec.model_validate({"kind": "huggingface", "path": "m", "head": {"path": "head.skops"}})
D = 6


def rows(classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, D)) * (1, 5, 0.2, 1, 1, 3) + 1
    score = x @ rng.normal(size=D) + rng.normal(0, 0.5, 300)
    return x, np.digitize(score, np.quantile(score, np.arange(1, classes) / classes))


def saved(model: Any, folder: Path, y: np.ndarray | None = None, classes: int = 2) -> tuple[Path, Any]:
    import skops.io

    x, labels = rows(classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that few steps do not converge
        model.fit(x, labels if y is None else y)
    skops.io.dump(model, path := folder / "head.skops")
    return path, model


def refused(path: Path, trusted: tuple[str, ...] = ()) -> str:
    with pytest.raises(InputError) as caught:
        read_head(path, trusted, what="the head")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(
    "model",
    [
        lambda: LogisticRegression(),
        lambda: make_pipeline(StandardScaler(), LogisticRegression()),
        lambda: make_pipeline(Normalizer(), RobustScaler(), "passthrough", LogisticRegression()),
        lambda: make_pipeline(MinMaxScaler(), PCA(4, whiten=True), LinearDiscriminantAnalysis()),
        lambda: make_pipeline(TruncatedSVD(3, random_state=0), StandardScaler(with_mean=False), LogisticRegression()),
        lambda: make_pipeline(StandardScaler(), MLPClassifier((5, 4), activation="tanh", max_iter=30, random_state=0)),
        lambda: MLPClassifier((5,), max_iter=30, random_state=0),
    ],
)
def test_classes_are_told_as_scikit_learn_tells_them(model: Any, classes: int, tmp_path: Path) -> None:
    path, fitted = saved(model(), tmp_path, classes=classes)
    head = read_head(path, (ADAM,), what="the head")
    assert (head.classes, head.task, head.width) == (tuple(map(str, range(classes))), "classes", D)
    made = PipelineClassifier(nn.Identity(), (), SPEC, head).ordered(range(classes))
    x = rows()[0].astype(np.float32)
    with torch.no_grad():
        found = predictions(made.after_pooling(torch.tensor(x)).double()).numpy()
    expected = fitted.predict_proba(x.astype(np.float64))
    np.testing.assert_allclose(found, expected[:, 1:] if classes == 2 else expected, atol=2e-5)


@pytest.mark.parametrize(
    "model", [lambda: make_pipeline(StandardScaler(), Ridge()), lambda: MLPRegressor(hidden_layer_sizes=(5,), max_iter=30, random_state=0)]
)
def test_numbers_are_told_as_scikit_learn_tells_them(model: Any, tmp_path: Path) -> None:
    x = rows()[0]
    path, fitted = saved(model(), tmp_path, y=3 * x[:, 0] - x[:, 1])
    head = read_head(path, (ADAM,), what="the head")
    assert head.task == "number"
    with torch.no_grad():
        found = PipelineClassifier(nn.Identity(), (), SPEC, head).after_pooling(torch.tensor(x.astype(np.float32)))
    np.testing.assert_allclose(found[:, 0].numpy(), fitted.predict(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (lambda: make_pipeline(StandardScaler(), RidgeClassifier()), "ends in RidgeClassifier"),
        (lambda: RandomForestClassifier(5), "sklearn.tree._tree.Tree"),
        (lambda: SGDClassifier(loss="hinge"), "gives no probabilities"),
        (lambda: make_pipeline(QuantileTransformer(n_quantiles=20), LogisticRegression()), "has the step QuantileTransformer"),
        (lambda: make_pipeline(StandardScaler(), Normalizer(), LogisticRegression()), "has the step Normalizer"),
        (lambda: make_pipeline(FunctionTransformer(np.abs), LogisticRegression()), "FunctionTransformer"),
        (lambda: MLPClassifier((3,), max_iter=5), "does not trust: " + ADAM),
    ],
)
def test_what_is_not_read_is_named(model: Any, said: str, tmp_path: Path) -> None:
    assert said in refused(saved(model(), tmp_path)[0])


def test_several_classes_one_against_the_rest_are_refused(tmp_path: Path) -> None:
    assert "one against the rest" in refused(saved(SGDClassifier(loss="log_loss"), tmp_path, classes=3)[0])


def test_files_of_other_kinds_and_strange_types_are_never_loaded(tmp_path: Path) -> None:
    import pickle

    import skops.io

    (tmp_path / "head.pkl").write_bytes(pickle.dumps(1))
    assert "other formats than skops can run code" in refused(tmp_path / "head.pkl")
    (tmp_path / "torn.skops").write_bytes(b"PK\x03\x04")
    assert "damaged" in refused(tmp_path / "torn.skops")
    path, model = saved(LogisticRegression(), tmp_path)
    model.extra = Path("x")  # a type that skops does not trust
    skops.io.dump(model, path)
    said = refused(path, ("pathlib.PosixPath",))
    assert "could run code" in said
    assert "Path" in said


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny transformer, its own embeddings of texts, and two pipelines fitted on them."""
    import skops.io

    root, t = tmp_path_factory.mktemp("heads"), transformers()
    save_tiny("bert", root / "m")
    frame = texts(600, seed=3, told=1.0)
    frame.to_csv(root / "t.csv", index=False)
    x = embedded(root / "m", list(frame["text"]), t)
    for name, column in (("head", "y"), ("spy", "sex")):
        said = np.where(frame[column] == {"y": "yes", "sex": "m"}[column], "yes", "no")
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(x, said)
        skops.io.dump(model, root / f"{name}.skops")
    skops.io.dump(SGDRegressor().fit(x, frame["stars"]), root / "stars.skops")
    skops.io.dump(LogisticRegression().fit(x[:, :5], said), root / "narrow.skops")
    return root


def embedded(place: Path, lines: list[str], t: Any) -> np.ndarray:
    model, tokenizer = t.AutoModel.from_pretrained(place, attn_implementation="eager").eval(), t.AutoTokenizer.from_pretrained(place)
    with torch.no_grad():
        found = [model(input_ids=torch.tensor([tokenizer(line)["input_ids"]])).last_hidden_state.mean(dim=1) for line in lines]
    return torch.cat(found).double().numpy()


def prepared(folder: Path, head: str, target: str = "y", regimes: list[Any] | None = None, **data: Any) -> Any:
    document = {
        "name": "heads",
        "data": {"path": "t.csv", "text": "text", "target": target, "protected": ["sex"], "discover": 0, **data},
        "regimes": regimes or [{"name": "deployed", "path": head}],
        "model": {"kind": "huggingface", "path": "m", "head": {"path": head}, "max_length": MAX_TOKENS},
        "sites": {"profile": ["penultimate"]},
        "seeds": 1,
        "effort": "decide",
    }
    return prepare(parse_recipe(document), folder)


def test_a_transformer_under_a_pipeline_says_what_the_pipeline_says_of_its_embeddings(folder: Path) -> None:
    import skops.io

    made = prepared(folder, "head.skops", regimes=[{"name": "deployed", "path": "head.skops"}, {"name": "spy", "path": "spy.skops"}])
    x = embedded(folder / "m", list(made.dataset.audit["text"]), transformers())
    for name, file in (("deployed", "head"), ("spy", "spy")):
        regime = made.regime(name)
        captured = capture(made.build_of(regime, 0), made.audit_inputs(regime))
        np.testing.assert_allclose(captured.acts["penultimate"], x, atol=1e-5)
        own = skops.io.load(folder / f"{file}.skops").predict_proba(x)[:, 1]
        np.testing.assert_allclose(captured.outputs[:, 0], own, atol=1e-4)
    first = made.regime("untrained")
    drawn = capture(made.build_of(first, 0), made.audit_inputs(first))
    np.testing.assert_allclose(drawn.acts["penultimate"], x, atol=1e-5)
    assert np.abs(drawn.outputs[:, 0] - own).max() > 0.05
    assert {"model head", "regime spy, model head"} <= set(made.plan.hashes)


@pytest.mark.parametrize(
    ("head", "target", "more", "said"),
    [
        ("narrow.skops", "y", {}, "reads embeddings of 5 numbers"),
        ("stars.skops", "y", {}, "predicts a number"),
        ("head.skops", "stars", {"task": "regression"}, "chooses one of several classes"),
        ("gone.skops", "y", {}, "model.head"),
    ],
)
def test_heads_that_do_not_fit_are_refused_in_one_line(folder: Path, head: str, target: str, more: Any, said: str) -> None:
    with pytest.raises(InputError) as caught:
        prepared(folder, head, target, **more)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_head_from_a_file_is_not_trained() -> None:
    with pytest.raises(InputError, match="a head from a file trains nothing"):
        parse_recipe(
            {
                "name": "h",
                "data": {"path": "t.csv", "text": "text", "target": "y", "protected": ["sex"]},
                "regimes": [{"name": "d", "path": "h.skops"}],
                "model": {"kind": "huggingface", "path": "m", "head": {"path": "h.skops"}, "tune": "full"},
            }
        )
