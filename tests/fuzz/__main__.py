"""Fuzz the command line: ``python -m tests.fuzz --minutes 15 [--seed S] [--case K] [--kind KIND]``, where a kind is one of ``CASES``.

A case is a pure function of seed and number. What fails is printed with both: a traceback, exit code 5 (a fault of ours), a message of
more than one line, or more than ten seconds of the processor.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from tests.fuzz.cases import CASES, Seeds
from tests.fuzz.run import one_case


def main() -> int:
    """Run cases until the time is over; 1 if any failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--case", type=int, help="this case alone, with its whole output")
    parser.add_argument("--kind", choices=sorted(CASES))
    asked = parser.parse_args()
    counts: Counter[str] = Counter()
    failed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        seeds, began, number = Seeds.make(Path(place)), time.monotonic(), asked.case or 0
        while time.monotonic() - began < 60 * asked.minutes:
            found = one_case(seeds, asked.seed, number, Path(place), asked.kind)
            counts[f"{found.kind} {found.code}"] += 1
            if found.fault or asked.case is not None:
                line = (
                    f"seed {asked.seed} case {number} ({found.kind}): {found.fault or 'no fault'}: {' '.join(found.command)}\n{found.told}"
                )
                print(line, flush=True)  # noqa: T201
            if found.fault:
                failed.append(f"{number} ({found.kind}: {found.fault})")
            if asked.case is not None:
                break
            number += 1
    told = ", ".join(f"{name}: {count}" for name, count in sorted(counts.items()))
    print(f"seed {asked.seed}: {sum(counts.values())} cases, {len(failed)} failed; by kind and exit code: {told}")  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
