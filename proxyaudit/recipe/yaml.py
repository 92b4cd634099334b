"""YAML files, read and validated strictly: UTF-8, no key twice, nothing executed, every failure one clear line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from proxyaudit.errors import InputError, did_you_mean
from proxyaudit.recipe.models import TrainingSpec
from proxyaudit.registry import load_plugin

_Model = TypeVar("_Model", bound=BaseModel)
# Pydantic's own words for these are about Python, not about YAML.
_PLAIN_WORDS = {
    "tuple_type": "should be a list, e.g. [a, b]",
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "should be a mapping of keys to values"),
    "string_type": "should be text; put a number or date that is meant as text in quotes",
    "string_too_short": "should not be empty",
    "string_pattern_mismatch": "should begin with a letter or digit and hold letters, digits, '.', '_' and '-' only, 80 at most",
}


def read_yaml(path: Path) -> Any:
    """Read one YAML document; every failure is an ``InputError``."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError("no such file", where=str(path), mend="'proxyaudit init' writes a recipe that runs") from None
    except UnicodeDecodeError:
        raise InputError("the file is not UTF-8 text", where=str(path), mend="save it as UTF-8") from None
    except OSError as error:
        mend = "check the path and its permissions"
        raise InputError(f"the file cannot be read ({error.strerror})", where=str(path), mend=mend) from None
    return parse_yaml(text, str(path), "check the indentation, colons and quotes there")


def parse_yaml(text: str, where: str, mend: str) -> Any:
    """Parse one YAML document; every failure is an ``InputError`` with the line."""
    try:
        return yaml.load(text, Loader=_UniqueKeyLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise InputError(f"not valid YAML: {getattr(error, 'problem', error)}", where=f"{where}{line}", mend=mend) from None
    except RecursionError:
        raise InputError("not valid YAML: nested too deeply", where=where, mend=mend) from None
    except (ValueError, TypeError, AttributeError) as error:
        # PyYAML lets the errors of Python's own parsers through: a 13th month, a number of thousands of digits.
        raise InputError(f"not valid YAML: a value cannot be read ({str(error)[:80]})", where=where, mend=mend) from None


class _UniqueKeyLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice instead of keeping the last."""


def _unique_mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str | int | float | bool | None.__class__):
            raise yaml.constructor.ConstructorError(None, None, "a key must be a plain word", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key '{key}' is given twice", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def validated(model: type[_Model], document: Any, *, where: str, mend: str) -> _Model:
    """The model of a document; its first mistake, an unknown key before others, is an ``InputError``."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise _first_mistake(error, model, document, where, mend) from None


def _first_mistake(error: ValidationError, model: type[BaseModel], document: Any, where: str, mend: str) -> InputError:
    errors = error.errors(include_url=False)
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    kind, location, given = first["type"], [str(part) for part in first["loc"]], first.get("input")
    shown = ".".join(part for part in location if part not in ("float", "literal['median']"))
    at = f"{where}: {shown}"[:300] if shown else where
    if kind == "extra_forbidden":
        known = sorted(_model_at(model, location[:-1], document).model_fields)
        nearest = did_you_mean(location[-1], known, f"known keys here: {', '.join(known)}")
        return InputError(f"unknown key '{location[-1][:60]}'", where=at, mend=nearest)
    if kind == "unknown_kind":
        return InputError(first["msg"], where=f"{at}.kind", mend=str(first["ctx"]["mend"]))
    if kind == "missing":
        return InputError(f"key '{location[-1]}' is missing", where=at, mend=f"add '{location[-1]}: ...'")
    # Anything but a plain value may be nested aliases, whose text would fill the memory.
    plain = isinstance(given, str | int | float) and given == given  # NaN differs from itself
    word = str(given)[:60] if plain else "not a word"
    if kind == "literal_error":
        words = str(first["ctx"]["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
        return InputError(f"unknown word '{word}'", where=at, mend=did_you_mean(word, words, f"one of {', '.join(words)}"))
    message = _PLAIN_WORDS.get(kind, first["msg"].removeprefix("Value error, "))
    said = f" (given: {word!r})" if plain and kind != "value_error" else ""
    return InputError(message[0].lower() + message[1:] + said, where=at, mend=mend)


def _model_at(model: type[BaseModel], location: list[str], document: Any) -> type[BaseModel]:
    """The innermost model on the way to a place."""
    for part in location:
        inner = _model_in(model.model_fields[part].annotation) if part in model.model_fields else None
        model = inner or model
        if inner is TrainingSpec:  # each kind of model has keys of its own
            model = load_plugin("models", document[part]["kind"]).spec
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for one in get_args(annotation) if (found := _model_in(one)) is not None), None)
