"""Reading plans and recipes of packs: a pack of another version may lack anything, or hold it in another form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def mapping(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The mapping under a key; empty where there is none."""
    value = document.get(key)
    return value if isinstance(value, Mapping) else {}


def listed(document: Mapping[str, Any], key: str) -> list[Any]:
    """The list under a key; empty where there is none."""
    value = document.get(key)
    return list(value) if isinstance(value, list | tuple) else []


def entries(document: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """The mappings of a list under a key."""
    return [entry for entry in listed(document, key) if isinstance(entry, Mapping)]


def margins_of(plan: Mapping[str, Any]) -> dict[str, float]:
    """The margins that are numbers."""
    return {str(key): float(value) for key, value in mapping(plan, "margins").items() if isinstance(value, int | float)}


def sites_of(plan: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    """The ``verdict`` sites or those of the ``profile``."""
    return tuple(str(site) for site in listed(mapping(plan, "sites"), kind))


def has_kind(plan: Mapping[str, Any], kind: str) -> bool:
    """Whether a regime is of this kind: ``activations`` are bare, ``prompts`` were asked."""
    return any(entry.get("kind") == kind for entry in entries(plan, "regimes"))
