"""What several tasks measure alike is measured once: looked up or measured, the numbers are the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from proxyaudit.cache import Cache
from proxyaudit.estimates.record import Measurement
from proxyaudit.unfinished import SHARED, remember


def test_looked_up_or_measured_the_numbers_are_the_same(tmp_path: Path) -> None:
    cache, asked = Cache(tmp_path / "cache", "run"), []

    def measured(site: str = "layer0", inputs: str = "i", margin: float = 0.02) -> Measurement:
        def make() -> Measurement:
            asked.append(site)
            return Measurement({"leak": {site: 0.25}}, {f"rows {site}": np.arange(3.0)})

        return remember(cache, inputs, {"site": site, "margin": margin}, make)

    first, again = measured(), measured()
    assert asked == ["layer0"]
    assert first.numbers == again.numbers == {"leak": {"layer0": 0.25}}
    assert np.array_equal(first.arrays["rows layer0"], again.arrays["rows layer0"])
    measured(site="layer1"), measured(margin=0.1), measured(inputs="j")
    assert asked == ["layer0", "layer1", "layer0", "layer0"]
    for file in (tmp_path / "cache" / SHARED).rglob("numbers.json"):
        file.write_text("{}")  # a damaged entry is not used
    assert measured().numbers == first.numbers
    assert len(asked) == 5
    cache.forget(SHARED)
    assert not any((tmp_path / "cache" / SHARED).iterdir())
