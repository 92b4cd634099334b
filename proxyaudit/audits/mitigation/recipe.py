"""The recipe that audits mitigated models beside the ones they were made from: an ordinary recipe of saved checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from proxyaudit.data.sources import find_card, packaged_folder
from proxyaudit.data.tables import is_inside, resolve_path
from proxyaudit.errors import InputError
from proxyaudit.evidence.manifest import write_file
from proxyaudit.models.kinds.module import ModuleSpec
from proxyaudit.models.module import factory_path
from proxyaudit.pipeline.prepared import Prepared
from proxyaudit.regimes import Regime

MITIGATED = "-mitigated"
RECIPE_FILE = "mitigated.yaml"
_LONGEST_NAME = 80


def mitigated_name(name: str) -> str:
    """Name of what was mitigated: a regime or a recipe."""
    return name[: _LONGEST_NAME - len(MITIGATED)] + MITIGATED


def write_recipe(
    folder: Path, prepared: Prepared, regime: Regime, before: list[str], mitigated: list[str], erased: tuple[str, ...]
) -> Path:
    """Write ``mitigated.yaml``: the run's recipe with two regimes of checkpoints that lie beside it, ``before`` and ``mitigated``.

    Data, rows, seeds, sites and margins are those of the run, so the audit rows are the same. Paths are rewritten so that the
    recipe can be run from where it lies; a factory's file is copied beside it. ``erased`` are the sites with a map in the mended ones.
    """
    recipe: dict[str, Any] = prepared.recipe.model_dump(mode="json", exclude_none=True)
    recipe["name"] = mitigated_name(prepared.recipe.name)
    recipe.pop("training_size", None)  # nothing is trained
    original: dict[str, Any] = {"name": regime.name, "checkpoints": before}
    if regime.erase:
        original["erase"] = list(regime.erase)
    recipe["regimes"] = [original, {"name": mitigated_name(regime.name), "checkpoints": mitigated, "erase": list(erased)}]
    data = recipe["data"]
    for key in ("path", "holdout"):
        if key in data:
            data[key] = _rewritten(resolve_path(data[key], base=prepared.base, what=f"data.{key}"), folder)
    if "card" in data:
        card, packaged = find_card(data["card"], prepared.base), packaged_folder()
        if packaged is None or not is_inside(card, packaged):
            data["card"] = _rewritten(card, folder)
    model = prepared.recipe.model
    if isinstance(model, ModuleSpec):
        file = factory_path(model, prepared.base)
        if file.name == RECIPE_FILE:
            raise InputError(f"the factory's file may not be named {RECIPE_FILE}", where=model.factory, mend="rename it")
        write_file(folder / file.name, file.read_bytes())
        recipe["model"]["factory"] = f"{file.name}:{model.factory.rpartition(':')[2]}"
    text = "# Written by 'proxyaudit mitigate'; audits the models as they were beside the mitigated ones.\n"
    text += yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=120)
    write_file(folder / RECIPE_FILE, text.encode("utf-8", "backslashreplace"))
    return folder / RECIPE_FILE


def _rewritten(path: Path, folder: Path) -> str:
    """A path that a recipe in ``folder`` may name: relative to it or to the current folder where it lies below, else absolute."""
    for root in (folder, Path.cwd()):
        if is_inside(path, root):
            return path.resolve().relative_to(root.resolve()).as_posix()
    return str(path.resolve())
