"""A finished run prepared once more, on the very data that it had, so that something can be done with its models or its training rows."""

import difflib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from proxyaudit.consent import Consent
from proxyaudit.data.dataset import file_hashes
from proxyaudit.data.sources import find_card, packaged_folder
from proxyaudit.data.tables import is_inside, resolve_path
from proxyaudit.errors import InputError
from proxyaudit.estimates.scope import entries, mapping
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.files import write_file
from proxyaudit.language.pretrained import adapter_base, locate
from proxyaudit.models.kinds import model_hashes
from proxyaudit.models.kinds.huggingface import HuggingFaceSpec
from proxyaudit.models.kinds.module import ModuleSpec
from proxyaudit.models.module import code_of, factory_path
from proxyaudit.pipeline.plan import prepare
from proxyaudit.pipeline.prepared import Prepared
from proxyaudit.recipe.recipe import parse_recipe
from proxyaudit.secret import VARIABLE
from proxyaudit.types import REFERENCES


def check_asked(pack: EvidencePack, attribute: str, regime: str, run: Path) -> None:
    """Refuse (``InputError``) a run without models, one that is partial, and names that it does not know, before any data are read."""
    if "regimes" not in pack.recipe or "model" not in pack.recipe:
        what = "this is an audit of bare activations: it has no model that could be changed"
        raise InputError(what, where=str(run), mend="name a run of 'proxyaudit run'")
    if pack.evidence.run.status != "complete":
        raise InputError("the run is partial: a task failed", where=str(run), mend="run its recipe again until it is complete")
    attributes, regimes = ([str(entry.get("name")) for entry in entries(pack.plan, key)] for key in ("attributes", "regimes"))
    if regime in REFERENCES:
        what = f"'{regime}' is a reference beside the regimes, not a model of yours"
        raise InputError(what, where="--regime", mend=f"one of {', '.join(regimes)}")
    for what, name, known in (("attribute", attribute, attributes), ("regime", regime, regimes)):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known[:8]
            mend = f"nearest names in this run: {', '.join(near) or 'none'}"
            raise InputError(f"unknown {what} '{name[:80]}'", where=f"--{what}", mend=mend)


def prepare_again(
    pack: EvidencePack, run: Path, base: Path, consent: Consent, tables_only: tuple[str, str] | None = None, *, given: bool
) -> Prepared:
    """The prepared audit of a run; paths of its recipe start from ``base``, which the caller has ``given`` or not.

    Every file that the recipe names is held against its hash before a table is read or code is executed.

    Raises:
        InputError: the data cannot be had here, or have changed; consent is missing; the run is of texts, and ``tables_only`` says in two
            phrases that these are refused.
    """
    where = str(run / "recipe.yaml")
    recipe = parse_recipe(pack.recipe, where=where)
    if recipe.data.text is not None and tables_only is not None:
        raise InputError(tables_only[0], where=str(run), mend=tables_only[1])
    hashes = mapping(pack.plan, "hashes")
    try:
        _check_same(hashes, file_hashes(recipe, base) | model_hashes(recipe, base), where)
        consent.require(code_of(recipe, base), delivered=True)
        prepared = prepare(recipe, base)
    except InputError as error:
        if given or not any(word in str(error) for word in ("no such file", "no file", "escapes", "outside")):
            raise
        mend = "the run's recipe names it relative to its own folder: name that folder with --base"
        raise InputError(error.what, where=error.where, mend=mend) from None
    _check_same(hashes, prepared.plan.hashes | {name: "" for name in hashes if name not in prepared.plan.hashes}, where)
    done = {e.regime: len(e.seed_values) for e in pack.evidence.estimates if e.channel == "task"}
    return replace(prepared, repetitions=prepared.repetitions.as_done(done))


def _check_same(hashes: Mapping[str, Any], now: Mapping[str, str], where: str) -> None:
    """Refuse (``InputError``) files or rows that are not those of the run."""
    changed = sorted(name for name in now if hashes.get(name) != now[name])
    if changed:
        mend = f"restore it, or run the audit again; of somebody else's run, {VARIABLE} must be the secret of who made it"
        raise InputError(f"'{changed[0]}' is not what it was when the run was made", where=where, mend=mend)


def rewrite_paths(data: dict[str, Any], base: Path, folder: Path) -> None:
    """Let the ``data`` of a recipe, whose paths start from ``base``, be read from ``folder``."""
    for key in ("path", "holdout", "metadata"):
        if key in data:
            data[key] = _rewritten(resolve_path(data[key], base=base, what=f"data.{key}", folders=True), folder)
    for table in data.get("join") or ():
        table["path"] = _rewritten(resolve_path(table["path"], base=base, what="data.join", folders=True), folder)
    if "card" in data:
        card, packaged = find_card(data["card"], base), packaged_folder()
        if packaged is None or not is_inside(card, packaged):
            data["card"] = _rewritten(card, folder)


def rewrite_model(recipe: dict[str, Any], model: object, base: Path, folder: Path) -> None:
    """Let the local transformer of a recipe's ``model`` be read from ``folder``, and the model below it if it is an adapter."""
    if not isinstance(model, HuggingFaceSpec) or model.hub or model.package is not None:
        return
    place, file = locate(model, base)
    below = adapter_base(model, place, base)
    found = {"path": Path(place), "base": below}
    recipe |= {key: _rewritten(path, folder) for key, path in found.items() if path is not None}
    recipe |= {} if file is None else {"gguf_file": file}


def carry_factory(recipe: dict[str, Any], model: object, base: Path, folder: Path, taken: str) -> None:
    """Copy the file of a factory into the folder that a recipe is written to: a recipe runs code that lies beside it, and no other.

    ``taken`` is the recipe's own name there. Raises ``InputError``: the file has that name, or lies outside ``base``.
    """
    if not isinstance(model, ModuleSpec):
        return
    file = factory_path(model, base)
    if file.name == taken:
        raise InputError(f"the factory's file may not be named {taken}", where=model.factory, mend="rename it")
    write_file(folder / file.name, file.read_bytes())
    recipe["model"]["factory"] = f"{file.name}:{model.factory.rpartition(':')[2]}"


def _rewritten(path: Path, folder: Path) -> str:
    """A path that a recipe in ``folder`` may name: relative to that folder where both lie below the current one, else absolute."""
    if is_inside(path, folder) or (is_inside(path, Path.cwd()) and is_inside(folder, Path.cwd())):
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    return str(path.resolve())
