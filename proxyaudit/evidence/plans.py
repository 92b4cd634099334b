"""Reading plans and recipes of packs: a pack of another version may lack anything, or hold it in another form."""

from collections.abc import Mapping
from typing import Any

from proxyaudit.estimates.scope import entries, listed, mapping, names

__all__ = ["entries", "has_kind", "listed", "mapping", "margins_of", "sites_of"]


def margins_of(plan: Mapping[str, Any]) -> dict[str, float]:
    """The margins that are numbers."""
    return {str(key): float(value) for key, value in mapping(plan, "margins").items() if isinstance(value, int | float)}


def sites_of(plan: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    """The ``verdict`` sites or those of the ``profile``."""
    return names(mapping(plan, "sites"), kind)


def has_kind(plan: Mapping[str, Any], kind: str) -> bool:
    """Whether a regime is of this kind: ``activations`` are bare, ``prompts`` were asked."""
    return any(entry.get("kind") == kind for entry in entries(plan, "regimes"))
