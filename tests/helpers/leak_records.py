"""Small facts of leak tests, as a measuring task would leave them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from proxyaudit.channels.leak.record import SITE_LEAKS, LeakTest, SiteRecord
from proxyaudit.data.attributes import Attribute
from proxyaudit.estimates.facts import Facts, Run
from proxyaudit.estimates.record import INPUT_SITE, OUTPUT_SITE, Measurement
from proxyaudit.probes.results import BinnedTrace, Effort, Gain
from proxyaudit.recipe.recipe import Margins

SITES = ("early", "late")


def leak_record(attribute: Attribute, seed: int) -> SiteRecord:
    """Every test that there is, each of which could call the attribute absent."""
    n, rng = len(attribute.codes), np.random.default_rng(seed)
    plain = LeakTest(
        score=1.0,
        p_present=0.9,
        p_absent=0.001,
        leak=0.001,
        high=0.01,
        found_once=1.0,
        found_twice=1.0,
        detection_limit=0.015,
        rows_needed=n,
        raw=0.001,
        unweighted=0.001,
        placebos=(0.01, 0.02),
        negative=0.5,
        rows=n,
        influence_n=rng.normal(size=n) / n**2,
        null=rng.random(99) * 2,
    )
    reader = Gain("quadratic", 0.0, rng.normal(size=n) / n**2)
    strong = {**vars(plain), "raw": None, "placebos": (), "negative": None, "bins": BinnedTrace(1.0, 0.0), "readers": (reader,)}
    names = ("linear", "beyond", "beyond nonlinear", *(("quarters",) if attribute.classes == 0 else ()))
    stronger = ("nonlinear", *(("quarters nonlinear",) if attribute.classes == 0 else ()))
    tests = dict.fromkeys(names, plain) | dict.fromkeys(stronger, LeakTest(**strong))
    return SiteRecord(n, 4, tests=tests, effort=Effort(((16, 0.01, 0.5),), 0.01, n, 0.5, 0.5))


def leak_facts(*attributes: Attribute, regimes: Sequence[str] = ("real",), verdict_sites: Sequence[str] = SITES[1:]) -> Facts:
    """One model of each regime; ``untrained`` among them is a reference."""
    n = len(attributes[0].codes)
    runs = []
    for regime in regimes:
        out = Measurement()
        for place, (attribute, site) in enumerate((a, s) for a in attributes for s in (*SITES, OUTPUT_SITE)):
            SITE_LEAKS.write(out, leak_record(attribute, place), attribute.name, site)
        out.arrays["outputs"] = np.random.default_rng(0).random((n, 1))
        runs.append(Run(regime, (out,), is_reference=regime == "untrained"))
    inputs = Measurement()
    for attribute in attributes:
        SITE_LEAKS.write(inputs, leak_record(attribute, 0), attribute.name, INPUT_SITE)
    return Facts(
        attributes=attributes,
        clusters_n=np.arange(n),
        people_n=np.arange(n),
        labels_n=np.arange(n) // 2 % 2,
        classes=("no", "yes"),
        followed={},
        sites=SITES,
        verdict_sites=tuple(verdict_sites),
        unprofiled=("head",),
        margins=Margins(),
        runs=tuple(runs),
        inputs=inputs,
        placebos={attribute.name: np.arange(n)[:, None] % 2 for attribute in attributes},
    )
