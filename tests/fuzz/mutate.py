"""Changes of bytes, of texts, and of values inside documents: each a pure function of a generator and what it changes."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

WORDS = (
    "",
    " ",
    "sex",
    "real",
    "all",
    "null",
    "removed",
    "..",
    "/dev/zero",
    "../x",
    "\x00",
    "\u202e",
    "\ud800",
    "é" * 300,
    "a" * 5000,
    "{{x}}",
    "$&",
)
NUMBERS = (0, 1, -1, 2, 20, 101, 0.5, -0.5, 1e-320, 1e308, -1e308, 2**31, 2**63, 10**30, 5e-324, True, False)
SHAPES: tuple[Any, ...] = (None, [], {}, [[]], [None], {"": None}, {"a": {"a": {"a": []}}}, ["a", 1, None], [1] * 50)
TEXTS = (
    "&a [*a]",
    "!!python/object/apply:os.system ['true']",
    "? [a]\n: b",
    "<<: *a",
    "- - - -",
    "{" * 200,
    "[" * 3000,
    "\t",
    ": : :",
    "2024-13-45",
    "0x" + "f" * 400,
    "1" * 5000,
    "%YAML 9.9\n---",
    "---\n---",
    "\u2028",
    "\x85",
    "'",
    '"\\ud800"',
    "|\n  x",
    ".nan",
    "~",
)


def value(rng: random.Random) -> Any:
    """Something that nobody expects."""
    return copy.deepcopy(rng.choice([rng.choice(WORDS), rng.choice(NUMBERS), rng.choice(SHAPES), float(f"{rng.gauss(0, 1):.3g}")]))


def like(rng: random.Random, old: Any, others: list[Any]) -> Any:
    """Another value of the same kind: what a checker lets through more often."""
    if isinstance(old, bool):
        return not old
    if isinstance(old, int):
        return rng.choice([0, 1, 2, 3, 20, 40, old + 1, 2 * old, 1000, 10**6, 10**12])
    if isinstance(old, float):
        return rng.choice([0.0, 0.001, 0.5, 0.99, 1.0, -old, 2 * old, 1e-9, 1e9])
    return copy.deepcopy(rng.choice([other for other in others if type(other) is type(old)] or [value(rng)]))


def places(document: Any) -> list[tuple[Any, Any]]:
    """Every container of a document with each of its keys."""
    found, waiting = [], [document]
    while waiting:
        part = waiting.pop()
        keys = list(part) if isinstance(part, dict) else list(range(len(part))) if isinstance(part, list) else []
        found += [(part, key) for key in keys]
        waiting += [part[key] for key in keys]
    return found


def document(rng: random.Random, given: Any, most: int = 3) -> Any:
    """A document with some of its values replaced, dropped, doubled, swapped or renamed."""
    made = copy.deepcopy(given)
    for _ in range(rng.randint(1, most)):
        there = places(made)
        if not there:
            return value(rng)
        part, key = rng.choice(there)
        match rng.randrange(7):
            case 0:
                del part[key]
            case 1:
                other, another = rng.choice(there)
                part[key] = copy.deepcopy(
                    other.get(another) if isinstance(other, dict) else other[another] if another < len(other) else None
                )
            case 2 if isinstance(part, list):
                part.insert(key, copy.deepcopy(part[key]))
            case 3 if isinstance(part, dict):
                part[str(value(rng))] = part.pop(key)
            case 4 if isinstance(part[key], int | float):
                part[key] = rng.choice([-part[key], part[key] * 10, part[key] + 1, 1 - part[key], rng.choice(NUMBERS)])
            case 5 if isinstance(part, list):
                rng.shuffle(part)
            case _ if rng.random() < 0.6:
                part[key] = like(rng, part[key], [other[one] for other, one in there if not isinstance(other, list) or one < len(other)])
            case _:
                part[key] = value(rng)
    return made


def data(rng: random.Random, given: bytes) -> bytes:
    """Bytes with a few of them flipped, cut out, doubled or put in."""
    made = bytearray(given)
    for _ in range(rng.randint(1, 4)):
        at, size = rng.randrange(len(made) + 1), rng.choice([1, 1, 2, 8, 64, 1000])
        match rng.randrange(5):
            case 0:
                made[at : at + size] = rng.randbytes(size)
            case 1:
                del made[at : at + size]
            case 2:
                made[at:at] = made[at : at + size] * rng.randint(1, 3)
            case 3:
                made[at:at] = rng.choice(TEXTS).encode("utf-8", "surrogatepass")
            case _:
                made = made[:at]
    return bytes(made)


def text(rng: random.Random, given: str) -> str:
    """A text with lines dropped, doubled, moved, or with something strange put in."""
    lines = given.splitlines(keepends=True)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(lines) + 1)
        match rng.randrange(5):
            case 0:
                del lines[at : at + 1]
            case 1:
                lines[at:at] = lines[at : at + 1]
            case 2:
                rng.shuffle(lines)
            case 3 if at < len(lines):
                line = lines[at]
                where = rng.randrange(len(line) + 1)
                lines[at] = line[:where] + rng.choice([*TEXTS, *WORDS, json.dumps(value(rng))]) + line[where:]
            case _:
                lines.insert(at, rng.choice(TEXTS) + "\n")
    return "".join(lines)
