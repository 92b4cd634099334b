"""Which language models write the texts of a recipe, and whether they share a base with the audited one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxyaudit.data.dataset import Dataset
from proxyaudit.errors import InputError
from proxyaudit.recipe.models import PretrainedSpec
from proxyaudit.recipe.recipe import Recipe
from proxyaudit.types import NotTested

_TRAITS = "a teacher that shares the student's base can pass traits on through unrelated text"
_SHARED = {
    True: f"{_TRAITS}, and here both have the same weights: what the texts carry beyond their words was not looked at",
    None: f"{_TRAITS}; whether the two share one cannot be told from their files (they differ in weights, not surely in origin)",
}


@dataclass(frozen=True)
class Lineage:
    """Hashes, descriptions and notes of the language models of a recipe; all empty where it has none."""

    hashes: dict[str, str]
    described: list[dict[str, Any]]
    notes: list[NotTested]


def trace_language_models(recipe: Recipe, dataset: Dataset, base: Path) -> Lineage:
    """Find a recipe's language models and how they relate to the audited one. Raises ``InputError``: one, or a text column, is missing."""
    found = Lineage({}, [], [])
    for entry in recipe.regimes:
        if entry.synthetic is None or entry.synthetic.language_model is None:
            continue
        # They load torch, which no other recipe needs for its plan.
        from proxyaudit.language.causal_model import same_base, settings_digests, weights_digest

        spec, regime = entry.synthetic.language_model, entry.synthetic.regime
        if dataset.text is None:
            what = "a language model writes texts, and this recipe has no text column"
            raise InputError(what, where="regimes: language_model", mend="name it under data.text")
        digest = weights_digest(spec, base)
        shared: bool | None = False
        if isinstance(recipe.model, PretrainedSpec):
            shared = same_base(spec, recipe.model, base)
        found.hashes[f"language model of {regime}"] = digest
        found.hashes.update(settings_digests(spec, base, f"language model of {regime}"))
        base_shared = {True: "yes", None: "not known", False: "no"}[shared]
        # Without the folders that lead to it.
        called = "/".join(part for part in (spec.package, spec.path if spec.hub else Path(spec.path).name, spec.gguf_file) if part)
        told = {"regime": regime, "model": called, "weights": digest, "mode": spec.mode}
        found.described.append({**told, "shares the student's base": base_shared})
        if shared is not False:
            what = f"traits that '{regime}' may pass on beside what its texts say"
            found.notes.append(NotTested(what=what, why=_SHARED[shared]))
    return found
