"""What an audit was asked about: all that a conclusion needs beside the numbers and the controls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from proxyaudit.types import Role, Surface

_SURFACES: Mapping[str, Surface] = {"activations": "activations", "prompts": "prompts"}


@dataclass(frozen=True)
class Scope:
    """What an audit was asked about."""

    surface: Surface  # what a consumer gets: outputs of models, activations alone, or answers to prompts
    roles: Mapping[str, Role]  # the attributes in order
    regimes: tuple[str, ...]  # those that get verdicts, in order
    verdict_sites: tuple[str, ...] = ()
    profile: tuple[str, ...] = ()  # all profiled sites
    real: str | None = None  # the regime that the others are compared with
    conditions: tuple[str, ...] = ()  # columns that legitimately explain an attribute
    unfit: Mapping[str, str] = field(default_factory=dict)  # attributes that could not be measured, each with the reason
    failures: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of a regime, a line for each repetition
    margins: Mapping[str, Any] = field(default_factory=dict)
    no_absence: tuple[str, ...] = ()  # regimes whose audit rows the encoder could not see well enough to call anything absent


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
