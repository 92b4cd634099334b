"""Write or check the frozen documents: ``python -m tests.golden.freeze [--check | --words] [CASE ...]``.

Without an option they are written anew. ``--check`` compares exactly and prints the first differences; ``--words`` writes words anew and
refuses where a number or a state differs. Processors of other kinds train other weights: ``--processor`` freezes theirs beside.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.golden.cases import CASES
from tests.golden.comparing import (
    ACROSS_PROCESSORS,
    EXACT,
    decisions_apart,
    frozen_path,
    masked,
    read_frozen,
    renumbered,
    reworded,
    words_apart,
    write_frozen,
)

SHOWN = 12


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def made(name: str) -> Any:
    """Masked documents of a case, made in a folder of its own; prints what it took."""
    wall, processor = time.monotonic(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PROXYAUDIT_CACHE"] = str(Path(folder) / "cache")
        documents = masked(CASES[name](Path(folder)))
    say(f"{name}: {time.process_time() - processor:.1f} s of processor time, {time.monotonic() - wall:.1f} s by the clock")
    return documents


def treat(name: str, *, check: bool, words: bool, processor: str) -> bool:
    """Freeze or check one case; False if it differs from what is frozen where it must not."""
    documents = renumbered(made(name))
    if not check and not words:
        write_frozen(name, documents, processor)
        return True
    frozen = renumbered(read_frozen(name, processor))
    lines = decisions_apart(frozen, documents, EXACT if check else ACROSS_PROCESSORS)
    if check:
        lines += words_apart(frozen, documents, exact=True)
    if lines:
        shown = "\n  ".join(lines[:SHOWN])
        say(f"{name}: {len(lines)} differences\n  {shown}" + ("\n  ..." if len(lines) > SHOWN else ""))
        return False
    if words:
        changed = words_apart(frozen, documents, exact=True)
        write_frozen(name, reworded(frozen, documents), processor)
        say(f"{name}: {len(changed)} texts written anew")
    return True


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"default: all of {', '.join(CASES)}")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--check", action="store_true", help="compare exactly; write nothing")
    which.add_argument("--words", action="store_true", help="write words anew; refuse where numbers or states differ")
    parser.add_argument("--processor", default="", help="the kind of processor, beside the first one, that these are of: amd")
    given = parser.parse_args()
    unknown = sorted(set(given.cases) - set(CASES))
    if unknown:
        parser.error(f"no case {unknown[0]!r}; there are {', '.join(CASES)}")
    sound = [treat(name, check=given.check, words=given.words, processor=given.processor) for name in given.cases or CASES]
    size = sum(frozen_path(name).stat().st_size for name in CASES if frozen_path(name).is_file())
    say(f"frozen documents: {size / 1000:.0f} kB")
    return 0 if all(sound) else 1


if __name__ == "__main__":
    sys.exit(main())
