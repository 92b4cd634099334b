"""What is larger than memory: stored activations that are probed and tables that are planned, measured from outside the process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from proxyaudit.activations.layouts import find_layout

# What, rows, dimensions or columns, and sites or files: the activations are 4 GB in half precision.
CASES: Final = (("activations", 488_000, 2048, 2), ("parquet", 30_000_000, 20, 30), ("csv", 3_000_000, 12, 1))
_AT_ONCE: Final = 4000
# What a child took, as it says itself: the system counts the memory of whoever started it as the child's.
_CHILD: Final = """
import sys, time
from proxyaudit.cli.main import main
code = main(sys.argv[1:])
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(peak, time.process_time(), file=sys.stderr)
sys.exit(code)
"""
_WHITENED: Final = 4  # every so many-th row is whitened, and its time counted so many times


def run_case(seed: int, what: str, rows: int, width: int, count: int) -> dict[str, Any]:
    """Seconds and the largest memory of one command."""
    with tempfile.TemporaryDirectory() as folder:
        return {"activations": _activations, "parquet": _table, "csv": _table}[what](Path(folder), seed, rows, width, count)


def measured(arguments: list[str]) -> tuple[tuple[float, float], float, str]:
    """Seconds of the clock and of the processor, gigabytes at most and what it printed, of a command of one thread."""
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as said:
        done = subprocess.run([sys.executable, "-c", _CHILD, *arguments], env=os.environ | one_thread, stdout=out, stderr=said, check=False)
        seconds = time.perf_counter() - start
        out.seek(0)
        said.seek(0)
        lines = said.read().splitlines()
        if done.returncode:
            raise RuntimeError(" ".join(lines[-20:]))
        kilobytes, processor = lines[-1].split()
        return (seconds, float(processor)), int(kilobytes) * 1024 / 1e9, out.read()


def _activations(folder: Path, seed: int, rows: int, width: int, sites: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    sex = rng.integers(0, 2, rows)
    (folder / "acts").mkdir()
    mixing = rng.normal(size=(64, width)).astype(np.float32)
    for site in range(sites):
        mapped = np.lib.format.open_memmap(folder / "acts" / f"layer{site}.npy", "w+", np.float16, (rows, width))
        for start in range(0, rows, _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            values = rng.standard_normal((len(sex[part]), width), dtype=np.float32)
            values += rng.standard_normal((len(values), 64), dtype=np.float32) @ mixing
            values[:, site] += 0.5 * sex[part]
            mapped[part] = values
        mapped.flush()
        del mapped
    pd.DataFrame({"sex": np.where(sex == 1, "f", "m")}).to_csv(folder / "labels.csv", index=False)
    stored = find_layout(folder / "acts", rows).sites
    start = time.perf_counter()
    for site in stored.values():
        for part in range(0, rows, _AT_ONCE):
            site.parts[0].read(slice(part, part + _AT_ONCE)).sum()
    reading = time.perf_counter() - start
    whitening = _whiten_once(stored["layer0"], rows, width) * sites
    given = ["probe", "--activations", f"real={folder / 'acts'}", "--labels", str(folder / "labels.csv"), "--attribute", "sex"]
    seconds, gigabytes, _ = measured([*given, "--cache", str(folder / "cache"), "--out", str(folder / "out"), "--jobs", "2"])
    size = {"rows": rows, "dimensions": width, "sites": sites, "gigabytes_on_disk": round(2 * rows * width * sites / 1e9, 1)}
    times = {"reading": round(reading), "whitening": round(whitening), "probe": round(seconds[0]), "probe_processor": round(seconds[1])}
    return {**size, **times, "memory": round(gigabytes, 2)}


def _whiten_once(site: Any, rows: int, width: int) -> float:
    """Seconds of an exact whitening in double precision, a block at a time: one pass for the covariance, one for the coordinates."""
    begun = time.perf_counter()
    total, products = np.zeros(width), np.zeros((width, width))
    for start in range(0, rows // _WHITENED, _AT_ONCE):
        x = site.parts[0].read(slice(start, start + _AT_ONCE)).astype(np.float64)
        total += x.sum(axis=0)
        products += x.T @ x
    seen = rows // _WHITENED
    mean, turning = total / seen, time.perf_counter()
    values, vectors = np.linalg.eigh(products / seen - np.outer(mean, mean))
    axes = vectors / np.sqrt(np.maximum(values, 1e-12))
    once = time.perf_counter() - turning
    for start in range(0, rows // _WHITENED, _AT_ONCE):
        (site.parts[0].read(slice(start, start + _AT_ONCE)) - mean) @ axes
    return once + _WHITENED * (time.perf_counter() - begun - once)


def people(rng: np.random.Generator, rows: int, columns: int) -> pd.DataFrame:
    """Rows of a made-up table, half of its columns categories."""
    sex = rng.integers(0, 2, rows)
    found = {"sex": np.where(sex == 1, "f", "m"), "race": rng.choice(["a", "b", "c", "rare"], rows, p=[0.7, 0.2, 0.0999, 0.0001])}
    for place in range((columns - 3) // 2):
        found[f"kind{place}"] = rng.choice([f"level {level}" for level in range(5 + 10 * place)], rows)
    for place in range(columns - len(found) - 1):
        found[f"number{place}"] = rng.integers(0, 100, rows) if place % 2 else rng.normal(size=rows).round(4)
    return pd.DataFrame({**found, "approved": (rng.random(rows) < 0.4 + 0.2 * sex).astype(int)})


def _table(folder: Path, seed: int, rows: int, columns: int, files: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    path = folder / ("rows" if files > 1 else "rows.csv")
    for place in range(files):
        if files > 1:
            path.mkdir(exist_ok=True)
            people(rng, rows // files, columns).to_parquet(path / f"part-{place}.parquet", index=False)
        else:
            people(rng, rows, columns).to_csv(path, index=False)
    recipe = {"name": "t", "data": {"path": str(path), "target": "approved", "protected": ["sex", "race"]}, "regimes": ["real"]}
    (folder / "recipe.json").write_text(json.dumps({**recipe, "model": {"kind": "mlp"}}), encoding="utf-8")
    seconds, gigabytes, said = measured(["plan", str(folder / "recipe.json"), "--json"])
    note = next(one["why"] for one in json.loads(said)["notes"] if "fit into memory" in one["what"])
    stored = sum(one.stat().st_size for one in (path.iterdir() if path.is_dir() else [path]))
    found = {"rows": rows, "columns": columns, "files": files, "gigabytes_on_disk": round(stored / 1e9, 2)}
    return {**found, "plan": round(seconds[0]), "plan_processor": round(seconds[1]), "memory": round(gigabytes, 2), "sample": note}
