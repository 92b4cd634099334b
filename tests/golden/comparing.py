"""Comparison of a document with its frozen copy: numbers and decisions apart from words, names of code and runs masked.

A field that the frozen copy lacks is ignored, so that documents may grow; a field that it has must be there.
"""

from __future__ import annotations

import json
import lzma
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FROZEN = Path(__file__).parent / "frozen"
WORDS = frozenset({"sentence", "would_settle", "detail", "method", "reason", "context"})
PROSE = frozenset({"not_tested", "remains"})  # wholly words, however many lines they have
MASKED = frozenset({"versions", "schema_version", "mitigation_version", "folder", "audit_folder", "report"})
_DIGEST = re.compile(r"\b[0-9a-f]{12}(?:[0-9a-f]{52})?\b")
_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
_MASK = "(masked)"


@dataclass(frozen=True)
class Tolerance:
    """How far numbers may lie apart. Processors round differently; on one machine nothing differs at all."""

    relative: float = 0.0
    absolute: float = 0.0

    def same(self, wanted: float, found: float) -> bool:
        """Whether two numbers are equal within the larger of both tolerances."""
        return abs(wanted - found) <= max(self.relative * abs(wanted), self.absolute)


EXACT = Tolerance()
ACROSS_PROCESSORS = Tolerance(relative=1e-4, absolute=1e-6)


def frozen_path(name: str, processor: str = "") -> Path:
    """File of a frozen case; ``processor`` names a kind that trains other weights than the first one did."""
    return FROZEN / f"{name}{'.' if processor else ''}{processor}.json.xz"


def read_frozen(name: str, processor: str = "") -> Any:
    """The frozen documents of a case."""
    return json.loads(lzma.decompress(frozen_path(name, processor).read_bytes()))


def read_nearest(name: str, made: Any) -> Any:
    """Of the frozen documents of a case, one for each kind of processor, those that what was made here equals, or comes nearest to."""
    kinds = ["", *(path.name.split(".")[1] for path in sorted(FROZEN.glob(f"{name}.*.json.xz")))]
    every = [renumbered(read_frozen(name, kind)) for kind in kinds]
    return min(every, key=lambda one: len(decisions_apart(one, made, ACROSS_PROCESSORS)) + len(words_apart(one, made)))


