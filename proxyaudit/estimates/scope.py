"""What an audit was asked about: all that a conclusion needs beside the numbers and the controls."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from proxyaudit.types import Role, Surface

# Names in the plan's list of hashes; what is not a model is data. Digests of rows and splits are no files.
_MODELS = ("model", "checkpoint ", "activations ", "language model of ")
_ROWS = ("audit", "split")


@dataclass(frozen=True)
class Scope:
    """What an audit was asked about."""

    surface: Surface  # what a consumer gets: outputs of models, activations alone, or answers to prompts
    roles: Mapping[str, Role]  # the attributes in order
    regimes: tuple[str, ...]  # those that get verdicts, in order
    verdict_sites: tuple[str, ...] = ()
    profile: tuple[str, ...] = ()  # all profiled sites
    real: str | None = None  # the regime that the others are compared with
    untrained: str | None = None  # the regime that was not trained; of an audit of models the reference of that name
    conditions: tuple[str, ...] = ()  # columns that legitimately explain an attribute
    unfit: Mapping[str, str] = field(default_factory=dict)  # attributes that could not be measured, each with the reason
    failures: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of a regime, a line for each repetition
    margins: Mapping[str, Any] = field(default_factory=dict)
    group: str | None = None  # the column of people, where rows belong together
    max_rows: int | None = None  # the cap on rows, where the data hold more
    target: str = ""
    sd: float | None = None  # of a target that is a number, its standard deviation
    no_absence: tuple[str, ...] = ()  # regimes whose audit rows the encoder could not see well enough to call anything absent


def read_scope(plan: Mapping[str, Any], recipe: Mapping[str, Any], environment: Mapping[str, Any]) -> Scope:
    """The scope that the documents of a pack tell, as far as they have the expected form."""
    regimes = tuple(str(entry.get("name")) for entry in entries(plan, "regimes"))
    surface: Surface = "activations" if has_kind(plan, "activations") else "prompts" if has_kind(plan, "prompts") else "outputs"
    roles = {str(a.get("name")): _role(a.get("role")) for a in entries(plan, "attributes")}
    real = "real" if surface == "outputs" else recipe.get("real")
    untrained = "untrained" if surface == "outputs" else recipe.get("untrained") if recipe.get("untrained") in regimes else None
    unfit = {str(name): str(why) for name, why in mapping(plan, "unfit").items()}
    if surface == "activations":
        # Plans of schema 1.0 do not say why.
        unfit |= {name: "" for name in sorted(names(recipe, "attributes")) if name not in roles and name not in unfit}
    failures = mapping(environment, "failures_by_regime")
    group = (mapping(recipe, "data") if surface == "outputs" else recipe).get("group")
    return Scope(
        surface=surface,
        roles=roles,
        regimes=regimes,
        verdict_sites=sites_of(plan, "verdict"),
        profile=sites_of(plan, "profile"),
        real=str(real) if real and real in regimes else None,
        untrained=str(untrained) if untrained else None,
        conditions=names(plan, "condition_on"),
        unfit=unfit,
        failures={str(regime): names(failures, regime) for regime in failures},
        margins=mapping(plan, "margins"),
        group=group if isinstance(group, str) else None,
        max_rows=_cap(plan, recipe),
        no_absence=names(plan, "no_absence"),
        target=target_name(plan),
        sd=standard_deviation(plan),
    )


def target_name(plan: Mapping[str, Any]) -> str:
    """What models predict."""
    return str(mapping(plan, "target").get("name", ""))


def standard_deviation(plan: Mapping[str, Any]) -> float | None:
    """That of a target that is a number; ``None`` of one that has classes."""
    target = mapping(plan, "target")
    sd = target.get("sd")
    return float(sd) if target.get("task") == "regression" and isinstance(sd, int | float) and not isinstance(sd, bool) else None


def _role(said: Any) -> Role:
    """A role of a plan; what is none is taken for the strictest."""
    return "proxy" if said == "proxy" else "intersection" if said == "intersection" else "protected"


def _cap(plan: Mapping[str, Any], recipe: Mapping[str, Any]) -> int | None:
    """``data.max_rows`` where it left rows out: then about as many were used; counts of a plan are rounded, and a copy may be dropped."""
    data, rows = mapping(recipe, "data"), mapping(plan, "rows")
    used = [rows.get(part) for part in (("train",) if data.get("holdout") is not None else ("train", "audit"))]
    most = data.get("max_rows")
    counts = [count for count in used if isinstance(count, int)]
    return most if isinstance(most, int) and len(counts) == len(used) and sum(counts) >= 0.95 * most else None


def mapping(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The mapping under a key; empty where there is none: a plan of another version may lack anything, or hold it in another form."""
    value = document.get(key)
    return value if isinstance(value, Mapping) else {}


def listed(document: Mapping[str, Any], key: str) -> list[Any]:
    """The list under a key; empty where there is none."""
    value = document.get(key)
    return list(value) if isinstance(value, list | tuple) else []


def entries(document: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """The mappings of a list under a key."""
    return [entry for entry in listed(document, key) if isinstance(entry, Mapping)]


def kinds_of(plan: Mapping[str, Any]) -> dict[str, str]:
    """What each regime of a plan is made of."""
    return {str(entry.get("name")): str(entry.get("kind")) for entry in entries(plan, "regimes")}


def names(document: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """The list under a key, as strings."""
    return tuple(str(name) for name in listed(document, key))


def margins_of(plan: Mapping[str, Any]) -> dict[str, float]:
    """The margins that are numbers."""
    return {str(key): float(value) for key, value in mapping(plan, "margins").items() if isinstance(value, int | float)}


def sites_of(plan: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    """The ``verdict`` sites or those of the ``profile``."""
    return names(mapping(plan, "sites"), kind)


def has_kind(plan: Mapping[str, Any], kind: str) -> bool:
    """Whether a regime is of this kind: ``activations`` are bare, ``prompts`` were asked."""
    return any(entry.get("kind") == kind for entry in entries(plan, "regimes"))


def hashes_of(plan: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Digests of the files that a run read, by name: those of ``data`` and those of ``model``."""
    hashes = {str(name): str(value) for name, value in mapping(plan, "hashes").items() if name not in _ROWS}
    models = {name for name in hashes if name.startswith(_MODELS)}
    return {"data": {k: v for k, v in hashes.items() if k not in models}, "model": {k: v for k, v in hashes.items() if k in models}}
