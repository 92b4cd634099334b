"""Is the attribute there beyond everything linear? Non-linear readers on top of the cross-fitted linear logit.

What each reader adds to that logit is its *gain* in class-balanced V-information (Xu et al. 2020); none shows absence. A gain
may be linear all the same, so it is counted from the best of five linear readers: the offset as given, the offset recalibrated on
the other folds, sparse logits on the whitened columns and on the units associated most with the attribute, and the reader's own linear
shadow (the offset plus the regression of the reader's output on the rows). Taking the best on the scored rows can only lower the gain.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from proxyaudit.arrays import Bools, Floats, Ints
from proxyaudit.probes.blending import Problem, blend, log_softmax, losses
from proxyaudit.probes.flexible_readers import READERS as _READERS
from proxyaudit.probes.folds import FEWEST_ROWS, balanced, balanced_mean, share_of
from proxyaudit.probes.logistic import fit_logistic, one_hot
from proxyaudit.probes.results import Gain
from proxyaudit.stats.group_gaps import auroc_of_classes

MAX_ROWS = 6000
BUDGET = 60.0  # predicted seconds at the nominal speed, all readers together
_SHADOW_RIDGE = 0.1
_CALIBRATION_RIDGE = 1e-4
_FEWEST_FOLDS = 3
_SPARSE_COLUMNS = (1, 2, 4, 8, 16, 32, 64)
_SPARSE_RIDGES = (1e-4, 1e-2)
_SPARSE_TOLERANCE, _SPARSE_ITERATIONS = 2e-4, 400

READERS: Final = tuple(_READERS)


def flexible_gains(
    z_nr: Floats,
    codes_n: NDArray[np.generic],
    classes: int,
    folds_n: Ints,
    offset_nk: Floats,
    *,
    seed: int,
    units_nd: Floats | None = None,
    rows_n: Bools | None = None,
    max_rows: int = MAX_ROWS,
    budget: float = BUDGET,
    readers: Sequence[str] = READERS,
) -> list[Gain]:
    """Cross-fit non-linear readers on whitened rows with the linear logits as offset; gains come in the order of ``readers``.

    Codes are 0..K-1, or values of a continuous attribute with ``classes`` 0, and none may be missing among ``rows_n``, the rows that learn
    and are scored. Whole clusters lie in one of at least three folds. The offset holds out-of-fold logits or log-probabilities ``(n, K)``,
    or predictions ``(n,)`` or ``(n, 1)``; ``units_nd`` are the rows before whitening. A reader is skipped that costs more than what is left
    of ``budget``, in predicted seconds at a nominal speed. Raises ``ValueError`` where any of this does not hold, a name is unknown or
    there are more than ``max_rows``.
    """
    rows = np.ones(len(z_nr), dtype=bool) if rows_n is None else np.asarray(rows_n, dtype=bool)
    offset = np.asarray(offset_nk, dtype=np.float64).reshape(len(offset_nk), -1)[rows]
    folds = np.unique(folds_n[rows], return_inverse=True)[1].astype(np.int64)
    target = _checked(codes_n[rows], classes, offset, len(np.unique(folds)), max_rows)
    if unknown := set(readers) - set(READERS):
        raise ValueError(f"unknown readers {sorted(unknown)}; known are {', '.join(READERS)}")
    reason = _unfit(z_nr, target, classes, folds)
    if reason is not None:
        return [Gain(name, skipped=reason) for name in readers]
    if not classes:
        values = target.astype(np.float64)
        mean, scale = float(values.mean()), float(values.std())
        target, offset = (values - mean) / scale, (offset - mean) / scale
    units = None if units_nd is None else np.asarray(units_nd[rows], dtype=np.float64)
    problem = _pose(np.asarray(z_nr[rows], dtype=np.float64), target, classes, folds, offset, units)
    sparse = [blend(problem, _sparse(problem, x)) for x in (problem.z_nr, problem.units_nd) if x.shape[1]]
    linear = (offset, problem.base_fnk[folds, np.arange(len(target))], *sparse)
    gains = []
    for name in readers:
        read, cost = _READERS[name]
        price = cost(len(target), z_nr.shape[1], problem.base_fnk.shape[2], problem.folds)
        if price > budget:
            gains.append(Gain(name, skipped=f"predicted to take {price:.3g} s, {budget:.3g} s of the budget are left"))
            continue
        budget -= price
        gains.append(_gain_of(name, problem, read(problem, seed), linear, rows))
    return gains


def _gain_of(name: str, problem: Problem, directions_cfnk: Floats, linear: Sequence[Floats], rows_n: Bools) -> Gain:
    """Gain of a reader's directions over the best linear reader, its own shadow among them."""
    found, shadow = blend(problem, directions_cfnk), blend(problem, _shadow(problem, directions_cfnk))
    gain, influence = _gain(problem, found, (*linear, shadow))
    spread, area = np.zeros(len(rows_n)), None
    spread[rows_n] = influence
    if problem.classes:
        area = auroc_of_classes(log_softmax(found) / np.log(2), problem.target_n.astype(np.int64), problem.classes)
    return Gain(name, gain, spread, area)


