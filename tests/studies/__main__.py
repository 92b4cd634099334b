"""Run the long studies: ``python -m tests.studies NAME``.

Names are decisions, coverage, crossed, looks, worlds, models, real, growth, training, kills, trees, sizes and tables.

Every finished case is a line in ``tests/studies/results/<study>.jsonl`` (of a real table, a line for each attribute and regime); a study
that is stopped goes on where it was, with the seed of its lines. ``tables`` writes what the lines say into ``tests/studies/README.md`` and
``proxyaudit/docs/method.md``. To do a study anew, delete its file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import joblib

from proxyaudit.audits.selftest.run import SEEDS_APART, audit_planted_model, model_tasks
from tests.studies import coverage, crossed, decisions, growth, kills, randomised, real, sizes, training, trees, worlds
from tests.studies.tables import write_tables

RESULTS = Path(__file__).parent / "results"
Key = tuple[Any, ...]
Line = dict[str, Any]


def run(name: str, todo: Sequence[Key], case: Callable[..., Line | list[Line]], jobs: int | None, most: int | None = None) -> None:
    """Do the cases that are not done, at most so many, and keep each as a line or several."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{name}.jsonl"
    done = {tuple(line["key"]) for line in read_lines(name)}
    left = [key for key in todo if key not in done]
    print(f"{name}: {len(todo) - len(left)} of {len(todo)} cases done", flush=True)  # noqa: T201
    left = left[:most]
    calls = (joblib.delayed(_keyed)(case, key) for key in left)
    with file.open("a", encoding="utf-8") as out:
        parallel = joblib.Parallel(n_jobs=jobs or os.cpu_count(), return_as="generator", batch_size=1)
        for count, lines in enumerate(parallel(calls), start=1):
            # In one go: a case that is stopped half-way leaves nothing.
            out.write("".join(json.dumps(line) + "\n" for line in lines))
            out.flush()
            if sys.stderr.isatty() or count % 50 == 0:
                print(f"\r{name}: {count} of {len(left)}", end="", file=sys.stderr, flush=True)  # noqa: T201


def read_lines(name: str) -> list[Line]:
    """What a study has found so far."""
    file = RESULTS / f"{name}.jsonl"
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def _keyed(case: Callable[..., Line | list[Line]], key: Key) -> list[Line]:
    started, found = time.process_time(), case(*key)
    if isinstance(found, dict):
        found = [{"processor_seconds": round(time.process_time() - started, 2), **found}]
    return [{"key": list(key), **line} for line in found]


