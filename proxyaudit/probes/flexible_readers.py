"""Non-linear readers for :mod:`proxyaudit.probes.flexible`: quadratic ridges, a perceptron, boosted trees and nearest neighbours.

A reader returns *directions* ``(C, F, n, K)``: C candidates (stopping times, numbers of neighbours) that may be added to the linear logits
of each outer fold. Outer fold o is scored; on fold o + 1 the caller chooses candidate and scale; the reader learns from the other folds.
Its ``cost_*`` twin predicts seconds at a nominal speed from shapes only: what runs under a budget never depends on the clock.
"""

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax

from proxyaudit.adam import Adam
from proxyaudit.arrays import Floats, Ints
from proxyaudit.probes.blending import Problem, hint_of
from proxyaudit.probes.folds import balanced
from proxyaudit.seeding import integer_seed, stream

_FLOPS, _PRODUCT_FLOPS = 8e10, 5e10  # nominal speeds: a multiply-add counts as two
_MOST_FEATURES, _RIDGES = 1000, (0.03, 0.3, 3.0)
_ROWS_AT_ONCE = 1024
_MANY = 16  # coordinates; of no more, all products are few
_RANKS = (1, 2, 4, 8)  # squares of so many directions are tried together
_TURNED = 4  # directions in which trees see the rows besides
_LONGEST = 6.0  # median lengths of a row: one row must not outweigh all others
_WIDTH, _BATCH, _EPOCHS, _PATIENCE = 64, 128, 60, 12
_RATE, _DECAY, _CLIP = 3e-3, 0.3, 8.0
_STAGES = (5, 10, 20, 40, 80)
_FIRST_ROUNDS, _PROMISING = 20, 2.0  # what trees find in all rounds has shown after these; where nothing is there, one in eight goes on
_LEAVES, _BINS, _SCREENED, _ENDS = 31, 63, 32, 16
NEIGHBOURS = (5, 15, 50, 150)
_PRIOR = 2.0  # pseudo-neighbours at the base rate: a unanimous vote of five is not certainty


def _learning_rows(n: int, folds: int) -> int:
    return n * (folds - 2) // folds


def cost_quadratic(n: int, r: int, outputs: int, folds: int) -> float:
    """Predicted seconds of :func:`read_quadratic`."""
    features = r * (r + 1) // 2
    squares = folds * outputs * (2 * n * r**2 + 10 * r**3) / _PRODUCT_FLOPS if r > _MANY else 0.0
    if features <= _MOST_FEATURES:
        return squares + folds * (2 * n * features**2 + features**3) / _PRODUCT_FLOPS
    return squares + 2 * n * n * (r + folds * outputs) / _PRODUCT_FLOPS


def read_quadratic(problem: Problem, seed: int) -> Floats:
    """Quadratic directions ``(C, F, n, K)`` of each outer fold: of all products three ridges, or the one limit, and of few squares.

    The seed is not used.
    """
    del seed
    z, missed = _shortened(problem.z_nr), np.stack([_missed(problem, fold) for fold in range(problem.folds)])
    r = z.shape[1]
    of_all = _ridges(z, problem, missed) if r * (r + 1) // 2 <= _MOST_FEATURES else _limit(z, problem, missed)
    return of_all if r <= _MANY else np.concatenate([of_all, _squares(z, problem, missed)])


def _shortened(z_nr: Floats) -> Floats:
    length = np.sqrt((z_nr**2).sum(axis=1))
    return np.asarray(z_nr * np.minimum(1.0, _LONGEST * np.median(length) / np.maximum(length, 1e-12))[:, None])


def _missed(problem: Problem, fold: int) -> Floats:
    """Weighted residual of the linear reader on the rows that learn, shape ``(n, K)``; zero elsewhere."""
    base, weights = problem.base_fnk[fold], problem.weights_fn[fold]
    if not problem.classes:
        return np.asarray(weights[:, None] * (problem.target_n.astype(np.float64)[:, None] - base))
    known = problem.target_n.astype(np.int64)[:, None] == np.arange(problem.classes)
    return np.asarray(weights[:, None] * (known - softmax(base, axis=1)))


def _stiffness(problem: Problem) -> float:
    """Curvature of the loss: of a log-odds of evenly likely classes, or of a square."""
    k = problem.classes
    return 1.0 if not k else (1 / k) * (1 - 1 / k)


