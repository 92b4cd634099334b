"""Probe every attribute at every site of one model, and in its outputs."""

import hashlib
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Singles
from proxyaudit.channels.base import ModelView, Placebos, Remember
from proxyaudit.channels.closed import STANDINGS
from proxyaudit.channels.leak.closed import closed_at, of_outputs, standing
from proxyaudit.channels.leak.eraser import check_eraser
from proxyaudit.channels.leak.record import ERASURES, SITE_LEAKS, holds_site, merge_sites
from proxyaudit.channels.leak.site_probe import FOUND_ALREADY, PLAINLY, Memo, ProbedArrays, Probing, SiteProbe
from proxyaudit.data.attributes import Attribute
from proxyaudit.data.dataset import Dataset
from proxyaudit.data.many_levels import on_fewer_rows
from proxyaudit.data.one_row_each import one_row_each
from proxyaudit.estimates.record import OUTPUT_SITE, Measurement
from proxyaudit.probes.conditioning import make_strata
from proxyaudit.probes.folds import assign_folds
from proxyaudit.probes.whitening import Whitened, whiten
from proxyaudit.recipe.effort import SETTLED, SETTLED_AT
from proxyaudit.seeding import stream

PROFILE_READERS = ("quadratic", "trees")
PROFILE_WORK = 1e11
_EDGE = 1e-6  # keeps the log-odds of a saturated output finite


def measure(view: ModelView, out: Measurement) -> None:
    """Probe every attribute at every site and in the outputs; results go into ``out``."""
    recipe, dataset, model = view.recipe, view.dataset, view.model
    # A reference is never given a verdict: the linear channel is all that regimes are compared with it in.
    everything = recipe.effort == "everything"
    quick = Probing(recipe.seed, recipe.margins, view.permutations, nonlinear=False, every_row=everything)
    # What a number explains is asked of the number itself, not of its bands.
    of_number = model.task == "number"
    labels = dataset.truth(dataset.audit)[:, 0] if of_number else view.labels_n.astype(str)
    strata = {a.name: make_strata([labels], a.codes, a.classes) for a in dataset.attributes} if view.decides else {}
    asked_from = 0.0 if everything else SETTLED_AT
    full = replace(quick, nonlinear=view.decides, effort=view.asks("ease"), strata=strata, unless_linear=asked_from, settled=SETTLED)
    # Outside the verdict sites the non-linear channel runs with fewer rows and readers.
    profiled = replace(
        full, strata={}, effort=False, readers=PROFILE_READERS, work=PROFILE_WORK, unless_linear=PLAINLY, settled=FOUND_ALREADY
    )
    # Verdict sites first: what is settled there is asked nowhere else.
    for site, acts in sorted(view.captured.acts.items(), key=lambda item: item[0] not in model.verdict_sites):
        if site in view.shared_sites:
            measure_shared_site(acts, dataset, profiled, site=site, placebos=view.placebos, remember=view.remember, out=out)
            continue
        probing = full if site in model.verdict_sites else profiled
        probing = replace(probing, closed=closed_at(view, site, out))
        measure_site(acts, dataset, probing, site=site, placebos=view.placebos, out=out)
    strict = replace(quick, margins=of_outputs(recipe.margins), nonlinear=view.decides, readers=PROFILE_READERS)
    strict = replace(strict, unless_linear=asked_from, settled=SETTLED, closed=closed_at(view, OUTPUT_SITE, out))
    outputs = view.captured.outputs if of_number else log_odds(view.captured.outputs)
    measure_site(outputs, dataset, strict, site=OUTPUT_SITE, placebos=view.placebos, out=out)
    for attribute in dataset.attributes:
        STANDINGS.write(out, standing(out, attribute.name, view.captured.acts, model.verdict_sites), attribute.name)
    for site in model.verdict_sites:
        if (erasure := check_eraser(view.captured.acts[site], dataset, recipe.margins.leak, recipe.seed, site)) is not None:
            ERASURES.write(out, erasure, site)


def log_odds(outputs_nc: Floats) -> Floats:
    """Log-odds of each output column, clipped so that saturated outputs stay finite."""
    p = np.clip(outputs_nc, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(p / (1 - p)))


def measure_shared_site(
    acts_nd: Singles, rows: Dataset | ProbedArrays, probing: Probing, *, site: str, placebos: Placebos, remember: Remember, out: Measurement
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


def measure_site(
    acts_nd: NDArray[Any], rows: Dataset | ProbedArrays, probing: Probing, *, site: str, placebos: Placebos, out: Measurement
) -> None:
    """Probe every attribute at one site; a :class:`SiteRecord` of each goes into ``out``, where there is none yet.

    Placebos are label columns ``(n, m)`` by attribute. Activations that hold NaN or infinite values raise ``ValueError``.
    """
    folds = assign_folds(rows.clusters, stream(probing.root, "folds"))
    kept: dict[bytes, tuple[NDArray[Any], Whitened, Memo]] = {}
    for one in (one for one in rows.attributes if SITE_LEAKS.find(out, one.name, site) is None):
        asked = one if probing.every_row else on_fewer_rows(one, rows.clusters, probing.root)
        attribute = one_row_each(asked, rows.clusters, probing.root)
        known = attribute.known
        if (key := known.tobytes()) not in kept:
            for other in list(kept)[1:]:  # the first one's rows are most attributes'
                del kept[other]
            acts = acts_nd if known.all() else acts_nd[known]
            kept[key] = acts, whiten(acts), {}
        probe = SiteProbe(*kept[key][:2], attribute, folds, rows.clusters, probing, kept[key][2])
        SITE_LEAKS.write(out, probe.measure(placebos.get(attribute.name)), attribute.name, site)


def read_linear_leak(
    acts_nd: NDArray[Any], rows: Dataset | ProbedArrays, attribute: Attribute, probing: Probing
) -> tuple[float, Floats] | None:
    """The linear leak of :func:`measure_site` and its influences ``(n,)`` alone; ``None`` where it cannot be asked."""
    attribute = one_row_each(attribute, rows.clusters, probing.root)
    known = attribute.known
    white = whiten(acts_nd if known.all() else acts_nd[known])
    if not white.z_nr.shape[1]:
        return 0.0, np.zeros(len(acts_nd))  # a site that is constant holds nothing: a measured zero
    probe = SiteProbe(
        acts_nd[known], white, attribute, assign_folds(rows.clusters, stream(probing.root, "folds")), rows.clusters, probing, {}
    )
    return probe.read_linear()
