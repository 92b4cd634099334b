"""How easily a linear reader gets an attribute out: codelength, few-shot curve, selectivity. No verdict rests on these.

All three read whitened rows ``(n, r)``, on a deterministic subsample of whole clusters, codes being -1 where missing. A continuous
attribute (``classes`` = 0), or a class of too few rows, raises ``TooFewRowsError``.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from scipy.special import gammaln

from proxyaudit.arrays import Floats, Ints
from proxyaudit.probes.folds import FEWEST_ROWS, TooFewRowsError
from proxyaudit.probes.logistic import fit_logistic, log2_probabilities, one_hot
from proxyaudit.probes.results import Effort
from proxyaudit.seeding import stream
from proxyaudit.stats.group_gaps import auroc_of_classes

PORTIONS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.0625, 0.125, 0.25, 0.5, 1.0)  # of the rows (Voita & Titov 2020)
SIZES = (16, 32, 64, 128, 256, 512, 1024)
SHOTS = (16, 64, 256, 1024)  # sizes that an audit reports
_RIDGES = (1.0, 0.1, 0.01)
_CONTROL_RIDGE = 0.01
_DRAWS = 5
_TOLERANCE = 1e-3  # duality gap in nats


@dataclass(frozen=True)
class Codelength:
    """Bits of the online code of all labels, and of a code that learns the base rates only (Krichevsky & Trofimov 1981)."""

    bits: float
    label_bits: float
    rows: int


@dataclass(frozen=True)
class FewShotCurve:
    """What a linear reader finds after few labelled rows, mean over draws; sizes for which a class has too few rows are left out."""

    sizes: tuple[int, ...]
    leaks: tuple[float, ...]
    aurocs: tuple[float, ...]
    held_out: int


@dataclass(frozen=True)
class Selectivity:
    """Class-balanced accuracy on the attribute, and on a control task that only memory can solve."""

    accuracy: float
    control: float
    repeated: float  # share of rows whose type has other rows; where it is 0 the control cannot exceed chance


def measure_effort(z_nr: Floats, codes_n: Ints, classes: int, clusters_n: Ints, seed: int) -> Effort:
    """Codelength, few-shot curve and selectivity; what could not be measured is left out."""
    effort = Effort()
    with suppress(TooFewRowsError):
        curve = few_shot_curve(z_nr, codes_n, classes, clusters_n, seed=seed, sizes=SHOTS)
        effort = replace(effort, shots=tuple(zip(curve.sizes, curve.leaks, curve.aurocs, strict=True)))
    with suppress(TooFewRowsError):
        code = online_codelength(z_nr, codes_n, classes, clusters_n, seed=seed)
        effort = replace(effort, saved=1 - code.bits / code.label_bits, rows=code.rows)
    with suppress(TooFewRowsError):
        found = selectivity(z_nr, codes_n, classes, clusters_n, seed=seed)
        if found.repeated:
            effort = replace(effort, accuracy=found.accuracy, control=found.control)
    return effort


def online_codelength(z_nr: Floats, codes_n: Ints, classes: int, clusters_n: Ints, *, seed: int, max_rows: int = 4000) -> Codelength:
    """Code the labels block by block, each with a reader trained on all blocks before it (Voita & Titov 2020).

    Blocks end between clusters, at ``PORTIONS`` of the rows. The ridge of a block is the one with the shortest code so far, so the code
    could be decoded. Until every class has three rows, labels are sent with the code that learns base rates only.
    """
    rows = _sample(codes_n, classes, clusters_n, max_rows, stream(seed, "codelength"))
    codes, n = codes_n[rows], len(rows)
    z = torch.as_tensor(z_nr[rows], dtype=torch.float32)
    last = np.append(np.flatnonzero(np.diff(clusters_n[rows])), n - 1) + 1  # where a cluster ends
    ends = np.unique([int(last[np.searchsorted(last, min(max(1, round(share * n)), n))]) for share in PORTIONS])
    blocks = [(int(a), int(b)) for a, b in pairwise(ends)]
    ready = [(a, b) for a, b in blocks if np.bincount(codes[:a], minlength=classes).min() >= FEWEST_ROWS]

    bits = _label_bits(codes[: ready[0][0]] if ready else codes, classes)
    if ready:
        weights = torch.stack([(torch.arange(n) < a) / a for a, _ in ready], dim=1)
        ridges = torch.tensor(_RIDGES).repeat(len(ready))
        target = one_hot(codes, classes)[:, :, None].expand(-1, -1, len(ridges))
        fit = fit_logistic(z, target, weights.repeat_interleave(len(_RIDGES), dim=1), ridges, tolerance=_TOLERANCE)
        surprisals = -log2_probabilities(fit.logits(z)).numpy()[np.arange(n), codes].reshape(n, len(ready), len(_RIDGES))
        so_far = np.zeros(len(_RIDGES))
        for index, (a, b) in enumerate(ready):
            lengths = surprisals[a:b, index].sum(axis=0)
            bits += float(lengths[so_far.argmin()])
            so_far += lengths
    return Codelength(bits, _label_bits(codes, classes), n)


def few_shot_curve(
    z_nr: Floats, codes_n: Ints, classes: int, clusters_n: Ints, *, seed: int, sizes: tuple[int, ...] = SIZES, max_rows: int = 6000
) -> FewShotCurve:
    """Train on 16 to 1024 rows, equally many of each class, and score on fixed held-out rows.

    A third of the rows, in whole clusters, is held out. The training rows of a draw are nested over sizes. The ridge is
    ``r / m``, the prior under which the logit has unit variance: m rows are too few to choose one, and the held-out rows must not.
    """
    rng = stream(seed, "few-shot")
    rows = _sample(codes_n, classes, clusters_n, max_rows, rng)
    started = np.concatenate([[0], np.cumsum(np.diff(clusters_n[rows]) != 0)])
    outside = started >= started[len(rows) // 3]
    held, pool = rows[~outside], rows[outside]
    fewest, scored = (int(np.bincount(codes_n[part], minlength=classes).min()) for part in (pool, held))
    fitting = [m for m in sizes if 1 <= m // classes <= fewest]
    if not fitting or scored < FEWEST_ROWS:
        raise TooFewRowsError("a class has too few rows to train on and to hold out")
    codes = codes_n[pool]
    weights = np.zeros((len(pool), _DRAWS, len(fitting)))
    for draw in range(_DRAWS):
        for k in range(classes):
            order = rng.permutation(np.flatnonzero(codes == k))
            for index, m in enumerate(fitting):
                weights[order[: m // classes], draw, index] = 1 / (classes * (m // classes))
    drawn = (weights > 0).any(axis=(1, 2))
    z = torch.as_tensor(z_nr[pool[drawn]], dtype=torch.float32)
    ridges = torch.tensor([z.shape[1] / m for m in fitting], dtype=torch.float32).repeat(_DRAWS)
    target = one_hot(codes[drawn], classes)[:, :, None].expand(-1, -1, len(ridges))
    columns = torch.as_tensor(weights[drawn].reshape(len(z), -1), dtype=torch.float32)
    fit = fit_logistic(z, target, columns, ridges, tolerance=_TOLERANCE)
    log_p = log2_probabilities(fit.logits(torch.as_tensor(z_nr[held], dtype=torch.float32))).numpy()
    truth = codes_n[held]
    surprisal = np.stack([-log_p[truth == k, k].mean(axis=0) for k in range(classes)]).mean(axis=0)
    leaks = (1 - surprisal / np.log2(classes)).reshape(_DRAWS, -1).mean(axis=0)
    areas = np.array([auroc_of_classes(log_p[..., p], truth, classes) for p in range(len(ridges))]).reshape(_DRAWS, -1).mean(axis=0)
    return FewShotCurve(tuple(fitting), tuple(map(float, leaks)), tuple(map(float, areas)), len(held))


def selectivity(z_nr: Floats, codes_n: Ints, classes: int, types_n: Ints, *, seed: int, max_rows: int = 4000) -> Selectivity:
    """Accuracy on the attribute minus accuracy on a control task (Hewitt & Liang 2019).

    The control gives every type (word, author, template, identical rows) one random label at the attribute's base rates. As in the paper,
    rows of one type are in training and among the scored on purpose: what the reader can do there is memory.
    """
    rng = stream(seed, "selectivity")
    rows = _sample(codes_n, classes, types_n, max_rows, rng)
    codes, n = codes_n[rows], len(rows)
    types = np.unique(types_n[rows], return_inverse=True)[1]
    rates = np.bincount(codes, minlength=classes) / n
    labels = np.column_stack([codes, *(rng.choice(classes, size=types.max() + 1, p=rates)[types] for _ in range(_DRAWS))])
    half = rng.permutation(n) % 2
    counts = np.array([[np.bincount(column[half == h], minlength=classes) for h in (0, 1)] for column in labels.T])
    usable = np.flatnonzero(counts.min(axis=(1, 2)) >= FEWEST_ROWS)
    if len(usable) < 2 or usable[0] != 0:
        raise TooFewRowsError(f"a class has fewer than {FEWEST_ROWS} rows in half of the rows")
    z = torch.as_tensor(z_nr[rows], dtype=torch.float32)
    weights = np.stack([(half == h) / (classes * counts[c, h][labels[:, c]]) for c in usable for h in (0, 1)], axis=1)
    target = torch.stack([one_hot(labels[:, c], classes) for c in usable for _ in (0, 1)], dim=2)
    ridges = torch.full((weights.shape[1],), _CONTROL_RIDGE)
    logits = fit_logistic(z, target, torch.as_tensor(weights, dtype=torch.float32), ridges, tolerance=_TOLERANCE).logits(z)
    guesses = log2_probabilities(logits).numpy().argmax(axis=1).reshape(n, len(usable), 2)[np.arange(n), :, 1 - half]
    right = guesses == labels[:, usable]
    accuracy = [float(np.mean([right[labels[:, c] == k, i].mean() for k in range(classes)])) for i, c in enumerate(usable)]
    return Selectivity(accuracy[0], float(np.mean(accuracy[1:])), float((np.bincount(types)[types] > 1).mean()))


def _sample(codes_n: Ints, classes: int, clusters_n: Ints, max_rows: int, rng: np.random.Generator) -> Ints:
    """Rows of whole clusters in random order of clusters, at most ``max_rows`` of them."""
    if not classes:
        raise TooFewRowsError("for classes only; the attribute is continuous")
    known = np.flatnonzero(codes_n >= 0)
    if not len(known):
        raise TooFewRowsError("no row holds the attribute")
    ids = np.unique(clusters_n[known], return_inverse=True)[1]
    place = rng.permutation(ids.max() + 1)[ids]
    order = np.argsort(place, kind="stable")
    ends = np.cumsum(np.bincount(place))
    rows = known[order[: ends[max(0, int(np.searchsorted(ends, max_rows, side="right")) - 1)]]][:max_rows]
    if np.bincount(codes_n[rows], minlength=classes).min() < 2 * FEWEST_ROWS:
        raise TooFewRowsError(f"a class has fewer than {2 * FEWEST_ROWS} rows")
    return rows


def _label_bits(codes_n: Ints, classes: int) -> float:
    """Length of the sequential code with half a count per class (Krichevsky & Trofimov 1981)."""
    counts = np.bincount(codes_n, minlength=classes)
    nats = gammaln(len(codes_n) + classes / 2) - gammaln(classes / 2) - (gammaln(counts + 0.5) - gammaln(0.5)).sum()
    return float(nats / np.log(2))
