"""What a measuring task found, as files; and sites of a frozen transformer, measured once for all tasks that meet the same values."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from proxyaudit.channels.leak.measure import measure_site
from proxyaudit.channels.leak.questions import Probing
from proxyaudit.digests import digest_of
from proxyaudit.estimates.record import Measurement
from proxyaudit.pipeline.cache import Cache, code_digest
from proxyaudit.pipeline.plan import Prepared

__all__ = ["SHARED", "measure_shared_site", "read_measurement", "write_measurement"]

SHARED = "site"


def write_measurement(out: Measurement, folder: Path) -> None:
    """Write what a measuring task found."""
    (folder / "numbers.json").write_text(json.dumps(out.numbers, sort_keys=True, allow_nan=False), encoding="utf-8")
    save_file({name: np.ascontiguousarray(value) for name, value in out.arrays.items()}, folder / "arrays.safetensors")


def read_measurement(folder: Path) -> Measurement:
    """Read what a measuring task wrote."""
    numbers = json.loads((folder / "numbers.json").read_text(encoding="utf-8"))
    return Measurement(numbers, dict(load_file(folder / "arrays.safetensors")))


def measure_shared_site(
    acts_nd: NDArray[Any],
    prepared: Prepared,
    probing: Probing,
    *,
    site: str,
    placebos: dict[str, NDArray[Any]],
    inputs: str,
    cache: Cache,
    out: Measurement,
) -> None:
    """:func:`measure_site`, looked up where these very activations were measured before.

    A frozen transformer gives a text the same values in every repetition, and in every regime whose models meet the text as it is. The
    numbers are a function of the activations and of what the digest holds, so they are the same looked up or measured.

    Args:
        acts_nd: Activations of the audit rows, ``(n, d)``.
        prepared: The recipe and its data.
        probing: What to ask; without strata.
        site: Name of the site.
        placebos: Placebo labels, by attribute.
        inputs: Digest of the task that planted the placebos, which depends on data, attributes and code.
        cache: Where it is kept.
        out: Takes the numbers and arrays.
    """
    if probing.strata:
        raise ValueError("what is conditioned on belongs to a verdict site, which is never shared")
    asked = asdict(replace(probing, margins=None)) | {"margins": probing.margins.model_dump(), "strata": {}}  # type: ignore[arg-type]
    values = hashlib.sha256(np.ascontiguousarray(acts_nd).tobytes()).hexdigest()
    shape = [int(size) for size in acts_nd.shape]
    digest = digest_of({"code": code_digest(), "inputs": inputs, "probing": asked, "site": site, "values": values, "shape": shape})
    found: Measurement | None = None
    if cache.has(SHARED, digest):
        with contextlib.suppress(OSError):  # another task of the same moment may be putting it there
            found = read_measurement(cache.folder(SHARED, digest))
    if found is None:
        found = Measurement()
        measure_site(acts_nd, prepared.dataset, probing, site=site, placebos=placebos, out=found)
        if not cache.has(SHARED, digest):
            with contextlib.suppress(OSError):
                cache.commit(SHARED, digest, lambda folder: write_measurement(found, folder))
    for attribute, sites in found.numbers["cells"].items():
        out.numbers.setdefault("cells", {}).setdefault(attribute, {}).update(sites)
    out.arrays.update(found.arrays)
