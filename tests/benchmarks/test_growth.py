"""How the time of one site grows with rows, dimensions and attributes, and an estimate of a big probe."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest

from proxyaudit.channels.leak.measure import measure_site
from proxyaudit.channels.leak.record import SITE_LEAKS
from proxyaudit.channels.leak.site_probe import Probing
from proxyaudit.data.attributes import Attribute
from proxyaudit.estimates.record import Measurement
from proxyaudit.probes.flexible import READERS
from proxyaudit.recipe.recipe import Margins

pytestmark = [pytest.mark.study, pytest.mark.timeout(1800)]

AXES = {
    "n": [(n, 64, 1) for n in (1000, 2000, 4000, 8000)],
    "d": [(4000, d, 1) for d in (32, 64, 128, 256, 384)],
    "attributes": [(2000, 64, a) for a in (1, 2, 3, 4)],
}
ROUNDS = 2
BIG_ROWS, BIG_D, BIG_SITES, BIG_JOBS, BIG_TARGET_S = 10_000, 768, 13, 2, 600


def _measure(acts: Any, rows: Any, *, nonlinear: bool, readers: tuple[str, ...]) -> tuple[float, Measurement]:
    out = Measurement()
    probing = Probing(0, Margins(), 999, nonlinear=nonlinear, readers=readers)
    start = time.perf_counter()
    measure_site(acts, rows, probing, site="site", placebos={}, out=out)
    return time.perf_counter() - start, out


@pytest.mark.parametrize("nonlinear", [False, True], ids=["linear", "linear and quadratic"])
@pytest.mark.parametrize("axis", list(AXES))
def test_growth(axis: str, nonlinear: bool, activations: Any, rows: Any, threads: Any, benchmark: Any, say: Any) -> None:
    sizes = AXES[axis]
    seconds: dict[tuple[int, int, int], list[float]] = {size: [] for size in sizes}
    inputs = {(n, d, a): (acts := activations(n, d), rows(acts, a)) for n, d, a in sizes}

    def sweep() -> None:
        for size in sizes:
            seconds[size].append(_measure(*inputs[size], nonlinear=nonlinear, readers=("quadratic",))[0])

    with threads(1):
        _measure(*inputs[sizes[0]], nonlinear=nonlinear, readers=("quadratic",))
        benchmark.pedantic(sweep, rounds=ROUNDS)
    least = np.array([min(seconds[size]) for size in sizes])
    along = np.array([size[list(AXES).index(axis)] for size in sizes], dtype=float)
    exponent = float(np.polyfit(np.log(along), np.log(least), 1)[0])
    last = float(np.log(least[-1] / least[-2]) / np.log(along[-1] / along[-2]))
    shown = ", ".join(f"{int(value)}: {t:.2f}" for value, t in zip(along, least, strict=True))
    say(
        f"time of one site ({'linear and quadratic' if nonlinear else 'linear'}, 1 thread) grows with {axis} ** {exponent:.2f} "
        f"(last step {last:.2f}); seconds at {shown}",
        exponent=exponent,
        last_step=last,
        seconds=least.tolist(),
    )
    # Pairs of rows at most (the kernel of the quadratic test), an eigendecomposition at most, and one attribute like another.
    assert last < {"n": 2.4 if nonlinear else 1.6, "d": 3.0, "attributes": 1.5}[axis]


def test_big_probe(activations: Any, rows: Any, threads: Any, benchmark: Any, say: Any) -> None:
    """One site of the size that the command is meant for: two attributes with two classes and one with four, all readers."""
    acts = activations(BIG_ROWS, BIG_D)
    planned = rows(acts, 2)
    rng = np.random.default_rng(0)
    third = Attribute("a4", "protected", "multiclass", tuple("wxyz"), rng.choice(4, BIG_ROWS, p=[0.5, 0.25, 0.15, 0.1]).astype(np.int64))
    planned = type(planned)((*planned.attributes, third), planned.clusters)
    found: list[tuple[float, Measurement]] = []
    with threads(1):
        benchmark.pedantic(lambda: found.append(_measure(acts, planned, nonlinear=True, readers=READERS)), rounds=1)
    seconds, out = found[0]
    tests = {attribute.name: SITE_LEAKS.read(out, attribute.name, "site").tests["nonlinear"] for attribute in planned.attributes}
    skipped = {name: [reader.name for reader in test.readers if reader.skipped] for name, test in tests.items()}
    used = {name: test.rows or 0 for name, test in tests.items()}
    whole = math.ceil(BIG_SITES / BIG_JOBS) * seconds
    say(
        f"probe, one site of {BIG_ROWS} x {BIG_D}, 3 attributes (2, 2 and 4 classes), all readers, 1 thread: {seconds:.1f} s; "
        f"{BIG_SITES} sites on {BIG_JOBS} processes: about {whole / 60:.1f} min (wanted: {BIG_TARGET_S / 60:.0f}); "
        f"rows of the quadratic test {used}, readers skipped {skipped}",
        seconds=seconds,
        estimated_minutes=whole / 60,
    )
    assert min(used.values()) >= 2000
    assert not any(skipped.values())
