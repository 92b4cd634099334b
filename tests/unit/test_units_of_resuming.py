"""A task that is interrupted over and over ends all the same: what was measured of an attribute at a site is never measured again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import proxyaudit.unfinished
from proxyaudit.cache import Cache
from proxyaudit.channels.leak.measure import measure_site
from proxyaudit.channels.leak.record import SITE_LEAKS
from proxyaudit.channels.leak.site_probe import ProbedArrays, Probing, SiteProbe
from proxyaudit.data.attributes import Attribute
from proxyaudit.estimates.record import Measurement
from proxyaudit.recipe.recipe import Margins
from proxyaudit.unfinished import Unfinished

N, SITES, DIGEST = 240, ("hidden1", "penultimate"), "e" * 64
RNG = np.random.default_rng(0)
ACTS = {site: RNG.normal(size=(N, 3)) for site in SITES}
NAMES = ("sex", "race", "age")
ROWS = ProbedArrays(tuple(Attribute(name, "protected", "binary", ("n", "y"), RNG.integers(0, 2, N)) for name in NAMES), np.arange(N))
PROBING = Probing(0, Margins(), 99, nonlinear=False)
PAIRS = len(SITES) * len(NAMES)


def task(out: Measurement) -> Measurement:
    for site in SITES:
        measure_site(ACTS[site], ROWS, PROBING, site=site, placebos={}, out=out)
    return out


@pytest.mark.parametrize("each", [1, 2, 4])
def test_a_task_that_is_interrupted_after_so_many_answers_ends(each: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxyaudit.unfinished, "_EVERY", 0.0)
    undisturbed, measure, begun = task(Measurement()), SiteProbe.measure, Counter[int]()
    turn = 0

    def interrupted(probe: SiteProbe, *given: object) -> object:
        if begun[turn] == each:
            raise KeyboardInterrupt
        begun[turn] += 1
        return measure(probe, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(SiteProbe, "measure", interrupted)
    while turn < 20:
        unfinished = Unfinished(Cache(tmp_path), DIGEST)
        assert sum(SITE_LEAKS.find(unfinished.out, name, site) is not None for name in NAMES for site in SITES) == each * turn
        try:
            task(unfinished.out)
            break
        except KeyboardInterrupt:
            turn += 1
    assert begun.total() == PAIRS  # nothing twice
    assert turn == (PAIRS - 1) // each
    assert unfinished.out.numbers == undisturbed.numbers
    assert {name: found.tobytes() for name, found in unfinished.out.arrays.items()} == {
        name: found.tobytes() for name, found in undisturbed.arrays.items()
    }
