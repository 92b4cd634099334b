"""What an audit was asked about: all that a conclusion needs beside the numbers and the controls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from proxyaudit.types import Role, Surface

__all__ = ["Scope", "read_scope"]

_SURFACES: Mapping[str, Surface] = {"activations": "activations", "prompts": "prompts"}


@dataclass(frozen=True)
class Scope:
    """What an audit was asked about.

    Attributes:
        surface: What a consumer gets: outputs of models, activations alone, or answers to prompts.
        roles: The attributes in order, each with its role.
        regimes: The regimes that get verdicts, in order.
        verdict_sites: Sites that a verdict is read at.
        profile: All profiled sites.
        real: The regime that the others are compared with.
        conditions: Columns that legitimately explain an attribute.
        unfit: Attributes that were asked for and could not be measured, each with the reason.
        failures: What failed in a regime, a line for each repetition.
        margins: Amounts that matter, by name.
        no_absence: Regimes whose audit rows the encoder could not see well enough to call anything absent.
    """

    surface: Surface
    roles: Mapping[str, Role]
    regimes: tuple[str, ...]
    verdict_sites: tuple[str, ...] = ()
    profile: tuple[str, ...] = ()
    real: str | None = None
    conditions: tuple[str, ...] = ()
    unfit: Mapping[str, str] = field(default_factory=dict)
    failures: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    margins: Mapping[str, Any] = field(default_factory=dict)
    no_absence: tuple[str, ...] = ()


def read_scope(plan: Mapping[str, Any], recipe: Mapping[str, Any], environment: Mapping[str, Any]) -> Scope:
    """The scope that the documents of a pack tell, as far as they have the expected form."""
    entries = _entries(plan, "regimes")
    regimes = tuple(str(entry.get("name")) for entry in entries)
    kinds = (_SURFACES.get(str(entry.get("kind"))) for entry in entries)
    surface: Surface = next((kind for kind in kinds if kind is not None), "outputs")
    roles = {str(entry.get("name")): _role(entry.get("role")) for entry in _entries(plan, "attributes")}
    sites = _mapping(plan, "sites")
    named = "real" if surface == "outputs" else recipe.get("real")
    unfit = {str(name): str(why) for name, why in _mapping(plan, "unfit").items()}
    if surface == "activations":
        # Plans of schema 1.0 do not say why.
        asked = sorted(str(name) for name in recipe.get("attributes") or () if str(name) not in roles)
        unfit = {**unfit, **{name: "" for name in asked if name not in unfit}}
    failures = _mapping(environment, "failures_by_regime")
    return Scope(
        surface=surface,
        roles=roles,
        regimes=regimes,
        verdict_sites=_names(sites.get("verdict")),
        profile=_names(sites.get("profile")),
        real=str(named) if named and named in regimes else None,
        conditions=_names(plan.get("condition_on")),
        unfit=unfit,
        failures={str(regime): _names(lines) for regime, lines in failures.items()},
        margins=_mapping(plan, "margins"),
        no_absence=_names(plan.get("no_absence")),
    )


def _role(found: Any) -> Role:
    return cast(Literal["protected", "proxy"], found if found in ("protected", "proxy") else "protected")


def _names(found: Any) -> tuple[str, ...]:
    return tuple(str(name) for name in found) if isinstance(found, list | tuple) else ()


def _mapping(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = document.get(key)
    return found if isinstance(found, dict) else {}


def _entries(plan: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = plan.get(key)
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []
