"""Read every site of one model, and its outputs, for every attribute; and check the eraser there."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace

import numpy as np

from proxyaudit.arrays import Floats, Singles
from proxyaudit.channels.base import ModelView
from proxyaudit.channels.leak.questions import Probing
from proxyaudit.channels.leak.site import measure_site
from proxyaudit.channels.placebos import eraser_residual
from proxyaudit.estimates.record import OUTPUT_SITE, Measurement
from proxyaudit.probes.conditioning import make_strata

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
    placebos = dict(view.placebos)
    for site, acts in view.captured.acts.items():
        if site in view.shared_sites:
            _measure_shared(view, acts, profiled, site, out)
            continue
        probing = full if site in model.verdict_sites else profiled
        measure_site(acts, dataset, probing, site=site, placebos=placebos, out=out)
    # Outputs have few dimensions: a non-linear leak is held to the same margin there as a linear one.
    margins = recipe.margins.model_copy(update={"nonlinear": recipe.margins.leak})
    strict = replace(quick, margins=margins, nonlinear=view.decides, readers=("quadratic", "trees"))
    measure_site(log_odds(view.captured.outputs), dataset, strict, site=OUTPUT_SITE, placebos=placebos, out=out)
    acts_of, leak = view.captured.acts, recipe.margins.leak
    out.numbers["eraser"] = {site: eraser_residual(acts_of[site], dataset, leak, recipe.seed, site) for site in model.verdict_sites}


def log_odds(outputs_nc: Floats) -> Floats:
    """Log-odds of each output column, clipped so that saturated outputs stay finite."""
    p = np.clip(outputs_nc, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(p / (1 - p)))


def _measure_shared(view: ModelView, acts_nd: Singles, probing: Probing, site: str, out: Measurement) -> None:
    """The same as :func:`measure_site`, looked up where these very activations were measured before.

    A frozen transformer gives a text the same values in every repetition, and in every regime whose models meet the text as it is. The
    numbers are a function of the activations and of what identifies them here, so they are the same looked up or measured.
    """
    asked = asdict(replace(probing, margins=None)) | {"margins": probing.margins.model_dump(), "strata": {}}  # type: ignore[arg-type]
    values = hashlib.sha256(np.ascontiguousarray(acts_nd).tobytes()).hexdigest()

    def make() -> Measurement:
        found = Measurement()
        measure_site(acts_nd, view.dataset, probing, site=site, placebos=dict(view.placebos), out=found)
        return found

    found = view.remember({"probing": asked, "site": site, "values": values, "shape": [int(n) for n in acts_nd.shape]}, make)
    for attribute, sites in found.numbers["cells"].items():
        out.numbers.setdefault("cells", {}).setdefault(attribute, {}).update(sites)
    out.arrays.update(found.arrays)