def _checked(codes_n: NDArray[np.generic], classes: int, offset_nk: Floats, folds: int, max_rows: int) -> NDArray[np.generic]:
    """The target as integers or floats, or a ``ValueError``."""
    if classes == 1 or classes < 0:
        raise ValueError("an attribute has at least two classes, or 0 for a continuous one")
    if len(codes_n) > max_rows:
        raise ValueError(f"{len(codes_n)} rows are more than {max_rows}; pick whole clusters with rows_n")
    if folds < _FEWEST_FOLDS:
        raise ValueError("at least three folds: one is scored, one chooses, the others learn")
    if offset_nk.shape != (len(codes_n), max(classes, 1)):
        raise ValueError(f"the offset has shape {offset_nk.shape}, expected {(len(codes_n), max(classes, 1))}")
    target = np.asarray(codes_n, dtype=np.int64 if classes else np.float64)
    if not np.isfinite(target).all() or not np.isfinite(offset_nk).all():
        raise ValueError("missing values in the attribute or the offset")
    if classes and len(target) and (target.min() < 0 or target.max() >= classes):
        raise ValueError(f"classes lie outside 0..{classes - 1}")
    return target


def _unfit(z_nr: Floats, target_n: NDArray[np.generic], classes: int, folds_n: Ints) -> str | None:
    """Why no reader can be cross-fitted, or ``None``."""
    if not z_nr.shape[1]:
        return "the site has no columns that vary"
    if not classes:
        return None if float(np.std(target_n.astype(np.float64))) > 0 else "the attribute takes one value only"
    counts = np.array([np.bincount(target_n[folds_n == f].astype(np.int64), minlength=classes) for f in range(int(folds_n.max()) + 1)])
    learning = counts.sum(axis=0) - counts - np.roll(counts, -1, axis=0)
    if counts.min() < 1 or learning.min() < FEWEST_ROWS:
        return f"a class has no rows in a fold or fewer than {FEWEST_ROWS} rows in a training part"
    return None


def _pose(
    z_nr: Floats, target_n: NDArray[np.generic], classes: int, folds_n: Ints, offset_nk: Floats, units_nd: Floats | None = None
) -> Problem:
    """Calibrate the offset for each outer fold on the other folds and weigh the rows that learn."""
    folds = int(folds_n.max()) + 1
    outside = np.stack([folds_n != o for o in range(folds)])
    learning = np.stack([outside[o] & (folds_n != (o + 1) % folds) for o in range(folds)])
    weights = np.zeros(learning.shape)
    fitting = np.zeros(learning.shape)
    for o in range(folds):
        weights[o, learning[o]] = balanced(target_n[learning[o]], classes) * learning[o].sum()
        fitting[o, outside[o]] = balanced(target_n[outside[o]], classes)
    units = np.zeros((len(z_nr), 0)) if units_nd is None else units_nd
    return Problem(z_nr, target_n, classes, folds_n, _calibrate(target_n, classes, offset_nk, fitting), weights, units)


def _calibrate(target_n: NDArray[np.generic], classes: int, offset_nk: Floats, weights_fn: Floats) -> Floats:
    """Offset after a linear map fitted with each column of weights, shape ``(F, n, K)``; it stays linear in the rows."""
    if not classes:
        shift = (weights_fn @ offset_nk)[:, None]
        spread = weights_fn @ offset_nk**2 - shift[:, 0] ** 2
        level = weights_fn @ target_n.astype(np.float64)[:, None]
        slope = (weights_fn @ (offset_nk * target_n.astype(np.float64)[:, None]) - shift[:, 0] * level) / np.maximum(spread, 1e-12)
        return np.asarray(level[:, None] + slope[:, None] * (offset_nk - shift))
    # Differences of log-probabilities are linear in the rows, log-probabilities are not.
    centred = offset_nk[:, 1:] - offset_nk[:, :1] if classes == 2 else offset_nk - offset_nk.mean(axis=1, keepdims=True)
    scaled = centred / np.maximum(centred.std(axis=0), 1e-12)
    folds = len(weights_fn)
    targets = one_hot(target_n, classes).double()[:, :, None].expand(-1, -1, folds)
    z = torch.as_tensor(scaled)
    ridge = torch.full((folds,), _CALIBRATION_RIDGE, dtype=z.dtype)
    logits = fit_logistic(z, targets, torch.as_tensor(weights_fn.T.copy()), ridge).logits(z).numpy().transpose(2, 0, 1)
    return np.concatenate([-logits / 2, logits / 2], axis=2) if classes == 2 else np.asarray(logits)