def write_frozen(name: str, documents: Any, processor: str = "") -> None:
    """Freeze documents that are masked already: canonical JSON, compressed."""
    text = json.dumps(documents, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    FROZEN.mkdir(exist_ok=True)
    frozen_path(name, processor).write_bytes(lzma.compress(text.encode("utf-8"), preset=9 | lzma.PRESET_EXTREME))


def masked(node: Any) -> Any:
    """A document without what names code, versions and places: two runs of two programs that find the same are then equal."""
    if isinstance(node, dict):
        return {key: _MASK if key in MASKED else masked(value) for key, value in node.items()}
    if isinstance(node, list):
        return [masked(value) for value in node]
    return _DIGEST.sub(_MASK, node) if isinstance(node, str) else node


def decisions_apart(wanted: Any, found: Any, tolerance: Tolerance, at: str = "") -> list[str]:
    """Differences in everything but words: fields, ids, states, verdicts, numbers."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        lines = [f"{at}.{key}: gone" for key in wanted if key not in found]
        kept = [key for key in wanted if key in found and key not in WORDS | PROSE]
        return lines + [line for key in kept for line in decisions_apart(wanted[key], found[key], tolerance, f"{at}.{key}")]
    if isinstance(wanted, list) and isinstance(found, list):
        if len(wanted) != len(found):
            return [f"{at}: {len(found)} entries, {len(wanted)} wanted"]
        pairs = enumerate(zip(wanted, found, strict=True))
        return [line for i, (one, other) in pairs for line in decisions_apart(one, other, tolerance, f"{at}[{i}]")]
    same = tolerance.same(wanted, found) if _is_number(wanted) and _is_number(found) else type(wanted) is type(found) and wanted == found
    return [] if same else [f"{at}: {_short(found)}, {_short(wanted)} wanted"]


def words_apart(wanted: Any, found: Any, *, exact: bool = False, at: str = "") -> list[str]:
    """Differences in words alone; a number inside them may differ by one in its last place, unless ``exact``."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        lines = []
        for key in wanted.keys() & found.keys():
            apart = _texts_apart if key in WORDS | PROSE else words_apart
            lines += apart(wanted[key], found[key], exact=exact, at=f"{at}.{key}")
        return sorted(lines)
    if isinstance(wanted, list) and isinstance(found, list):
        pairs = enumerate(zip(wanted, found, strict=False))
        return [line for i, (one, other) in pairs for line in words_apart(one, other, exact=exact, at=f"{at}[{i}]")]
    return []


def reworded(frozen: Any, found: Any) -> Any:
    """The frozen document with the words of another one that decides the same."""
    if isinstance(frozen, dict) and isinstance(found, dict):
        return {key: found[key] if key in WORDS | PROSE else reworded(value, found[key]) for key, value in frozen.items()}
    if isinstance(frozen, list) and isinstance(found, list):
        return [reworded(one, other) for one, other in zip(frozen, found, strict=True)]
    return frozen


def _texts_apart(wanted: Any, found: Any, *, exact: bool, at: str) -> list[str]:
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        pairs = enumerate(zip(wanted, found, strict=True))
        return [line for i, (one, other) in pairs for line in _texts_apart(one, other, exact=exact, at=f"{at}[{i}]")]
    if isinstance(wanted, dict) and isinstance(found, dict):
        lines = [f"{at}.{key}: gone" for key in wanted if key not in found]
        kept = [key for key in wanted if key in found]
        return lines + [line for key in kept for line in _texts_apart(wanted[key], found[key], exact=exact, at=f"{at}.{key}")]
    both = isinstance(wanted, str) and isinstance(found, str)
    same = wanted == found or (both and not exact and _same_but_for_rounding(wanted, found))
    return [] if same else [f"{at}: {_short(found)}\n    wanted: {_short(wanted)}"]


def _same_but_for_rounding(wanted: str, found: str) -> bool:
    if _NUMBER.sub("#", wanted) != _NUMBER.sub("#", found):
        return False
    for one, other in zip(_NUMBER.findall(wanted), _NUMBER.findall(found), strict=True):
        places = len(one.partition(".")[2])
        if one != other and (not places or round(abs(_value(one) - _value(other)) * 10**places) > 1):
            return False
    return True


def _value(number: str) -> float:
    return float(number.replace(",", ""))


def _is_number(node: Any) -> bool:
    return isinstance(node, int | float) and not isinstance(node, bool)


def _short(node: Any) -> str:
    text = json.dumps(node, ensure_ascii=False)
    return text if len(text) <= 300 else f"{text[:300]}…"


_PLACE = {
    "estimates": ("channel", "attribute", "regime", "site", "unit", "value", "low", "high", "raw", "n", "group", "context"),
    "controls": ("kind", "channel", "attribute", "regime", "site", "detail"),
    "channels": ("attribute", "channel", "site", "context"),
}


def renumbered(documents: Any) -> Any:
    """Documents with estimates and controls in an order of their own, and ids by that order: what a number is called is no matter.

    A document without estimates speaks of those of the document ``evidence`` beside it.
    """
    names: dict[str, dict[str, str]] = {key: {} for key in documents}
    ordered = {key: _ordered(document, names[key]) for key, document in documents.items()}
    return {key: _renamed(document, names[key] or names.get("evidence", {})) for key, document in ordered.items()}


def _ordered(document: Any, names: dict[str, str]) -> Any:
    if not isinstance(document, dict):
        return document
    kept = dict(document)
    for key, fields in _PLACE.items():
        if key in kept:
            kept[key] = sorted(kept[key], key=lambda entry: json.dumps([entry.get(field) for field in fields]))
            if "id" in (kept[key] or [{}])[0]:
                names |= {entry["id"]: f"{key[0].upper()}{place + 1}" for place, entry in enumerate(kept[key])}
    return kept


def _renamed(node: Any, names: dict[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _renamed(value, names) for key, value in node.items()}
    if isinstance(node, list):
        ids = bool(node) and all(isinstance(one, str) and one in names for one in node)
        items = [_renamed(value, names) for value in node]
        return sorted(items, key=lambda name: (name[0], int(name[1:]))) if ids else items
    return names.get(node, node) if isinstance(node, str) else node