def seed_of(name: str, asked: int | None) -> int:
    """The seed that was asked for, else that of the lines that are there, else one from the clock."""
    if asked is not None:
        return asked
    for line in reversed(read_lines(name)):
        first = line["key"][0]
        return int(first if isinstance(first, int) else line["key"][1] // SEEDS_APART)
    return int(time.time())


def _model(kind: str, seed: int, n: int, checkpoints: int) -> Line:
    return asdict(audit_planted_model(kind, seed, n=n, checkpoints=checkpoints))


def parser() -> argparse.ArgumentParser:
    """The options of a study."""
    parser = argparse.ArgumentParser(prog="python -m tests.studies", description=__doc__)
    parser.add_argument("study", choices=(*STUDIES, "tables"))
    parser.add_argument("--seed", type=int, default=None, help="of the lines that are there if not given, else from the clock")
    parser.add_argument("--jobs", type=int, default=None, help="processes; one for each core if not given, of real tables one")
    parser.add_argument("--most", type=int, default=None, help="do at most so many of the cases that are left")
    parser.add_argument("--worlds", type=int, default=200, help="present and absent worlds each, half as many at the margin")
    parser.add_argument("--models", type=int, default=20, help="planted models of each kind")
    parser.add_argument("--seeds", type=int, default=20, help="training worlds of each kind")
    parser.add_argument("--kills", type=int, default=200, help="runs that are killed at a random moment")
    parser.add_argument("--rounds", type=int, default=50, help="rounds of three identical runs at once")
    parser.add_argument("--disks", type=int, default=20, help="runs on a disk that is too small")
    tables = [table.name for table in real.BANK]
    parser.add_argument("--tables", nargs="+", choices=tables, default=tables, help="real tables")
    parser.add_argument("--rows", type=int, default=12_000, help="rows of each real table at most")
    parser.add_argument("--keep", type=Path, default=None, help="folder in which the runs of real tables are kept")
    return parser


def main() -> None:
    """Do the study that was asked for and write the tables."""
    asked = parser().parse_args()
    if asked.study != "tables":
        seed = seed_of(asked.study, asked.seed)
        STUDIES[asked.study](asked, seed)
    write_tables(RESULTS)


def _decisions(asked: argparse.Namespace, seed: int) -> None:
    cases = [(seed, index, leak, case) for index, s in enumerate(decisions.SETTINGS) for case in range(s.cases) for leak in decisions.LEAKS]
    run("decisions", cases, decisions.run_case, asked.jobs, asked.most)


def _coverage(asked: argparse.Namespace, seed: int) -> None:
    single = [(seed, size, index) for size in range(len(coverage.SIZES)) for index in range(coverage.REPETITIONS)]
    run("coverage", single, coverage.run_single, asked.jobs, asked.most)
    several = [(seed, index) for index in range(coverage.SEVERAL_REPETITIONS)]
    run("several", several, coverage.run_several, asked.jobs, asked.most)


def _crossed(asked: argparse.Namespace, seed: int) -> None:
    worlds = list(enumerate(crossed.WORLDS))
    most = max(one.blocks for _, one in worlds)
    cases = [(seed, world, block) for block in range(most) for world, one in worlds if block < one.blocks]
    run("crossed", cases, crossed.run_block, asked.jobs, asked.most)


def _looks(asked: argparse.Namespace, seed: int) -> None:
    cases = [(seed, world, block) for block in range(crossed.LOOK_BLOCKS) for world in range(len(crossed.LOOKS))]
    run("looks", cases, crossed.run_looks_block, asked.jobs, asked.most)


def _worlds(asked: argparse.Namespace, seed: int) -> None:
    run("worlds", worlds.tasks(seed, asked.worlds), worlds.run_case, asked.jobs, asked.most)


def _models(asked: argparse.Namespace, seed: int) -> None:
    run("models", list(model_tasks(asked.models, quick=False, seed=seed)), _model, asked.jobs, asked.most)


def _real(asked: argparse.Namespace, seed: int) -> None:
    at_hand = []
    for table in real.BANK:
        if table.name in asked.tables and (lacks := real.lacking(table)):
            print(f"{table.name}: skipped, {lacks}", flush=True)  # noqa: T201
        elif table.name in asked.tables:
            at_hand.append((seed, table.name, asked.rows))
    run("real", at_hand, partial(real.audit_table, out=asked.keep), asked.jobs or 1, asked.most)


def _training(asked: argparse.Namespace, seed: int) -> None:
    run("training", training.tasks(seed, asked.seeds), training.run_case, asked.jobs, asked.most)
    for kind, found in training.rates(read_lines("training")).items():
        print(f"{kind}: {', '.join(f'{name} {count}' for name, count in found.items())}", flush=True)  # noqa: T201


def _randomised(asked: argparse.Namespace, seed: int) -> None:
    tables = [name for name in randomised.TABLES if name in asked.tables]
    run("randomised", [(seed, name, asked.rows) for name in tables], randomised.run_case, asked.jobs or 1, asked.most)
    for line in randomised.table_of(read_lines("randomised")):
        print(", ".join(f"{name} {value}" for name, value in line.items()), flush=True)  # noqa: T201


def _growth(asked: argparse.Namespace, seed: int) -> None:
    cases = [(seed, axis, value) for axis, values in growth.AXES.items() for value in values]
    run("growth", cases, growth.run_case, asked.jobs or 1, asked.most)


def _kills(asked: argparse.Namespace, seed: int) -> None:
    counts = {"disk": asked.disks, "round": asked.rounds, "kill": -(-asked.kills // kills.KILLS_IN_A_ROW)}
    run(
        "kills",
        [(seed, kind, index) for kind, count in counts.items() for index in range(count)],
        kills.run_case,
        asked.jobs or 1,
        asked.most,
    )
    for kind, found in kills.outcomes(read_lines("kills")).items():
        print(f"{kind}: {', '.join(f'{name} {count}' for name, count in found.items())}", flush=True)  # noqa: T201


def _trees(asked: argparse.Namespace, seed: int) -> None:
    run("trees", [(seed, index) for index in range(asked.models)], trees.run_case, asked.jobs, asked.most)
    for kind, found in trees.outcomes(read_lines("trees")).items():
        print(f"{kind}: {', '.join(f'{name} {count}' for name, count in found.items())}", flush=True)  # noqa: T201


def _sizes(asked: argparse.Namespace, seed: int) -> None:
    run("sizes", [(seed, *case) for case in sizes.CASES], sizes.run_case, asked.jobs or 1, asked.most)
    for line in read_lines("sizes"):
        print(json.dumps({name: value for name, value in line.items() if name != "key"}), flush=True)  # noqa: T201


STUDIES: dict[str, Callable[[argparse.Namespace, int], None]] = {
    "decisions": _decisions,
    "coverage": _coverage,
    "crossed": _crossed,
    "looks": _looks,
    "worlds": _worlds,
    "models": _models,
    "real": _real,
    "growth": _growth,
    "training": _training,
    "randomised": _randomised,
    "kills": _kills,
    "trees": _trees,
    "sizes": _sizes,
}


if __name__ == "__main__":
    main()
