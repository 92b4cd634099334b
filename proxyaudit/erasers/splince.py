"""SPLINCE: erase a concept and keep what the activations tell linearly of the task (Holstege et al. 2025, arXiv 2506.10703).

LEACE projects orthogonally in whitened space, SPLINCE obliquely: its null space is what the attribute's cross-covariance spans, and its
range holds what the label's spans. The cross-covariance with the attribute is then zero and that with the label unchanged. Directions of
the label closer to the attribute than ``MOST_ALIGNED`` are not kept: there the erasure would be a blow-up of the estimate's error.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Floats
from proxyaudit.erasers import Fit
from proxyaudit.erasers.leace import LeaceEraser, whitened_directions

MOST_ALIGNED = 0.98  # cosine; the projection's norm in whitened space is 1 / sqrt(1 - cosine^2), here 5


def splince(
    acts_nd: NDArray[np.floating],
    concept_nk: Floats,
    task_nm: Floats,
    *,
    most_aligned: float = MOST_ALIGNED,
    fewest_moved: int | None = None,
) -> Fit:
    """The plugin: erase the concept, keep the cross-covariance with the task in directions up to the cosine ``most_aligned``.

    ``fewest_moved`` is as in :func:`~proxyaudit.erasers.leace.fit_leace`. Raises ``ValueError`` where shapes differ, values are not finite,
    or the cosine is not in [0, 1).
    """
    if not 0 <= most_aligned < 1:
        raise ValueError("most_aligned must lie in [0, 1)")
    acts = np.asarray(acts_nd, dtype=np.float64)
    mean, to_white, from_white, erased = whitened_directions(acts, concept_nk, fewest_moved)
    _, _, _, task = whitened_directions(acts, task_nm, fewest_moved)
    _, cosines, turned = np.linalg.svd(erased.T @ task, full_matrices=True)
    cosines = np.clip(np.concatenate([cosines, np.zeros(task.shape[1] - len(cosines))]), 0.0, 1.0)
    kept = task @ turned.T[:, cosines <= most_aligned]
    # The dual of the erased directions within the span of both: orthogonal to what is kept, one on the erased.
    beside = erased - kept @ (kept.T @ erased)
    dual = beside @ np.linalg.inv(erased.T @ beside).T if erased.shape[1] else erased
    eraser = LeaceEraser(mean, to_white @ dual, (from_white @ erased).T.copy())
    return Fit(eraser, float(cosines.max(initial=0.0)), int(task.shape[1] - kept.shape[1]), int(kept.shape[1]))
