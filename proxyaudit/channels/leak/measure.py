"""Read every site of one model, and its outputs, for every attribute; and check the eraser there."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Singles
from proxyaudit.channels.base import ModelView
from proxyaudit.channels.leak.record import ERASURES, Erasure, holds_site, merge_sites
from proxyaudit.channels.leak.site import ProbedArrays, Probing, measure_site
from proxyaudit.data.dataset import Dataset
from proxyaudit.erasers.leace import fit_leace
from proxyaudit.estimates.record import OUTPUT_SITE, Measurement
from proxyaudit.probes.conditioning import make_strata
from proxyaudit.probes.crossfit import TooFewRowsError, assign_folds, cross_fit_classes
from proxyaudit.probes.whitening import whiten
from proxyaudit.seeding import stream
from proxyaudit.stats.directions import isotropic
from proxyaudit.stats.spike_in import Prior, plant_at_leak

PROFILE_READERS = ("quadratic", "trees")
PROFILE_WORK = 1e11
_EDGE = 1e-6  # keeps the log-odds of a saturated output finite


def measure(view: ModelView, out: Measurement) -> None:
    """Probe every attribute at every site and in the outputs; results go into ``out``."""
    recipe, dataset, model = view.recipe, view.dataset, view.model
    # A reference is never given a verdict: the linear channel is all that regimes are compared with it in.
    quick = Probing(recipe.seed, recipe.margins, view.permutations, nonlinear=False)
    labels = view.labels_n.astype(str)
    strata = {a.name: make_strata([labels], a.codes, a.classes) for a in dataset.attributes} if view.decides else {}
    full = replace(quick, nonlinear=view.decides, effort=view.decides, strata=strata)
    # Outside the verdict sites the non-linear channel runs with fewer rows and readers.
    profiled = replace(full, strata={}, effort=False, readers=PROFILE_READERS, work=PROFILE_WORK, unless_linear=True)
    for site, acts in view.captured.acts.items():
        if site in view.shared_sites:
            measure_shared_site(acts, dataset, profiled, site=site, placebos=view.placebos, remember=view.remember, out=out)
            continue
        probing = full if site in model.verdict_sites else profiled
        measure_site(acts, dataset, probing, site=site, placebos=view.placebos, out=out)
    # Outputs have few dimensions: a non-linear leak is held to the same margin there as a linear one.
    margins = recipe.margins.model_copy(update={"nonlinear": recipe.margins.leak})
    strict = replace(quick, margins=margins, nonlinear=view.decides, readers=("quadratic", "trees"))
    measure_site(log_odds(view.captured.outputs), dataset, strict, site=OUTPUT_SITE, placebos=view.placebos, out=out)
    acts_of, leak = view.captured.acts, recipe.margins.leak
    for site in model.verdict_sites:
        erasure = check_eraser(acts_of[site], dataset, leak, recipe.seed, site)
        if erasure is not None:
            ERASURES.write(out, erasure, site)


def log_odds(outputs_nc: Floats) -> Floats:
    """Log-odds of each output column, clipped so that saturated outputs stay finite."""
    p = np.clip(outputs_nc, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(p / (1 - p)))


def measure_shared_site(
    acts_nd: Singles,
    rows: Dataset | ProbedArrays,
    probing: Probing,
    *,
    site: str,
    placebos: Mapping[str, NDArray[Any]],
    remember: Callable[[Mapping[str, Any], Callable[[], Measurement]], Measurement],
    out: Measurement,
) -> None:
    """The same as :func:`measure_site`, looked up where these very activations were measured before.

    A frozen transformer gives a text the same values in every repetition, and in every regime whose models meet the text as it is. What is
    conditioned on does not identify what is remembered, and raises ``ValueError``.
    """
    if probing.strata:
        raise ValueError("what is conditioned on is not looked up")
    asked = asdict(replace(probing, margins=None)) | {"margins": probing.margins.model_dump()}  # type: ignore[arg-type]
    values = hashlib.sha256(np.ascontiguousarray(acts_nd).tobytes()).hexdigest()

    def make() -> Measurement:
        found = Measurement()
        measure_site(acts_nd, rows, probing, site=site, placebos=placebos, out=found)
        return found

    found = remember({"probing": asked, "site": site, "values": values, "shape": [int(n) for n in acts_nd.shape]}, make)
    merge_sites(out, found if holds_site(found, rows.attributes, site) else make())


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
