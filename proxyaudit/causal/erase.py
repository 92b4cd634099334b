"""Erase an attribute from a trained model at chosen sites: fit on real training rows, never on audit rows, put the map into the model."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.activations.capture import capture
from proxyaudit.arrays import Floats
from proxyaudit.data.attributes import Attribute, codes_in
from proxyaudit.data.dataset import Dataset
from proxyaudit.data.public_counts import public_count
from proxyaudit.erasers import Fit
from proxyaudit.errors import InputError
from proxyaudit.estimates.rounding import significant
from proxyaudit.models.base import TrainedModel
from proxyaudit.models.erasing import with_map
from proxyaudit.registry import load_plugin

FEWEST_FIT_ROWS = 100
FEWEST_MOVED = 30
SHARE_MOVED = 0.01


@dataclass(frozen=True)
class FitRows:
    """What erasers are fitted on: the real training rows on which the attribute is known."""

    x: NDArray[np.float32]  # encoded inputs (n, p)
    concept: Floats  # columns to erase (n, k)
    task: Floats  # columns of the label (n, m)
    fewest_moved: int  # rows on which a unit must move to take part in an eraser


@dataclass(frozen=True)
class SiteChange:
    """What was changed at one site of one model."""

    site: str
    units: int  # width d
    rank: int  # dimensions erased
    rows: int  # that the eraser was fitted on
    moved: float  # mean squared change of a row, as a share of the site's variance (0: nothing was changed)
    norm: float  # spectral norm of the map minus the identity; above 1 the projection is oblique
    cosine: float | None  # largest, between the task's and the attribute's directions in whitened space, where the eraser looks at the task
    task_given_up: int  # directions of the task that were too close to the attribute to be kept

    def as_dict(self) -> dict[str, Any]:
        """As JSON, rounded to what a repetition on another machine reproduces."""
        return {key: significant(value, 3) if isinstance(value, float) else value for key, value in asdict(self).items()}


def fit_rows(dataset: Dataset, attribute: Attribute) -> FitRows:
    """The rows that erasers of an attribute are fitted on; ``InputError`` if it is known on too few, or does not vary there."""
    codes = codes_in(attribute, dataset.train, where="training rows")
    known = np.isfinite(codes) if attribute.kind == "continuous" else codes >= 0
    concept = _concept(attribute, codes[known])
    if int(known.sum()) < FEWEST_FIT_ROWS or not np.ptp(concept, axis=0).any():
        what = f"'{attribute.name}' is known on too few real training rows, or does not vary there, so no eraser can be fitted"
        raise InputError(what, where="the eraser's rows", mend=f"use at least {FEWEST_FIT_ROWS} rows with two groups")
    train = dataset.train.loc[known]
    truth = dataset.truth(train)
    task = (
        truth[:, 1:] if dataset.read.task == "classes" and truth.shape[1] > 1 else truth
    )  # one of several classes follows from the others
    return FitRows(dataset.encoder.transform(train), concept, task, _fewest_moved(concept))


def _fewest_moved(concept_nk: Floats) -> int:
    """Rows on which a unit must move: one in a hundred, but never more than half of the rarest group.

    What is read from a unit that moved on 31 of 5 000 rows is mostly noise, and throws the few fresh rows on which it moves far off (Adult:
    leak read on fresh rows -.034 with such a unit, .008 without). Of a rare group it may be all there is.
    """
    shares = [min(column.mean(), 1 - column.mean()) for column in concept_nk.T if set(np.unique(column)) == {0.0, 1.0}]
    rarest = int(min(shares, default=0.5) * len(concept_nk))
    return max(FEWEST_MOVED, min(int(SHARE_MOVED * len(concept_nk)), rarest // 2))


def _concept(attribute: Attribute, codes_n: NDArray[Any]) -> Floats:
    """Columns that an eraser removes: class indicators, or a number and its quarters, as the audit asks for both."""
    if attribute.kind != "continuous":
        return np.asarray((codes_n[:, None] == np.arange(len(attribute.levels))[1:]).astype(np.float64))
    audited = np.asarray(attribute.codes, dtype=np.float64)
    # The audit's own quartiles: three numbers of the attribute alone, nothing of the model.
    edges = np.unique(np.quantile(audited[np.isfinite(audited)], (0.25, 0.5, 0.75)))
    quarters = np.searchsorted(edges, codes_n)
    # Standardised: rank is judged relative to the largest column, and dollars would drown the quarters.
    value = (codes_n - codes_n.mean()) / max(float(codes_n.std()), np.finfo(np.float64).tiny)
    return np.column_stack([value, *((quarters == quarter).astype(np.float64) for quarter in range(1, len(edges) + 1))])


def erase(model: TrainedModel, rows: FitRows, sites: tuple[str, ...], method: str) -> tuple[TrainedModel, list[SiteChange]]:
    """Erase the attribute at sites of one trained model by a registered eraser; a map that a site has already is followed by the new one.

    Gives a new model whose sites are mapped, and what was changed at each, in forward order; ``InputError`` if there is no such eraser.
    """
    fitter, changes = load_plugin("erasers", method, where="--method"), []
    # In forward order, each read from the model in which the earlier ones are erased already.
    for site in sorted(sites, key=model.sites.index):
        acts = capture(model, rows.x).acts[site].astype(np.float64)
        fit: Fit = fitter(acts, rows.concept, rows.task, fewest_moved=rows.fewest_moved)
        weight, bias = fit.eraser.affine()
        model = with_map(model, site, weight, bias, n_inputs=rows.x.shape[1])
        spread = max(float(((acts - acts.mean(axis=0)) ** 2).sum()), np.finfo(np.float64).tiny)
        moved = float(((fit.eraser(acts) - acts) ** 2).sum() / spread)
        norm = float(np.linalg.norm(weight - np.eye(len(weight)), 2))
        n = public_count(len(acts))
        changes.append(SiteChange(site, len(weight), fit.eraser.rank, n, moved, norm, fit.cosine, fit.given_up))
    return model, changes
