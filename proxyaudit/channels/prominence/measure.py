"""Measure the prominence of every attribute, of its placebos and of the label, at every site of one model."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Bools, Ints
from proxyaudit.channels.base import ModelView, Placebos
from proxyaudit.channels.prominence.record import OF_LABEL, PROMINENT, Prominent
from proxyaudit.data.attributes import Attribute
from proxyaudit.estimates.record import Measurement
from proxyaudit.probes.prominence import Units


def measure(view: ModelView, out: Measurement) -> None:
    """Prominence at all sites; at verdict sites with the second share and the placebos beside it."""
    clusters, dataset = view.dataset.clusters, view.dataset
    labels, classes = (view.labels_n, len(dataset.classes)) if view.model.task != "number" else (dataset.truth(dataset.audit)[:, 0], 0)
    for site, acts in view.captured.acts.items():
        verdict = site in view.model.verdict_sites
        placebos = view.placebos if verdict else {}
        measure_site(
            acts, view.dataset.attributes, clusters, site=site, repetition=view.repetition, placebos=placebos, full=verdict, out=out
        )
        every = np.ones(len(clusters), dtype=np.bool_)
        found = _measured(Units(acts, clusters), labels, classes, every, view.repetition, full=verdict)
        OF_LABEL.write(out, found, site)


def measure_site(
    acts_nd: NDArray[Any],
    attributes: Sequence[Attribute],
    clusters_n: Ints,
    place_m: Ints | None = None,
    *,
    site: str,
    repetition: int,
    placebos: Placebos,
    full: bool,
    out: Measurement,
) -> None:
    """Prominence of the attributes at one site; ``full``: with the influences on the second share.

    Activations are of the rows ``place_m``, where given: no attribute is known on others then.
    """
    rows = slice(None) if place_m is None else place_m
    of_rows: dict[bytes, Units] = {}  # attributes that are known on the same rows share the standardised units
    for attribute in attributes:
        known = attribute.known
        key = known.tobytes()
        if key not in of_rows:
            of_rows = {key: Units(np.asarray(acts_nd)[known[rows]], clusters_n[known])}
        units, planted = of_rows[key], placebos.get(attribute.name)
        values = units.values(planted[known], attribute.classes) if planted is not None else np.zeros(0)
        codes = np.asarray(attribute.codes)
        found = _measured(units, codes[known], attribute.classes, known, repetition, full=full, placebos=values)
        PROMINENT.write(out, found, attribute.name, site)


def _measured(
    units: Units, values_m: NDArray[Any], classes: int, known_n: Bools, repetition: int, *, full: bool, placebos: NDArray[Any] | None = None
) -> Prominent:
    found, n = units.measure(values_m, classes), int(known_n.sum())
    if found is None:
        return Prominent(repetition, n)
    units_n, total_n = np.zeros((2, len(known_n)))
    units_n[known_n], total_n[known_n] = found.units.influence_n, found.total.influence_n
    beside = () if placebos is None else tuple(float(value) for value in placebos if np.isfinite(value))
    return Prominent(repetition, n, found.units.value, found.total.value, units_n, total_n if full else None, beside)
