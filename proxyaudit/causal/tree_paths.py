"""Which inputs of trees feed a sum of their margins: exact Shapley values of the paths that rows take.

Path-dependent TreeSHAP (Lundberg et al. 2020, "From local explanations to global understanding with explainable AI for trees"), the
numbers that XGBoost (``pred_contribs``), LightGBM (``pred_contrib``) and CatBoost (``ShapValues``) give of their own models: a column that
is not known sends a row both ways, as often as training rows went. On the way to a leaf of value ``v`` each column ``j`` lets a share
``z_j`` of them pass, and the row itself (``o_j = 1``) or not. Averaged over all orders of the columns, ``j`` adds ``v (o_j - z_j)`` times
the integral over ``t`` from 0 to 1 of the product over the others of ``(1 - t) z + t o``, a polynomial that Gauss and Legendre's rule
integrates without error. The sum over columns is the margin less its mean, so a difference of groups is split exactly.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from proxyaudit.arrays import Bools, Floats, Ints, Singles
from proxyaudit.causal.attribution import Along, contrast
from proxyaudit.causal.proxy_use import Attribution
from proxyaudit.models.base import TrainedModel, as_tensor, inference
from proxyaudit.models.hooks import tapped
from proxyaudit.models.kinds.trees import MARGINS
from proxyaudit.models.trees import TreeEnsemble

_PROBE_ROWS = 2


def attribute_paths(
    model: TrainedModel, x_np: Singles, groups_n: Ints, sources: Sequence[Sequence[int]], along: Sequence[Along]
) -> tuple[Attribution, ...]:
    """Split differences of groups 0 and 1 over columns with inputs ``sources``, one for each of ``along``.

    Of an output it is what the trees add up to: the log-odds of two boosted classes, the score of one of several, a share of votes.
    """
    module = model.module
    assert isinstance(module, TreeEnsemble)
    weights_ku = np.stack([_weights(model, module, one) for one in along])
    with inference(module):
        margins_nu = module.trees(as_tensor(x_np)).double().numpy()
    given_knp = contributions(module, x_np, weights_ku)
    reached_kn = weights_ku @ margins_nu.T
    return tuple(contrast(given, reached, groups_n, sources) for given, reached in zip(given_knp, reached_kn, strict=True))


def contributions(module: TreeEnsemble, x_np: Singles, weights_ku: Floats) -> Floats:
    """What each input of each row adds to weighted sums of the margins, less their means: shape ``(K, n, p)``."""
    trees = module.trees
    count, nodes = trees.left.shape
    walk, found = trees.walk(x_np), np.zeros((len(weights_ku), *x_np.shape))
    rows, places = (part.reshape(-1) for part in np.indices((len(x_np), nodes)))
    values = trees.value.detach().double().numpy()
    weights_kgv = weights_ku.reshape(len(weights_ku), count, -1)
    for tree in range(count):
        left, right, feature = (part[tree].numpy() for part in (trees.left, trees.right, trees.feature))
        if left[0] == right[0] or not weights_kgv[:, tree].any():
            continue
        goes_left = walk.goes_left(rows, places + tree * nodes).reshape(len(x_np), nodes)
        cover = trees.cover[tree].numpy()
        cover = cover if cover[0] > 0 else _counted(goes_left, left, right)
        leaves = _paths(left, right)
        said_lk = np.array([values[tree, leaf] for leaf in leaves]) @ weights_kgv[:, tree].T
        _add(found, list(leaves.values()), feature, goes_left, _shares(cover, left, right), said_lk)
    return found


def _weights(model: TrainedModel, module: TreeEnsemble, along: Along) -> Floats:
    """How a site along a direction, or what an output adds up, depends on the margins ``(u,)``: linearly, through any map on the way."""
    made: list[Tensor] = []
    seen: list[Tensor] = []
    site = MARGINS if isinstance(along, int) else along[0]
    handle = module.trees.register_forward_hook(lambda *given: made.append(given[2]))
    reader = replace(model, sites=(site,), taps={site: module.site_taps()[site]})
    try:
        with inference(module), torch.enable_grad(), tapped(reader, lambda _, value: seen.append(value), (site,)):
            module(torch.zeros(_PROBE_ROWS, module.trees.n_inputs))
            scalar = module.head.total(seen[0], along) if isinstance(along, int) else seen[0] @ as_tensor(along[1], seen[0].dtype)
            slope = torch.autograd.grad(scalar[0], made[0])[0][0]
    finally:
        handle.remove()
    return np.array(slope.tolist(), dtype=np.float64)


def _paths(left: Ints, right: Ints) -> dict[int, list[tuple[int, bool]]]:
    """The splits above each leaf, and which way it lies."""
    found: dict[int, list[tuple[int, bool]]] = {}
    todo: list[tuple[int, list[tuple[int, bool]]]] = [(0, [])]
    while todo:
        node, above = todo.pop()
        if left[node] == node:
            found[node] = above
        else:
            todo += [(int(left[node]), [*above, (node, True)]), (int(right[node]), [*above, (node, False)])]
    return found


def _counted(goes_left: Bools, left: Ints, right: Ints) -> Floats:
    """Rows that come to each node of a tree that nobody counted."""
    here = np.zeros(goes_left.shape, dtype=bool)
    here[:, 0] = True
    for node in np.flatnonzero(left != np.arange(len(left))):  # children stand after their parents
        here[:, left[node]] |= here[:, node] & goes_left[:, node]
        here[:, right[node]] |= here[:, node] & ~goes_left[:, node]
    return np.asarray(here.sum(axis=0), dtype=np.float64)


def _shares(cover: Floats, left: Ints, right: Ints) -> Floats:
    """Share of the training rows at each node that went left; a half where there were none."""
    total = cover[left] + cover[right]
    return np.where(total > 0, cover[left] / np.where(total > 0, total, 1.0), 0.5)


def _add(
    found: Floats, paths: Sequence[Sequence[tuple[int, bool]]], feature: Ints, goes_left: Bools, share_left: Floats, said_lk: Floats
) -> None:
    """Add what one tree gives to each input, in place."""
    columns = [list(dict.fromkeys(int(feature[node]) for node, _ in path)) for path in paths]
    leaves, most = len(paths), max(map(len, columns))
    passes_dln, shares_dl = np.ones((most, leaves, len(goes_left)), dtype=bool), np.ones((most, leaves))
    belongs_dl, ways_mn = np.zeros((most, leaves), dtype=np.int64), np.ascontiguousarray(goes_left.T)
    for leaf, (path, own) in enumerate(zip(paths, columns, strict=True)):
        belongs_dl[: len(own), leaf] = own
        for node, is_left in path:
            at = own.index(int(feature[node]))
            passes_dln[at, leaf] &= ways_mn[node] if is_left else ~ways_mn[node]
            shares_dl[at, leaf] *= share_left[node] if is_left else 1 - share_left[node]
    points, weights = np.polynomial.legendre.leggauss(most // 2 + 1)
    shares_dl1, others_dln = shares_dl[:, :, None], np.zeros(passes_dln.shape)
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        factors = (1 - point) * shares_dl1 + point * passes_dln
        others_dln += weight * _products_of_others(factors)
    given_dln = (passes_dln - shares_dl1) * others_dln
    for column in np.unique(belongs_dl):
        here = np.where(belongs_dl == column, 1.0, 0.0)
        found[:, :, column] += np.einsum("dl,dln,lk->kn", here, given_dln, said_lk, optimize=True)


def _products_of_others(factors_d: Floats) -> Floats:
    """For each of the first axis the product of all others; a factor may be zero."""
    products, after = np.ones_like(factors_d), np.ones_like(factors_d[0])
    for place in range(1, len(factors_d)):
        products[place] = products[place - 1] * factors_d[place - 1]
    for place in reversed(range(len(factors_d))):
        products[place] *= after
        after *= factors_d[place]
    return products
