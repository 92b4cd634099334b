"""Pipelines of scikit-learn on embeddings as heads of transformers: read as plain arrays, so that torch runs them exactly.

What scales or turns embeddings is folded into the first linear layer, so that the pooled embedding itself is the site that the head reads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from proxyaudit.arrays import Floats
from proxyaudit.errors import InputError, safe_line
from proxyaudit.files import read_file
from proxyaudit.limits import MOST_TREES
from proxyaudit.models.libraries import Unfit, refusing
from proxyaudit.models.libraries.skops_files import open_skops
from proxyaudit.types import Task

SUFFIX: Final = ".skops"
_SAVE: Final = "save it with skops.io.dump(pipeline, 'head.skops')"
_TRUSTABLE: Final = (
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
)
_LINEAR: Final = ("LogisticRegression", "LogisticRegressionCV", "SGDClassifier", "LinearDiscriminantAnalysis")
_NUMBERS: Final = ("LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "ElasticNet", "ElasticNetCV", "SGDRegressor")
_NETWORKS: Final = ("MLPClassifier", "MLPRegressor")
_STEPS: Final = ("StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler", "PCA", "TruncatedSVD", "Normalizer")


@dataclass(frozen=True)
class Layer:
    """An affine layer ``x @ weight + bias`` and what follows it."""

    weight_io: Floats
    bias_o: Floats
    then: str = "identity"  # or relu, tanh, logistic


@dataclass(frozen=True)
class Fitted:
    """A pipeline as arrays."""

    normalised: bool  # whether embeddings are brought to length one first
    hidden: tuple[Layer, ...]
    last: Layer  # to one output for each class (of two the first is zero), or to a number
    classes: tuple[str, ...]  # in the order of the outputs; none of a number
    task: Task

    @property
    def width(self) -> int:
        """Of the embeddings that it reads."""
        return len((*self.hidden, self.last)[0].weight_io)


def read_head(path: Path, trusted: Sequence[str], *, what: str) -> Fitted:
    """The pipeline of a skops file. Raises ``InputError``: it is none, holds untrusted types, or does what is not read here."""
    where = str(path)
    if path.suffix.lower() != SUFFIX:
        raise InputError(
            f"{what} is a '{path.suffix}' file; other formats than skops can run code and are not read", where=where, mend=_SAVE
        )
    try:
        data = read_file(path, MOST_TREES)
    except OSError as error:
        raise InputError(f"{what} cannot be read ({safe_line(error)})", where=where, mend="check the path and its permissions") from None
    with refusing(what, where=where, mend=_SAVE):
        return _taken(open_skops(data, trustable=_TRUSTABLE, trusted=trusted, save=_SAVE))


def _taken(model: Any) -> Fitted:
    steps = [step for _, step in model.steps] if _named(model) == "Pipeline" else [model]
    *before, last = [step for step in steps if not (step is None or (isinstance(step, str) and step == "passthrough"))]
    normalised = bool(before) and _named(before[0]) == "Normalizer"
    if normalised and before[0].norm != "l2":
        raise Unfit(f"brings embeddings to length one by the norm '{before[0].norm}', which is not read", "take Normalizer(norm='l2')")
    layers, classes = _end(last)
    for step in reversed(before[1:] if normalised else before):
        layers = [_after(step, layers[0]), *layers[1:]]
    if not all(np.isfinite(part).all() for layer in layers for part in (layer.weight_io, layer.bias_o)):
        raise Unfit("holds values that are no numbers", "fit it again")
    return Fitted(normalised, tuple(layers[:-1]), layers[-1], classes, "classes" if classes else "number")


def _named(step: Any) -> str:
    kind = type(step)
    return kind.__name__ if kind.__module__.startswith("sklearn.") else f"{kind.__module__}.{kind.__name__}"


def _after(step: Any, layer: Layer) -> Layer:
    """The layer with a step before it folded in: the step gives ``x @ turn + shift``."""
    name, width = _named(step), int(getattr(step, "n_features_in_", len(layer.weight_io)))
    scale, shift = np.ones(width), np.zeros(width)
    turn: Floats | None = None
    if name == "StandardScaler":
        scale = 1 / _array(step.scale_, scale)
        shift = -_array(step.mean_ if step.with_mean else None, shift) * scale
    elif name == "MinMaxScaler" and not step.clip:
        scale, shift = _array(step.scale_, scale), _array(step.min_, shift)
    elif name == "MaxAbsScaler":
        scale = 1 / _array(step.scale_, scale)
    elif name == "RobustScaler":
        scale = 1 / _array(step.scale_, scale)
        shift = -_array(step.center_, shift) * scale
    elif name in ("PCA", "TruncatedSVD"):
        turn = np.asarray(step.components_, dtype=np.float64).T
        if name == "PCA" and step.whiten:
            turn = turn / np.sqrt(np.asarray(step.explained_variance_, dtype=np.float64))
        shift = -(np.asarray(step.mean_, dtype=np.float64) @ turn) if name == "PCA" else np.zeros(turn.shape[1])
    else:
        mend = f"use {', '.join(_STEPS)}; Normalizer stands first, MinMaxScaler without clip"
        raise Unfit(f"has the step {name[:60]}, which is not read", mend)
    weight = layer.weight_io * scale[:, None] if turn is None else turn @ layer.weight_io
    return Layer(weight, shift @ layer.weight_io + layer.bias_o, layer.then)


def _array(given: Any, otherwise: Floats) -> Floats:
    return otherwise if given is None else np.asarray(given, dtype=np.float64)


def _end(model: Any) -> tuple[list[Layer], tuple[str, ...]]:
    """The layers of the last step, and the classes that it tells apart."""
    name = _named(model)
    if name in _NETWORKS:
        return _network(model)
    if name not in _LINEAR + _NUMBERS:
        raise Unfit(f"ends in {name[:60]}, which is not read as a head", f"end it in one of {', '.join(_LINEAR + _NUMBERS + _NETWORKS)}")
    coefficients, start = (
        np.atleast_2d(np.asarray(model.coef_, dtype=np.float64)),
        np.atleast_1d(np.asarray(model.intercept_, dtype=np.float64)),
    )
    if name in _NUMBERS:
        if len(coefficients) > 1:
            raise Unfit("predicts several numbers at once", "fit one pipeline for each")
        return [Layer(coefficients.T, start)], ()
    if name == "SGDClassifier" and model.loss != "log_loss":
        raise Unfit(f"gives no probabilities (SGDClassifier with loss '{str(model.loss)[:40]}')", "fit it with loss='log_loss'")
    classes = tuple(str(one) for one in model.classes_)
    each = name == "SGDClassifier" or getattr(model, "solver", "") == "liblinear"
    if len(classes) > 2 and each:
        raise Unfit("tells several classes apart one against the rest, which is not read", "fit LogisticRegression with solver='lbfgs'")
    return [_told(coefficients.T, start, classes)], classes


def _told(weight_io: Floats, bias_o: Floats, classes: Sequence[str]) -> Layer:
    """One output for each class; of two the log-odds of the second beside zero."""
    if len(classes) == 2 and len(bias_o) == 1:
        return Layer(np.concatenate([np.zeros_like(weight_io), weight_io], axis=1), np.concatenate([np.zeros(1), bias_o]))
    if len(bias_o) != len(classes):
        raise Unfit("says yes or no to several labels, which is not read", "fit one pipeline for each label")
    return Layer(weight_io, bias_o)


def _network(model: Any) -> tuple[list[Layer], tuple[str, ...]]:
    weights, biases = ([np.asarray(one, dtype=np.float64) for one in given] for given in (model.coefs_, model.intercepts_))
    hidden = [Layer(weight, bias, str(model.activation)) for weight, bias in zip(weights[:-1], biases[:-1], strict=True)]
    if any(layer.then not in ("identity", "relu", "tanh", "logistic") for layer in hidden):
        raise Unfit(f"has the activation '{str(model.activation)[:40]}', which is not read", "take relu, tanh, logistic or identity")
    if _named(model) == "MLPRegressor":
        if len(biases[-1]) > 1 or model.loss == "poisson":
            raise Unfit("predicts several numbers, or a logarithm", "fit one plain MLPRegressor for each number")
        return [*hidden, Layer(weights[-1], biases[-1])], ()
    classes = tuple(str(one) for one in model.classes_)
    if model.out_activation_ == "logistic" and len(classes) > 2:
        raise Unfit("says yes or no to several labels, which is not read", "fit one pipeline for each label")
    return [*hidden, _told(weights[-1], biases[-1], classes)], classes
