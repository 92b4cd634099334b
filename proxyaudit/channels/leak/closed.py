"""What the first repetition of a regime closes: numbers that no further repetition can decide, or that could change no verdict.

A leak is present only where every model shows it, and absent only where every model lacks it. What the first model shows to be neither
stays unknown whatever the others say. Where any leak of an attribute cannot be absent the attribute cannot be called removed, and then
others are worth asking only where they may yet be present.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from proxyaudit.arrays import Ints
from proxyaudit.channels.base import ModelView
from proxyaudit.channels.closed import STANDINGS, Standing
from proxyaudit.channels.leak.record import SITE_LEAKS, LeakTest, SiteRecord
from proxyaudit.estimates.record import OUTPUT_SITE, Measurement
from proxyaudit.recipe.effort import SETTLED_AT
from proxyaudit.recipe.recipe import Margins
from proxyaudit.stats.intervals import Measured, in_every_seed
from proxyaudit.stats.p_values import ABSENT_AT, FOUND, PRESENT_AT

LINEAR: Final = frozenset({"linear"})
AGREEMENT: Final = "agreement"  # of neighbours, which the same audit rows give with every model
_STRONGER: Final = frozenset({"nonlinear", "quarters", "quarters nonlinear"})


def standing(measured: Measurement, attribute: str, sites: Iterable[str], verdict_sites: Sequence[str]) -> Standing:
    """What the leaks of a model at these sites and in the outputs allow."""
    records = {site: SITE_LEAKS.find(measured, attribute, site) for site in (*sites, *verdict_sites, OUTPUT_SITE)}
    linear = [one.linear for site in verdict_sites if (one := records[site]) is not None and one.linear is not None]
    removable = all(one is not None and _may_be_absent(one) for one in records.values())
    return Standing(any(one.p_present <= SETTLED_AT for one in linear), removable)


def closed_at(view: ModelView, site: str, out: Measurement) -> dict[str, frozenset[str]]:
    """What of each attribute need not be asked at a site: settled at a verdict site of this model, or closed by the first repetition."""
    dataset, verdict = view.dataset, view.model.verdict_sites
    if view.recipe.effort == "everything":
        return {}
    if not view.decides:
        # A reference is compared with at verdict sites; its other sites are a picture, for which one model will do.
        return {} if site in verdict or not view.repetition else {a.name: LINEAR for a in dataset.attributes}
    inside, margins = site not in (*verdict, OUTPUT_SITE), view.recipe.margins
    if site == OUTPUT_SITE:
        margins = of_outputs(margins)
    found: dict[str, frozenset[str]] = {}
    for attribute in dataset.attributes:
        closed: frozenset[str] = frozenset()
        if view.first is not None:
            # Of what is inside, too, it is said that nothing of it shows in the outputs: absence there always counts.
            removable = site == OUTPUT_SITE or STANDINGS.read(view.first, attribute.name).removable
            closed = closed_tests(view.first, attribute.name, site, margins, dataset.clusters, removable=removable)
        if inside and standing(out, attribute.name, (), verdict).settled:
            closed |= _STRONGER
        found[attribute.name] = closed
    return found


def of_outputs(margins: Margins) -> Margins:
    """Outputs have few dimensions: a non-linear leak is held to the same margin there as a linear one."""
    return margins.model_copy(update={"nonlinear": margins.leak})


def closed_tests(first: Measurement, attribute: str, site: str, margins: Margins, clusters_n: Ints, *, removable: bool) -> frozenset[str]:
    """Tests at a site, the linear one never among them, that further models need not be asked; whether rows belong together is one."""
    record = SITE_LEAKS.find(first, attribute, site)
    if record is None or record.silent or record.reason:
        return frozenset()
    apart = record.agreement is None or not record.agreement.together
    # Absence rests on every model's neighbours; presence, on the first one's.
    return frozenset({AGREEMENT} if apart and not removable else ()) | frozenset(
        name
        for name, test in record.tests.items()
        if name != "linear"
        and not test.silent
        and not _may_be_present(test, margins.nonlinear if name.endswith("nonlinear") else margins.leak, clusters_n)
        and not (removable and _is_low(test))
    )


def _may_be_absent(record: SiteRecord) -> bool:
    return record.silent or (not record.reason and all(test.silent or _is_low(test) for test in record.tests.values()))


def _is_low(test: LeakTest) -> bool:
    return not test.reason and test.p_absent <= ABSENT_AT and test.found_twice >= FOUND


def _may_be_present(test: LeakTest, margin: float, clusters_n: Ints) -> bool:
    """Whether the score shows presence in this model, or one of the readers does (twice the smaller p-value)."""
    if test.reason:
        return False
    known = [Measured(np.array([one.gain]), one.influence_n, clusters_n) for one in test.readers if one.influence_n is not None]
    read = min((len(test.readers) * in_every_seed([one], margin) for one in known), default=1.0)
    return 2 * min(test.p_present, read) <= PRESENT_AT
