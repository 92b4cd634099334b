"""A user's own torch module, made by the recipe's factory, and other code that an audit would execute.

The factory runs with the rights of the user; it must lie in the recipe's folder, so that a recipe cannot reach for other files.
"""

import hashlib
import inspect
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyaudit.digests import file_digest
from proxyaudit.errors import InputError
from proxyaudit.fence import network_words
from proxyaudit.files import read_file
from proxyaudit.language.pretrained import locate, one_line
from proxyaudit.models.kinds.huggingface import HuggingFaceSpec
from proxyaudit.models.kinds.module import ModuleSpec
from proxyaudit.recipe.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn

_MODULE = re.compile(r"[A-Za-z_]\w*\.[A-Za-z_]\w*")
_CLASS_COUNT_NAMES = frozenset({"n_classes", "num_classes", "n_outputs", "num_outputs", "out_features"})


def make_module(spec: ModuleSpec, *, n_inputs: int, n_classes: int, base: Path) -> "nn.Module":
    """Execute the factory's file and call the factory; nothing is written beside the file.

    It is called as ``make(n_inputs)`` if it takes a positional argument, else as ``make()``, and as ``make(n_inputs, n_classes)`` if it
    requires two or its second is named ``n_classes``. Weights come from the global generators, which the caller seeds (``base.seeded``).
    Raises ``InputError``: the file is outside the recipe's folder or cannot be executed, or no torch module is returned.
    """
    import torch  # here, since whoever only asks for the files of a recipe's code does not need it

    name = spec.factory.rpartition(":")[2]
    where = f"model.factory '{spec.factory}'"
    path = factory_path(spec, base)
    dtype = torch.get_default_dtype()
    try:
        factory = getattr(_execute(path, where), name, None)
        if not callable(factory):
            raise InputError(f"'{path.name}' has no function '{name}'", where=where, mend="write file.py:function")
        made = _call(factory, n_inputs, n_classes, where)
    finally:
        torch.set_default_dtype(dtype)
    if not isinstance(made, torch.nn.Module):
        raise InputError(f"'{name}' returned a {type(made).__name__}", where=where, mend="return a torch.nn.Module")
    return made.to("cpu").eval()


def factory_path(spec: ModuleSpec, base: Path) -> Path:
    """The factory's file; executes nothing. Raises ``InputError``: it does not exist or lies outside the recipe's folder ``base``."""
    file, where = spec.factory.rpartition(":")[0], f"model.factory '{spec.factory}'"
    folder = base.resolve()
    try:
        path = (folder / file).resolve()
        inside = path.is_relative_to(folder)
        exists = path.is_file()
    except (OSError, ValueError, RuntimeError):
        raise InputError("the path cannot be used", where=where, mend="write file.py:function") from None
    if not inside:
        mend = "put it beside the recipe: a recipe may run no other file"
        raise InputError("the file lies outside the recipe's folder", where=where, mend=mend)
    if not exists:
        raise InputError(f"no file '{file}' in the recipe's folder", where=where, mend="the path is relative to the recipe")
    return path


def factory_hashes(spec: ModuleSpec, base: Path) -> dict[str, str]:
    """SHA-256 of the factory's file."""
    return {"model factory": file_digest(factory_path(spec, base))}


def _execute(path: Path, where: str) -> ModuleType:
    """Run the file as a module of its own name: files of one name in two folders do not meet in ``sys.modules``."""
    module = ModuleType("_proxyaudit_factory_" + hashlib.sha256(str(path).encode("utf-8", "surrogateescape")).hexdigest()[:16])
    module.__file__ = str(path)
    before = sys.modules.get(module.__name__)
    sys.modules[module.__name__] = module  # dataclasses and typing look a class's module up there
    try:
        exec(compile(path.read_bytes(), str(path), "exec", dont_inherit=True), module.__dict__)
    except (Exception, SystemExit) as error:
        if before is None:
            del sys.modules[module.__name__]
        else:
            sys.modules[module.__name__] = before
        raise InputError(f"executing '{path.name}' failed: {one_line(error)}", where=where, mend=_mend(error, path)) from error
    return module