def _sparse(problem: Problem, x_nm: Floats) -> Floats:
    """Linear readers of the few most associated columns (Fan & Lv 2008), minus the offset; shape ``(C, F, n, K)``."""
    r, classes = x_nm.shape[1], problem.classes
    sizes = [m for m in _SPARSE_COLUMNS if m < r] or [r]
    directions = np.zeros((len(sizes) * len(_SPARSE_RIDGES), *problem.base_fnk.shape))
    ridges = torch.tensor(_SPARSE_RIDGES)
    labels = one_hot(problem.target_n, classes).double().numpy() if classes else problem.target_n.astype(np.float64)[:, None]
    for o in range(problem.folds):
        learn = problem.weights_fn[o] > 0
        weights = problem.weights_fn[o, learn][:, None] / learn.sum()
        x, y = x_nm[learn], labels[learn]
        mean = (weights * y).sum(axis=0)
        order = np.argsort(-((x.T @ (weights * (y - mean))) ** 2).sum(axis=1), kind="stable")
        target = torch.as_tensor(y, dtype=torch.float32)[:, :, None].expand(-1, -1, len(ridges))
        columns = torch.as_tensor(weights, dtype=torch.float32).expand(-1, len(ridges))
        for index, m in enumerate(sizes):
            near = x[:, order[:m]]
            if classes:
                few = torch.as_tensor(near, dtype=torch.float32)
                fit = fit_logistic(few, target, columns, ridges, tolerance=_SPARSE_TOLERANCE, max_iterations=_SPARSE_ITERATIONS)
                logits = fit.logits(torch.as_tensor(x_nm[:, order[:m]], dtype=torch.float32)).double().numpy().transpose(2, 0, 1)
                logits = np.concatenate([-logits / 2, logits / 2], axis=2) if classes == 2 else logits
            else:
                grams = near.T @ near / len(near) + np.array(_SPARSE_RIDGES)[:, None, None] * np.eye(m)
                slopes = np.linalg.solve(grams, near.T @ (y - mean) / len(near))
                logits = x_nm[:, order[:m]] @ slopes + mean
            directions[index * len(ridges) : (index + 1) * len(ridges), o] = logits - problem.base_fnk[o]
    return directions


def _shadow(problem: Problem, directions_cfnk: Floats) -> Floats:
    """Linear part of each direction by ridge regression on rows of the other folds, same shape. No label is used."""
    candidates, folds, n, outputs = directions_cfnk.shape
    shadow = np.zeros_like(directions_cfnk)
    for o in range(folds):
        usable = [f for f in range(folds) if f != o and np.isfinite(directions_cfnk[0, o, problem.folds_n == f]).all()]
        mask = np.isin(problem.folds_n, usable)
        flat = directions_cfnk[:, o].transpose(1, 0, 2).reshape(n, -1)
        centre = flat[mask].mean(axis=0)
        gram = sum((problem.grams[f] for f in usable), np.zeros_like(problem.grams[0]))
        gram[np.diag_indices_from(gram)] += _SHADOW_RIDGE * mask.sum()
        slope = np.linalg.solve(gram, problem.z_nr[mask].T @ (flat[mask] - centre))
        shadow[:, o] = (problem.z_nr @ slope + centre).reshape(n, candidates, outputs).transpose(1, 0, 2)
    return shadow


def _gain(problem: Problem, found_nk: Floats, linear: Sequence[Floats]) -> tuple[float, Floats]:
    """Gain over the best linear reader and its row influences (convention of ``ProbeScore.influence_n``)."""
    target, classes = problem.target_n, problem.classes
    weights = balanced(target, classes)
    least = min((losses(logits, target, classes) for logits in linear), key=lambda loss: float(loss @ weights))
    saved = least - losses(found_nk, target, classes)
    if classes:
        return balanced_mean(saved / np.log2(classes), target.astype(np.int64), classes)
    return share_of(saved, (target.astype(np.float64) - float(np.mean(target.astype(np.float64)))) ** 2)
