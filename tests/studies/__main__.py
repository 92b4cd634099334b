"""Run the long studies: ``python -m tests.studies decisions|coverage|worlds|models|tables``.

Every finished case is a line in ``tests/studies/results/<study>.jsonl``; a study that is stopped goes on where it was. ``tables`` writes
what the lines say into ``tests/studies/README.md`` and ``proxyaudit/docs/method.md``. To do a study anew, delete its file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import joblib

from proxyaudit.audits.selftest.run import audit_drawn, audit_planted_model, audit_world, model_tasks
from proxyaudit.planted import make_world
from proxyaudit.seeding import stream
from tests.studies import coverage, decisions
from tests.studies.tables import write_tables

RESULTS = Path(__file__).parent / "results"
Key = tuple[Any, ...]
LARGE = ("absent", "absent_continuous", "absent_multiclass", "absent")  # kinds that so many rows must show to be absent


def run(name: str, todo: Sequence[Key], case: Callable[..., dict[str, Any]], jobs: int | None) -> None:
    """Do the cases that are not done, and keep each as a line."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{name}.jsonl"
    done = {tuple(json.loads(line)["key"]) for line in file.read_text(encoding="utf-8").splitlines()} if file.exists() else set()
    left = [key for key in todo if key not in done]
    print(f"{name}: {len(todo) - len(left)} of {len(todo)} cases done", flush=True)  # noqa: T201
    calls = (joblib.delayed(_keyed)(case, key) for key in left)
    with file.open("a", encoding="utf-8") as out:
        for count, line in enumerate(joblib.Parallel(n_jobs=jobs or os.cpu_count(), return_as="generator", batch_size=1)(calls), start=1):
            out.write(json.dumps(line) + "\n")
            out.flush()
            if sys.stderr.isatty() or count % 50 == 0:
                print(f"\r{name}: {count} of {len(left)}", end="", file=sys.stderr, flush=True)  # noqa: T201


def _keyed(case: Callable[..., dict[str, Any]], key: Key) -> dict[str, Any]:
    return {"key": list(key), **case(*key)}


def _world(seed: int, part: str, index: int) -> dict[str, Any]:
    if part != "large":
        return asdict(audit_world(part, index, seed))
    rng = stream(seed, "worlds", part, index)
    kind = LARGE[index % len(LARGE)]
    return asdict(audit_drawn(make_world(kind, n=int(rng.integers(8000, 12001)), d=64, leak=0.0, rng=rng, rate=0.5), part, index))


def _model(kind: str, seed: int, n: int, checkpoints: int) -> dict[str, Any]:
    return asdict(audit_planted_model(kind, seed, n=n, checkpoints=checkpoints))


def parser() -> argparse.ArgumentParser:
    """The options of a study."""
    parser = argparse.ArgumentParser(prog="python -m tests.studies", description=__doc__)
    parser.add_argument("study", choices=("decisions", "coverage", "worlds", "models", "tables"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=None)
    parser.add_argument("--worlds", type=int, default=200, help="present and absent worlds each, half as many at the margin")
    parser.add_argument("--models", type=int, default=20, help="planted models of each kind")
    return parser


def main() -> None:
    """Do the study that was asked for and write the tables."""
    asked = parser().parse_args()
    seed = asked.seed
    if asked.study == "decisions":
        cases = [
            (seed, index, leak, case) for index, s in enumerate(decisions.SETTINGS) for case in range(s.cases) for leak in decisions.LEAKS
        ]
        run("decisions", cases, decisions.run_case, asked.jobs)
    elif asked.study == "coverage":
        single = [(seed, size, index) for size in range(len(coverage.SIZES)) for index in range(coverage.REPETITIONS)]
        run("coverage", single, coverage.run_single, asked.jobs)
        run("crossed", [(seed, index) for index in range(coverage.CROSSED_REPETITIONS)], coverage.run_crossed, asked.jobs)
    elif asked.study == "worlds":
        parts = [("present", asked.worlds), ("margin", asked.worlds // 2), ("absent", asked.worlds), ("large", asked.worlds // 10)]
        # Mixed, so that a study that is stopped early has seen all kinds.
        worlds = sorted(((seed, part, index) for part, count in parts for index in range(count)), key=lambda key: (key[2], key[1]))
        run("worlds", worlds, _world, asked.jobs)
    elif asked.study == "models":
        run("models", list(model_tasks(asked.models, quick=False, seed=seed)), _model, asked.jobs)
    write_tables(RESULTS)


if __name__ == "__main__":
    main()