def _mend(error: BaseException, path: Path) -> str:
    if isinstance(error, SyntaxError):
        return f"correct line {error.lineno or '?'} of {path.name}"
    if words := network_words(error):
        return words
    if isinstance(error, ModuleNotFoundError):
        return f"install '{error.name}'; helpers of one's own belong into the same file or an installed package"
    return f"'python {path.name}' must run through"


def _call(factory: Callable[..., Any], n_inputs: int, n_classes: int, where: str) -> Any:
    args = _arguments(factory, n_inputs, n_classes, where)
    try:
        return factory(*args)
    except (Exception, SystemExit) as error:
        what = f"calling it with ({', '.join(map(str, args))}) raised {one_line(error)}"
        mend = network_words(error) or "mend the function; it is called as make(n_inputs)"
        raise InputError(what, where=where, mend=mend) from error


def _arguments(factory: Callable[..., Any], n_inputs: int, n_classes: int, where: str) -> tuple[int, ...]:
    try:
        parameters = list(inspect.signature(factory).parameters.values())
    except (TypeError, ValueError):
        return (n_inputs,)
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if len(required) > 2 or any(p.kind is p.KEYWORD_ONLY for p in required):
        names = ", ".join(p.name for p in required)
        raise InputError(f"the function requires ({names})", where=where, mend="it may require n_inputs and n_classes only")
    if len(positional) >= 2 and (len(required) == 2 or positional[1].name in _CLASS_COUNT_NAMES):
        return (n_inputs, n_classes)
    return (n_inputs,) if positional or any(p.kind is p.VAR_POSITIONAL for p in parameters) else ()


def code_of(recipe: Recipe, base: Path) -> dict[str, Path | None]:
    """Files that the recipe would have executed (``None``: no folder here), by what they are. Raises ``InputError``: one is not there."""
    found: dict[str, Path | None] = {}
    if isinstance(recipe.model, ModuleSpec):
        found["the model's factory"] = factory_path(recipe.model, base)
    if isinstance(recipe.model, HuggingFaceSpec) and recipe.model.trust_remote_code:
        found |= model_code("the model", None if recipe.model.hub else Path(locate(recipe.model, base)[0]))
    for entry in recipe.regimes:
        spec = entry.synthetic.language_model if entry.synthetic is not None else None
        if spec is not None and spec.trust_remote_code:
            place = None if spec.hub else Path(locate(spec, base)[0])
            found |= model_code(f"the language model of {entry.synthetic.regime}", place)  # type: ignore[union-attr]
    return found


def network_of(recipe: Recipe) -> str:
    """What the audit of a recipe itself needs a network for, in words; empty where it needs none."""
    models = [recipe.model, *(entry.synthetic.language_model for entry in recipe.regimes if entry.synthetic is not None)]
    return "the recipe names a model on a hub" if any(getattr(model, "hub", False) for model in models) else ""


def model_code(what: str, folder: Path | None) -> dict[str, Path | None]:
    """Code of a model that is trusted: its Python files, and ``None`` where it lies on a hub or may lie anywhere but in these files."""
    if folder is None:
        return {what: None}
    named = set[str]()

    def collect(part: dict[str, Any]) -> dict[str, Any]:
        given = part.get("auto_map")
        named.update(str(one) for value in (given.values() if isinstance(given, dict) else ()) for one in np.atleast_1d(value))
        return part

    seen = True
    for path in sorted(folder.rglob("*.json")):
        try:
            json.loads(read_file(path), object_hook=collect)
        except ValueError:
            continue  # no loader can read it either
        except (OSError, RecursionError):
            seen = False
    # A module is named by its place in the folder. What a link, another model's name or a path leads to cannot be looked at here.
    own = all(_MODULE.fullmatch(name) and (folder / f"{name.split('.')[0]}.py").is_file() for name in named)
    linked = any(path.is_symlink() and path.is_dir() for path in folder.rglob("*"))
    elsewhere: dict[str, Path | None] = {} if seen and own and not linked else {what: None}
    files = sorted(path for path in folder.rglob("*.py") if path.is_file())
    return {**elsewhere, **{f"{what}: {path.relative_to(folder)}": path for path in files}}
