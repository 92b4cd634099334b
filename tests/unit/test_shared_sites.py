"""Sites of a frozen transformer are measured once: looked up or measured, the numbers are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proxyaudit.cache import Cache
from proxyaudit.channels.leak import measure
from proxyaudit.channels.leak.measure import measure_shared_site, measure_site
from proxyaudit.channels.leak.site_probe import ProbedArrays, Probing
from proxyaudit.data.attributes import Attribute
from proxyaudit.estimates.record import Measurement
from proxyaudit.probes.conditioning import make_strata
from proxyaudit.recipe.recipe import Margins
from proxyaudit.unfinished import SHARED, remember


def test_looked_up_or_measured_the_numbers_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2, 300)
    acts = (rng.standard_normal((300, 4)) + codes[:, None]).astype(np.float32)
    rows = ProbedArrays((Attribute("a", "protected", "binary", ("n", "y"), codes),), np.arange(300))
    placebos = {"a": rng.integers(0, 2, (300, 2))}
    quick = Probing(0, Margins(), 99, nonlinear=False)
    cache, asked = Cache(tmp_path / "cache", "run"), []
    monkeypatch.setattr(measure, "measure_site", lambda *a, **k: asked.append(k["site"]) or measure_site(*a, **k))

    def measured(values: Any = acts, site: str = "layer0", probing: Probing = quick, inputs: str = "i") -> Measurement:
        out = Measurement({"cells": {"a": {"before": {"n": 1}}}})
        found = lambda what, make: remember(cache, inputs, what, make)  # noqa: E731
        measure_shared_site(values, rows, probing, site=site, placebos=placebos, remember=found, out=out)
        return out

    plain = Measurement({"cells": {"a": {"before": {"n": 1}}}})
    measure_site(acts, rows, quick, site="layer0", placebos=placebos, out=plain)
    first, again = measured(), measured()
    assert asked == ["layer0"]
    for number, out in enumerate((plain, first, again)):
        (tmp_path / str(number)).mkdir()
        out.write(tmp_path / str(number))
        assert (tmp_path / str(number) / "numbers.json").read_bytes() == (tmp_path / "0" / "numbers.json").read_bytes()
        assert (tmp_path / str(number) / "arrays.safetensors").read_bytes() == (tmp_path / "0" / "arrays.safetensors").read_bytes()
    assert Measurement.read(tmp_path / "1").numbers == Measurement.read(tmp_path / "0").numbers
    measured(acts + 1), measured(site="layer1"), measured(probing=Probing(0, Margins(leak=0.1), 99, nonlinear=False)), measured(inputs="j")
    assert asked == ["layer0", "layer0", "layer1", "layer0", "layer0"]
    for file in (tmp_path / "cache" / SHARED).rglob("numbers.json"):
        file.write_text("{}")  # a damaged entry is not used
    measured()
    assert len(asked) == 6
    cache.forget(SHARED)
    assert not any((tmp_path / "cache" / SHARED).iterdir())
    with pytest.raises(ValueError, match="conditioned on"):
        measured(probing=Probing(0, Margins(), 99, strata={"a": make_strata([codes.astype(str)], codes, 2)}))
