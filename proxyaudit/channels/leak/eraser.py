"""The control of erasers: a planted signal is erased and read again on fresh rows."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.channels.leak.record import Erasure
from proxyaudit.data.dataset import Dataset
from proxyaudit.erasers.leace import fit_leace
from proxyaudit.probes.crossfit import cross_fit_classes
from proxyaudit.probes.folds import TooFewRowsError, assign_folds
from proxyaudit.probes.whitening import whiten
from proxyaudit.seeding import stream
from proxyaudit.stats.directions import isotropic
from proxyaudit.stats.spike_in import Prior, plant_at_leak


def check_eraser(acts_nd: NDArray[Any], dataset: Dataset, margin: float, root: int, site: str) -> Erasure | None:
    """Plant a strong binary signal, erase it with LEACE fitted on two parts, and read it on the third."""
    rows = whiten(acts_nd).rows
    if rows.rank == 0:
        return None
    rng = stream(root, "eraser", site)
    plant = plant_at_leak(isotropic(rows, 1, rng)[:, 0], Prior.of_rates(np.array([0.5, 0.5]), rows.n), 5 * margin)
    if plant is None:
        return None
    labels = plant.draw(rng)
    fit, fresh = dataset.parts < 2, dataset.parts == 2
    eraser = fit_leace(acts_nd[fit], labels[fit].astype(np.float64)[:, None])
    folds = assign_folds(dataset.clusters[fresh], stream(root, "eraser-folds"))
    try:
        before = cross_fit_classes(whiten(acts_nd[fresh]).z_nr, labels[fresh], 2, folds)
        # In the format of a model: what erasing leaves in digits that no model holds is no trace.
        erased = eraser(acts_nd[fresh]).astype(np.float32)
        after = cross_fit_classes(whiten(erased).z_nr, labels[fresh], 2, folds)
    except TooFewRowsError:
        return None
    return Erasure(before.leak, after.leak)
