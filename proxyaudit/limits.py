"""Limits on what is read from others: sizes, depth, aliases, expansion and time, all in one place; the guide to limits has the table.

``--limits FACTOR`` of the command line, or the variable that it stands for, raises all of them together.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Final

VARIABLE: Final = "PROXYAUDIT_LIMITS"  # the factor
MOST_TIMES: Final = 1_000_000.0  # by which limits can be raised: beyond that no number of bytes is one
_KB, _MB, _GB = 2**10, 2**20, 2**30
# Bytes of a file, by what it holds.
MOST_YAML, MOST_JSON, MOST_ARRAYS, MOST_PAGE, MOST_POLICY = 4 * _MB, 48 * _MB, 512 * _MB, 64 * _MB, 64 * _KB
MOST_KEY, MOST_STAMP, MOST_SEAL, MOST_CONFIG = 64 * _KB, 256 * _KB, 2 * _MB, _MB
MOST_TABLE, MOST_TREES, MOST_UNPACKED = 4096 * _MB, _GB, 4 * _GB  # of a table and of a packed model once they are expanded
EXPANDED: Final = 500  # times its own size that a table may expand to, where that is more than the limit of tables
# Values of a document once aliases are written out, and levels; levels of a tree's file, trees times leaves; signatures.
MOST_VALUES, DEEPEST, DEEPEST_TREES, MOST_LEAVES, MOST_ENVELOPES = 100_000, 100, 64, 5_000_000, 64
MOST_BITS: Final = 64  # of a whole number: more than nothing can count with, so that nothing raises it
# Seconds: of a pattern for one text, for many texts and for each of them; of code that makes a model.
SPAN_SECONDS, SPANS_SECONDS, SPAN_EACH, CODE_SECONDS = 2.0, 20.0, 0.01, 300.0


def at_most(limit: float) -> int:
    """A limit times the factor of ``PROXYAUDIT_LIMITS``, where that is a number above one.

    >>> at_most(64.0)
    64
    """
    return int(limit * _factor())


def seconds(limit: float) -> float:
    """The same of a time."""
    return limit * _factor()


def how_to_raise(times: int = 10) -> str:
    """What a message says of how a limit is raised."""
    return f"--limits {times} (or {VARIABLE}={times}) raises that"


@contextlib.contextmanager
def raised(times: float) -> Iterator[None]:
    """Raise every limit so many times for a while, in processes that are started meanwhile too."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = repr(times)
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def _factor() -> float:
    try:
        given = float(os.environ.get(VARIABLE) or 1)
    except ValueError:
        return 1.0
    return min(max(given, 1.0), MOST_TIMES) if given == given else 1.0  # what is no number is not equal to itself
