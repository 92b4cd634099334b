"""How the processor time of a whole audit grows: rows, units, sites, attributes and repetitions, one at a time."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any, Final

import yaml

from proxyaudit.evidence.pack import read_pack
from proxyaudit.pipeline.cost import CORES
from proxyaudit.pipeline.run import run_audit

BASE: Final = {"rows": 4000, "units": 16, "sites": 2, "attributes": 1, "repetitions": 1}
AXES: Final = {
    "rows": (2000, 4000, 8000, 16000),
    "units": (8, 16, 32, 64),
    "sites": (1, 2, 4, 8),
    "attributes": (1, 2, 3, 4),
    "repetitions": (1, 2, 4, 8),
}
ATTRIBUTES: Final = ("sex", "age", "hours_per_week", "education_num")


def run_case(seed: int, axis: str, value: int) -> dict[str, Any]:
    """One audit of networks trained on real rows of Adult; seconds of the processor, preparation and report included."""
    size = {**BASE, axis: value}
    protected = list(ATTRIBUTES[: size["attributes"]])
    recipe = {
        "name": "growth",
        "data": {"card": "adult", "protected": protected, "exclude": protected, "proxies": [], "discover": 0, "max_rows": size["rows"]},
        "regimes": ["real"],
        "model": {"kind": "mlp", "hidden": [size["units"]] * size["sites"], "epochs": 4, "patience": None},
        "references": {"reweighed": False},
        "seeds": size["repetitions"],
        "seed": seed,
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
        start = time.process_time()
        result = run_audit(path, out=Path(folder) / "out", jobs=1, cache_root=Path(folder) / "cache")
        seconds = round(time.process_time() - start, 1)
        planned = 60 * CORES * read_pack(result.folder).plan["estimated_minutes"]
        return {"axis": axis, "value": value, "status": result.status, "seconds": seconds, "planned": round(planned, 1)}