def _ridges(z: Floats, problem: Problem, missed_fnk: Floats) -> Floats:
    one, other = np.triu_indices(z.shape[1])
    features = z[:, one] * z[:, other]
    features -= features.mean(axis=0)
    features /= np.maximum(features.std(axis=0), 1e-12)
    out = np.zeros((len(_RIDGES), *missed_fnk.shape))
    for fold in range(problem.folds):
        weights = problem.weights_fn[fold]
        total = weights.sum()
        gram = (features * weights[:, None]).T @ features / total
        values, vectors = np.linalg.eigh(gram)
        pull = vectors.T @ (features.T @ missed_fnk[fold] / total)
        for index, ridge in enumerate(_RIDGES):
            slopes = vectors @ (pull / (np.maximum(values, 0) + ridge)[:, None])
            out[index, fold] = features @ slopes / _stiffness(problem)
    return out


def _limit(z: Floats, problem: Problem, missed_fnk: Floats) -> Floats:
    """Mean of squared inner products with the rows that learn, each weighed by what the linear reader missed there."""
    folds, n, outputs = missed_fnk.shape
    rows = torch.as_tensor(z, dtype=torch.float32)
    pull = torch.as_tensor(missed_fnk.transpose(1, 0, 2).reshape(n, -1), dtype=torch.float32)
    images = [(rows[start : start + _ROWS_AT_ONCE] @ rows.T).square_() @ pull for start in range(0, n, _ROWS_AT_ONCE)]
    image = torch.cat(images).double().numpy().reshape(n, folds, outputs).transpose(1, 0, 2)
    own = (z**2).sum(axis=1) ** 2
    out = np.zeros((1, folds, n, outputs))
    for fold in range(folds):
        # On rows that learn, a row's own part says nothing about fresh rows.
        fair = image[fold] - own[:, None] * missed_fnk[fold]
        weights = problem.weights_fn[fold][:, None]
        slope = float((missed_fnk[fold] * fair).sum()) / max(_stiffness(problem) * float((weights * fair**2).sum()), 1e-300)
        out[0, fold] = max(slope, 0.0) * image[fold]
    return out


def _form(z: Floats, missed_n: Floats) -> Floats:
    """Covariance ``(r, r)`` of the rows that learn, weighed by what was missed there; nothing is missed on others."""
    learn = missed_n != 0
    return np.asarray((z[learn] * missed_n[learn, None]).T @ z[learn])


def _leading(form_rr: Floats, count: int) -> Floats:
    """Eigenvectors ``(r, count)`` of a symmetric form, those of largest absolute eigenvalues first."""
    values, vectors = np.linalg.eigh(form_rr)
    leading = vectors[:, np.argsort(-np.abs(values), kind="stable")[:count]]
    largest = leading[np.abs(leading).argmax(axis=0), np.arange(leading.shape[1])]
    return np.asarray(leading * np.sign(largest))  # either sign is an eigenvector; libraries differ in which they give


def _squares(z: Floats, problem: Problem, missed_fnk: Floats) -> Floats:
    """Squares of rows along the leading eigenvectors of what the linear reader missed, one, two, four and eight of them at once.

    What is not linear is mostly of low rank: a product of two directions is a difference of two squares. Such a form stands out of noise
    where rows are as many as coordinates (Baik, Ben Arous & Peche 2005); readers of all products need rows as many as products.
    """
    folds, n, outputs = missed_fnk.shape
    out = np.zeros((len(_RANKS), folds, n, outputs))
    for fold in range(folds):
        total = problem.weights_fn[fold].sum()
        weights = problem.weights_fn[fold] / total
        for k in range(outputs):
            if outputs == 2 and k == 1:
                out[:, fold, :, 1] = -out[:, fold, :, 0]  # of two classes one misses what the other has too much
                continue
            missed = missed_fnk[fold, :, k]
            squares = np.minimum((z @ _leading(_form(z, missed), _RANKS[-1])) ** 2, _LONGEST**2)
            squares -= weights @ squares
            gram, pull = (squares * weights[:, None]).T @ squares, squares.T @ missed / total
            for index, rank in enumerate(_RANKS):
                inner = gram[:rank, :rank]
                firm = inner + max(1e-6 * float(np.trace(inner)), 1e-12) * np.eye(rank)  # squares of signs do not vary
                out[index, fold, :, k] = squares[:, :rank] @ np.linalg.solve(firm, pull[:rank]) / _stiffness(problem)
    return out


