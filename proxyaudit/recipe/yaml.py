"""YAML files, read and validated strictly: UTF-8, no key twice, nothing executed, every failure one clear line."""

from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from proxyaudit.errors import InputError, did_you_mean
from proxyaudit.files import MOST_YAML, at_most, read_file
from proxyaudit.recipe.models import KindSpec
from proxyaudit.registry import load_plugin

_LINE_ENDS = ("\x85", "\u2028", "\u2029")
_MOST_VALUES, _DEEPEST = 1_000_000, 100
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
        text = read_file(path, MOST_YAML).decode("utf-8")
    except FileNotFoundError:
        raise InputError("no such file", where=str(path), mend="'proxyaudit init' writes a recipe that runs") from None
    except UnicodeDecodeError:
        raise InputError("the file is not UTF-8 text", where=str(path), mend="save it as UTF-8") from None
    except OSError as error:
        mend = "check the path and its permissions"
        raise InputError(f"the file cannot be read ({error.strerror})", where=str(path), mend=mend) from None
    return parse_yaml(text, str(path), "check the indentation, colons, brackets and quotes there and in the line above")


def parse_yaml(text: str, where: str, mend: str) -> Any:
    """Parse one YAML document; every failure is an ``InputError`` with the line."""
    hidden = next((mark for mark in _LINE_ENDS if mark in text), None)
    if hidden is not None:
        # YAML 1.2 has no such line ends, and no editor shows them: what follows would seem to be part of a comment.
        at = text[: text.index(hidden)].count("\n") + 1
        fault = f"a hidden line end (U+{ord(hidden):04X}) stands in the text"
        raise InputError(fault, where=f"{where}, line {at}", mend="remove it, or write it as an escape in quotes")
    try:
        document = yaml.load(text, Loader=_UniqueKeyLoader)
        _check_size(document, where)
        return document
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise InputError(f"not valid YAML: {getattr(error, 'problem', error)}", where=f"{where}{line}", mend=mend) from None
    except RecursionError:
        raise InputError("not valid YAML: nested too deeply", where=where, mend=mend) from None
    except (ValueError, TypeError, AttributeError) as error:
        # PyYAML lets the errors of Python's own parsers through: a 13th month, a number of thousands of digits.
        raise InputError(f"not valid YAML: a value cannot be read ({str(error)[:80]})", where=where, mend=mend) from None


def dump_yaml(document: Any) -> str:
    """A document as YAML that :func:`parse_yaml` reads: letters as they are, but where a hidden line end stands among them."""
    text = str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120))
    hidden = any(mark in text for mark in _LINE_ENDS)
    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=False, width=120)) if hidden else text


def parse_plain_yaml(data: bytes) -> Any:
    """Parse the YAML of a pack; ``ValueError`` for whatever :func:`parse_yaml` refuses."""
    try:
        return parse_yaml(data.decode("utf-8"), "it", "use an untouched copy")
    except InputError as error:
        raise ValueError(str(error)) from None


def _check_size(document: Any, where: str) -> None:
    """Refuse what aliases make larger than any recipe, or nested deeper (``InputError``)."""
    sizes: dict[int, int] = {}
    most = at_most(_MOST_VALUES)

    def size(value: Any, depth: int) -> int:
        if depth > _DEEPEST:
            raise InputError("not valid YAML: nested too deeply", where=where, mend="write it flat")
        if not isinstance(value, dict | list):
            return 1
        if id(value) not in sizes:
            sizes[id(value)] = most  # a list that holds itself never ends
            inner = [*value.keys(), *value.values()] if isinstance(value, dict) else value
            sizes[id(value)] = 1 + sum(size(one, depth + 1) for one in inner)
        return sizes[id(value)]

    if size(document, 0) > most:
        what = f"aliases make it hold more than {most:,} values"
        raise InputError(what, where=where, mend="write out what is meant, without aliases (*name)")


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
        try:
            return model.model_validate(document)
        except ValidationError as error:
            raise _first_mistake(error, model, document, where, mend) from None
    except UnicodeEncodeError:
        raise InputError("a key or value holds half of a character (a lone surrogate)", where=where, mend="write it as text") from None


def _first_mistake(error: ValidationError, model: type[BaseModel], document: Any, where: str, mend: str) -> InputError:
    errors = error.errors(include_url=False)
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    kind, location, given = first["type"], [str(part) for part in first["loc"]], first.get("input")
    shown = ".".join(part for part in location if part not in ("float", "literal['median']") and not part.startswith("~"))
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
        if inner is KindSpec:  # each kind of model has keys of its own
            model = load_plugin("models", document[part]["kind"]).spec
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for one in get_args(annotation) if (found := _model_in(one)) is not None), None)
