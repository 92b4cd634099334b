"""What a run was asked that an earlier one was not: data, model and plan, told apart by digests and by the recipes as resolved. Pure."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from proxyaudit.estimates.scope import hashes_of, mapping
from proxyaudit.evidence.pack import EvidencePack

_OWN = {"model": "model", "data": "data"}  # sections of a recipe that are about more than the plan
_NAMES = ("name",)


class Changes(NamedTuple):
    """What differs between two runs, by names of files and keys; an empty part is one that does not."""

    data: tuple[str, ...]
    model: tuple[str, ...]
    plan: tuple[str, ...]
    code: bool  # whether another version of proxyaudit made it

    @property
    def words(self) -> tuple[str, ...]:
        """What changed, a word for each."""
        told = (("data", self.data), ("model", self.model), ("plan", self.plan), ("version", self.code))
        return tuple(word for word, changed in told if changed)


def changes(before: EvidencePack, after: EvidencePack) -> Changes:
    """What run ``after`` was asked, or given, that ``before`` was not.

    Digests of people's rows are keyed with the auditor's secret: rows that two auditors read have different ones.
    """
    old, new = hashes_of(before.plan), hashes_of(after.plan)
    asked = _differ({k: v for k, v in before.recipe.items() if k not in _NAMES}, {k: v for k, v in after.recipe.items() if k not in _NAMES})
    parts: dict[str, list[str]] = {"data": _differ(old["data"], new["data"]), "model": _differ(old["model"], new["model"]), "plan": []}
    for key in asked:
        part = _OWN.get(key, "plan")
        inner = _differ(mapping(before.recipe, key), mapping(after.recipe, key))
        parts[part] += [f"{key}.{name}" for name in inner] or [key]
    if not any(parts.values()) and mapping(before.plan, "margins") != mapping(after.plan, "margins"):
        parts["plan"].append("margins")
    told = {name: tuple(dict.fromkeys(names)) for name, names in parts.items()}
    return Changes(told["data"], told["model"], told["plan"], before.plan.get("code") != after.plan.get("code"))


def _differ(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [key for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key)]
