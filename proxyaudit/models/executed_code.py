"""Code that an audit would execute because a recipe, a pack or a model folder names it."""

from __future__ import annotations

from pathlib import Path

from proxyaudit.language.pretrained import CausalSource, locate
from proxyaudit.models.kinds.huggingface import HuggingFaceSpec
from proxyaudit.models.kinds.module import ModuleSpec
from proxyaudit.models.module import factory_path
from proxyaudit.recipe.recipe import Recipe


def code_of(recipe: Recipe, base: Path) -> dict[str, Path | None]:
    """Every file that the recipe would have executed, by what it is; ``None`` for code that is not in a folder here.

    Raises:
        InputError: a factory or a model folder is not there.
    """
    found: dict[str, Path | None] = {}
    if isinstance(recipe.model, ModuleSpec):
        found["the model's factory"] = factory_path(recipe.model, base)
    if isinstance(recipe.model, HuggingFaceSpec) and recipe.model.trust_remote_code:
        found |= model_code("the model", None if recipe.model.hub else Path(locate(CausalSource.of(recipe.model), base)[0]))
    for entry in recipe.regimes:
        spec = entry.synthetic.language_model if entry.synthetic is not None else None
        if spec is not None and spec.trust_remote_code:
            place = None if spec.hub else Path(locate(CausalSource.of(spec), base)[0])
            found |= model_code(f"the language model of {entry.synthetic.regime}", place)  # type: ignore[union-attr]
    return found


def model_code(what: str, folder: Path | None) -> dict[str, Path | None]:
    """Code of a model that is trusted: its Python files, and ``None`` where it lies on a hub or the config names another model's code."""
    if folder is None:
        return {what: None}
    configs = "".join(path.read_text(encoding="utf-8", errors="replace") for path in sorted(folder.glob("*.json")) if "config" in path.name)
    elsewhere: dict[str, Path | None] = {what: None} if "auto_map" in configs and "--" in configs else {}
    files = sorted(path for path in folder.rglob("*.py") if path.is_file())
    return {**elsewhere, **{f"{what}: {path.relative_to(folder)}": path for path in files}}
