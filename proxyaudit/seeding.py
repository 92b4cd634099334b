"""Randomness: one root seed, one independent stream per path, and no global generator."""

from __future__ import annotations

import hashlib

import numpy as np

PathPart = str | int | float


def _entropy(root: int, path: tuple[PathPart, ...]) -> list[int]:
    # repr() keeps 1 and "1" apart; the separator cannot occur in a repr.
    text = "\x1f".join([repr(int(root)), *(repr(part) for part in path)])
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return [int.from_bytes(digest[i : i + 4], "little") for i in range(0, 32, 4)]


def stream(root: int, *path: PathPart) -> np.random.Generator:
    """Return the generator that belongs to ``path`` under ``root``.

    The same root and path give the same numbers in any process, in any order of calls and for any number of workers.

    >>> float(stream(0, "a").random()) == float(stream(0, "a").random())
    True
    >>> float(stream(0, "a").random()) == float(stream(0, "b").random())
    False
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(_entropy(root, path))))


def integer_seed(root: int, *path: PathPart) -> int:
    """Return a 31-bit seed for libraries that take an integer (torch, SDV)."""
    return int(stream(root, *path).integers(0, 2**31 - 1))