def cost_mlp(n: int, r: int, outputs: int, folds: int) -> float:
    """Predicted seconds of :func:`train_mlp`; it may stop earlier."""
    parameters = r * _WIDTH + _WIDTH**2 + _WIDTH * outputs
    steps = _EPOCHS * max(1, _learning_rows(n, folds) // _BATCH)
    return steps * (6 * folds * _BATCH * parameters / _FLOPS + 6e-9 * folds * parameters + 1e-3)


def train_mlp(problem: Problem, seed: int) -> Floats:
    """Train one perceptron per outer fold, all as one batch, with early stopping on the inner fold.

    Two hidden layers of 64 rectified units, with the linear logits as a fixed offset and an output layer that starts at zero; AdamW
    (Loshchilov & Hutter 2019) with class-balanced weights. Directions ``(1, F, n, K)``.
    """
    z = torch.as_tensor(np.clip(problem.z_nr, -_CLIP, _CLIP), dtype=torch.float32)
    base = torch.as_tensor(problem.base_fnk, dtype=torch.float32)
    weights = torch.as_tensor(problem.weights_fn, dtype=torch.float32)
    target = torch.as_tensor(problem.target_n, dtype=torch.int64 if problem.classes else torch.float32)
    folds, _, outputs = base.shape
    rng = stream(seed, "mlp")
    shapes = [(z.shape[1], _WIDTH), (_WIDTH, _WIDTH), (_WIDTH, outputs)]
    layers = [torch.as_tensor(rng.normal(size=(folds, *shape)) * math.sqrt(2 / shape[0]), dtype=torch.float32) for shape in shapes]
    layers[-1].zero_()
    biases = [torch.zeros(folds, 1, shape[1]) for shape in shapes]
    groups = ((layers, _DECAY), (biases, 0.0))
    optimizer = Adam([{"params": [p.requires_grad_() for p in ps], "weight_decay": decay} for ps, decay in groups], decoupled=True)

    learners = [np.flatnonzero(problem.weights_fn[o] > 0) for o in range(folds)]
    fewest = min(len(rows) for rows in learners)
    batch = min(_BATCH, fewest)
    inner = [np.flatnonzero(problem.folds_n == problem.inner(o)) for o in range(folds)]
    pads = [(0, max(map(len, inner)) - len(rows)) for rows in inner]
    held = torch.as_tensor(np.stack([np.pad(rows, pad, mode="edge") for rows, pad in zip(inner, pads, strict=True)]))
    counts = [np.pad(balanced(problem.target_n[rows], problem.classes), pad) for rows, pad in zip(inner, pads, strict=True)]
    held_weights = torch.as_tensor(np.stack(counts), dtype=torch.float32)
    each = torch.arange(folds)[:, None]

    best = np.full(folds, np.inf)
    kept = [p.detach().clone() for p in (*layers, *biases)]
    stale = np.zeros(folds, dtype=np.int64)
    for epoch in range(_EPOCHS):
        for group in optimizer.param_groups:
            group["lr"] = _RATE * 0.5 * (1 + math.cos(math.pi * epoch / _EPOCHS))
        order = torch.as_tensor(np.stack([rng.permutation(rows)[:fewest] for rows in learners]))
        for start in range(0, fewest - batch + 1, batch):
            rows = order[:, start : start + batch]
            losses = _loss(base[each, rows] + _forward(z[rows], layers, biases), target[rows], problem.classes)
            (losses * weights[each, rows]).mean(1).sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
        with torch.no_grad():
            losses = _loss(base[each, held] + _forward(z[held], layers, biases), target[held], problem.classes)
            now = (losses * held_weights).sum(1).numpy()
            better = (now < best) & (stale < _PATIENCE)  # a fold that has stopped stays as it is, whatever the others do
            stale = np.where(better, 0, stale + 1)
            best = np.where(better, now, best)
            mask = torch.as_tensor(better)[:, None, None]
            kept = [torch.where(mask, p, k) for p, k in zip((*layers, *biases), kept, strict=True)]
        if (stale >= _PATIENCE).all():
            break
    with torch.no_grad():
        return _forward(z.expand(folds, -1, -1), kept[:3], kept[3:]).double().numpy()[None]


def _forward(z: torch.Tensor, layers: list[torch.Tensor], biases: list[torch.Tensor]) -> torch.Tensor:
    hidden = z
    for layer, bias in zip(layers[:-1], biases[:-1], strict=True):
        hidden = torch.relu(torch.baddbmm(bias, hidden, layer))
    return torch.baddbmm(biases[-1], hidden, layers[-1])


def _loss(logits: torch.Tensor, target: torch.Tensor, classes: int) -> torch.Tensor:
    if classes:
        return torch.logsumexp(logits, dim=2) - logits.gather(2, target[..., None])[..., 0]
    return (logits[..., 0] - target) ** 2


def cost_trees(n: int, r: int, outputs: int, folds: int) -> float:
    """Predicted seconds of :func:`grow_trees`."""
    features = 2 * min(r, _SCREENED + 2 * _ENDS) + _TURNED + 1 + outputs
    trees = folds * _rounds(outputs)[-1] * (outputs if outputs > 2 else 1)
    return trees * (8e-9 * features * _learning_rows(n, folds) + 6e-9 * _BINS * _LEAVES * features + 5e-4)


def _rounds(outputs: int) -> tuple[int, ...]:
    """Rounds after which trees are tried; fewer for several classes, each of which grows a tree a round."""
    return _STAGES if outputs <= 2 else tuple(stage for stage in _STAGES if stage <= _FIRST_ROUNDS)


def grow_trees(problem: Problem, seed: int) -> Floats:
    """Boost histogram trees (Friedman 2001) with a candidate for each of 5 to 80 rounds, to 20 where these show no hint of anything.

    They see at most 64 whitened columns and 64 units (a gate on one unit is a staircase along whitened axes), where there are more than 16
    columns also four directions in which the linear reader misses most, the length of the row and the linear logits.
    The trees learn without weights, which cost more than the trees; subtracting the log base rates makes their logits class-balanced.
    """
    rounds = _rounds(problem.base_fnk.shape[2])
    grown = [_Boosted(problem, fold, integer_seed(seed, "trees", fold)) for fold in range(problem.folds)]
    first = tuple(stage for stage in rounds if stage <= _FIRST_ROUNDS)
    directions = np.stack([one.directions(first) for one in grown], axis=1)
    if rounds == first or hint_of(problem, directions) < _PROMISING:
        return directions
    return np.stack([one.directions(rounds) for one in grown], axis=1)


class _Boosted:
    """Trees of one outer fold, which can be grown further."""

    def __init__(self, problem: Problem, fold: int, seed: int) -> None:
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor  # slow to import, and often not needed

        self.problem, self.learn, self.base = problem, problem.weights_fn[fold] > 0, problem.base_fnk[fold]
        self.target = problem.target_n[self.learn]
        extra = self.base[:, 1:] - self.base[:, :1] if self.base.shape[1] > 1 else self.base
        seen = [x[:, _columns(x[self.learn], self.target, problem.classes)] for x in (problem.z_nr, problem.units_nd)]
        if problem.z_nr.shape[1] > _MANY:
            z, missed = _shortened(problem.z_nr), _missed(problem, fold)
            forms = [_form(z, one) for one in (missed[:, 1:] if problem.classes == 2 else missed).T]
            seen.append(z @ _leading(np.asarray(sum(form @ form for form in forms)), _TURNED))
        self.features = np.hstack([*seen, np.linalg.norm(problem.z_nr, axis=1, keepdims=True), extra])
        kind = HistGradientBoostingClassifier if problem.classes else HistGradientBoostingRegressor
        settings: dict[str, Any] = {"max_leaf_nodes": _LEAVES, "max_bins": _BINS, "min_samples_leaf": 20, "learning_rate": 0.1}
        self.model = kind(**settings, l2_regularization=1.0, early_stopping=False, warm_start=True, random_state=seed)

    def directions(self, rounds: tuple[int, ...]) -> Floats:
        """Directions ``(C, n, K)`` after each of so many rounds."""
        classes = self.problem.classes
        self.model.set_params(max_iter=rounds[-1]).fit(self.features[self.learn], self.target)
        staged = self.model.staged_decision_function if classes else self.model.staged_predict
        log_rates = np.log(np.bincount(self.target, minlength=classes) / len(self.target)) if classes else np.zeros(1)
        found = []
        for count, stage in enumerate(staged(self.features), start=1):
            if count in rounds:
                logits = stage.reshape(len(self.base), -1)
                if classes == 2:
                    logits = np.hstack([-logits / 2, logits / 2])
                found.append(logits - log_rates - self.base)
        return np.stack(found)


def _columns(z_nr: Floats, target_n: NDArray[np.generic], classes: int) -> Ints:
    """Columns that the trees of one outer fold see: those of least and most variance, and those that differ most between classes."""
    r = z_nr.shape[1]
    if r <= _SCREENED + 2 * _ENDS:
        return np.arange(r)
    labels = (target_n[:, None] == np.arange(classes)).astype(np.float64) if classes else target_n.astype(np.float64)[:, None]
    labels = labels - labels.mean(axis=0)
    labels /= np.sqrt((labels**2).sum(axis=0))
    clipped = np.clip(z_nr, -_CLIP, _CLIP)
    signal = np.zeros(r)
    for x in (clipped, clipped**2):
        centred = x - x.mean(axis=0)
        signal = np.maximum(signal, ((labels.T @ centred) ** 2).sum(axis=0) / np.maximum((centred**2).sum(axis=0), 1e-300))
    signal[:_ENDS] = signal[-_ENDS:] = np.inf
    return np.sort(np.argsort(-signal, kind="stable")[: _SCREENED + 2 * _ENDS])


def cost_neighbours(n: int, r: int, outputs: int, folds: int) -> float:
    """Predicted seconds of :func:`vote_neighbours`."""
    return n * n * (2 * r / _FLOPS + 2.5e-8) + n * 3e-7 * NEIGHBOURS[-1] * outputs


def vote_neighbours(problem: Problem, seed: int) -> Floats:
    """Let 5, 15, 50 and 150 nearest neighbours in whitened coordinates vote (Cover & Hart 1967); the seed is not used.

    A class vote is the log of the share of a class among the neighbours over its share among the candidates, so it is
    class-balanced; a continuous vote is the mean residual of the neighbours. Rows neither scored nor inner are NaN.
    """
    from sklearn.neighbors import NearestNeighbors  # slow to import, and often not needed

    folds, n, outputs = problem.base_fnk.shape
    directions = np.full((len(NEIGHBOURS), folds, n, outputs), np.nan)
    for f in range(folds):
        queries = np.flatnonzero(problem.folds_n == f)
        # Rows of fold f are scored for outer fold f and help outer fold f - 1 to choose.
        for o, hidden in ((f, problem.folds_n == f), ((f - 1) % folds, (problem.folds_n == f) | (problem.folds_n == (f - 1) % folds))):
            pool = np.flatnonzero(~hidden)
            near = NearestNeighbors(n_neighbors=min(NEIGHBOURS[-1], len(pool)), algorithm="brute").fit(problem.z_nr[pool])
            order = near.kneighbors(problem.z_nr[queries], return_distance=False)
            directions[:, o, queries] = _votes(problem, o, pool, pool[order])
    return directions


def _votes(problem: Problem, fold: int, pool: Ints, order: Ints) -> Floats:
    """Votes ``(C, queries, K)`` of the neighbours in ``order``, nearest first."""
    if problem.classes:
        codes = problem.target_n.astype(np.int64)
        values = (codes[order][..., None] == np.arange(problem.classes)).astype(np.float64)
        rates = np.bincount(codes[pool], minlength=problem.classes) / len(pool)
    else:
        values = (problem.target_n[order] - problem.base_fnk[fold, order, 0])[..., None]
    sums = values.cumsum(axis=1)
    votes = []
    for count in (min(k, order.shape[1]) for k in NEIGHBOURS):
        if problem.classes:
            votes.append(np.log((sums[:, count - 1] / rates + _PRIOR) / (count + _PRIOR)))
        else:
            votes.append(sums[:, count - 1] / count)
    return np.stack(votes)


READERS: Final[dict[str, tuple[Callable[[Problem, int], Floats], Callable[[int, int, int, int], float]]]] = {
    "quadratic": (read_quadratic, cost_quadratic),
    "mlp": (train_mlp, cost_mlp),
    "trees": (grow_trees, cost_trees),
    "neighbours": (vote_neighbours, cost_neighbours),
}
"""Each reader with what predicts its cost."""
