"""YAML files, read and validated strictly: UTF-8, no key twice, nothing executed, every failure one clear line."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from proxyaudit.errors import InputError, did_you_mean, together
from proxyaudit.files import read_file
from proxyaudit.limits import DEEPEST, MOST_BITS, MOST_VALUES, MOST_YAML, at_most, how_to_raise
from proxyaudit.recipe.models import KindSpec
from proxyaudit.registry import load_plugin

_LINE_ENDS = ("\x85", "\u2028", "\u2029")
_Model = TypeVar("_Model", bound=BaseModel)
# Pydantic's own words for these are about Python, not about YAML.
_PLAIN_WORDS = {
    "tuple_type": "should be a list, e.g. [a, b]",
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "should be a mapping of keys to values"),
    "string_type": "should be text; put a number or date that is meant as text in quotes",
    "string_too_short": "should not be empty",
    "string_pattern_mismatch": "should begin with a letter or digit and hold letters, digits, '.', '_' and '-' only, 80 at most",
}


_HALF = "a key or value holds half of a character (a lone surrogate)"


def read_yaml(path: Path) -> Any:
    """Read one YAML document; every failure is an ``InputError``."""
    try:
        text = read_file(path, MOST_YAML).decode("utf-8")
    except FileNotFoundError:
        raise InputError("no such file", where=str(path), mend="'proxyaudit init' writes a recipe that runs") from None
    except UnicodeDecodeError:
        raise InputError("the file is not UTF-8 text", where=str(path), mend="save it as UTF-8") from None
    except IsADirectoryError:
        mend = "name the file itself; a run folder is named first, or alone: 'gate RUN --policy FILE', 'report RUN'"
        raise InputError("this is a folder, not a YAML file", where=str(path), mend=mend) from None
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
    except _NoDay as error:
        mend = "check month and day, and write it as 2027-12-31; quote the value if it is a name"
        raise InputError(str(error.problem), where=f"{where}, line {error.line}{error.key}", mend=mend) from None
    except _TooMany:
        what = f"it holds more than {at_most(MOST_VALUES):,} values"
        raise InputError(what, where=where, mend=f"write less; {how_to_raise()}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise InputError(f"not valid YAML: {getattr(error, 'problem', error)}", where=f"{where}{line}", mend=mend) from None
    except RecursionError:
        raise InputError("not valid YAML: nested too deeply", where=where, mend=mend) from None
    except (ValueError, TypeError, AttributeError, KeyError, ArithmeticError) as error:
        # PyYAML lets the errors of Python's own parsers through: a number of thousands of digits, no word for yes, a sum without end.
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
    """Refuse what aliases make larger than any recipe, or nested deeper, and numbers that nothing can count with (``InputError``)."""
    sizes: dict[int, int] = {}
    most = at_most(MOST_VALUES)

    def size(value: Any, depth: int) -> int:
        if depth > at_most(DEEPEST):
            raise InputError("not valid YAML: nested too deeply", where=where, mend="write it flat")
        if isinstance(value, int) and value.bit_length() > MOST_BITS:
            what = f"a whole number has more than {MOST_BITS} bits"
            raise InputError(what, where=where, mend="write a smaller one, or put it in quotes if it is a name")
        if isinstance(value, str) and not value.isascii() and any("\ud800" <= mark <= "\udfff" for mark in value):
            raise InputError(_HALF, where=where, mend="write it as text")
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


class _TooMany(yaml.YAMLError):
    """More values are written than are read; told while they are read, since a megabyte of them takes minutes."""


class _UniqueKeyLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice instead of keeping the last, and makes nothing but mappings, lists and plain values."""

    composed = depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """One more value, at one more level."""
        self.composed, self.depth = self.composed + 1, self.depth + 1
        if self.composed > at_most(MOST_VALUES):
            raise _TooMany
        if self.depth > at_most(DEEPEST) + 1:  # the document itself is no level
            raise RecursionError
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _NoDay(yaml.constructor.ConstructorError):
    """A word that looks like a day, or a moment, and is none; ``key`` names the key whose value it is, where it has one."""

    line, key = 0, ""


def _moment(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Any:
    try:
        return loader.construct_yaml_timestamp(node)
    except (ValueError, OverflowError):
        fault = _NoDay(None, None, f"not valid YAML: there is no such day or moment, {node.value[:40]}", node.start_mark)
        fault.line = node.start_mark.line + 1
        raise fault from None


def _unique_mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str | int | float | bool | None.__class__):
            raise yaml.constructor.ConstructorError(None, None, "a key must be a plain word", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key '{key}' is given twice", key_node.start_mark)
        seen.add(key)
        if value_node.tag == _TIMESTAMP:
            try:
                loader.construct_object(value_node)
            except _NoDay as error:
                error.key = f": {str(key)[:60]}"
                raise
    return loader.construct_mapping(node, deep=True)


def _refused(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    name = str(node.tag).removeprefix(_TAG)
    if name == "merge":
        name = "<<"
    elif str(node.tag).startswith(_TAG):
        name = f"!!{name}"
    raise yaml.constructor.ConstructorError(None, None, f"'{name[:40]}' is not read: write out plain keys and values", node.start_mark)


_TAG = "tag:yaml.org,2002:"
_TIMESTAMP = f"{_TAG}timestamp"
# Pairs within tuples, sets and bytes would be seen by no check of what a document holds.
_PLAIN = {f"{_TAG}{name}" for name in ("null", "bool", "int", "float", "str", "seq")}
_UniqueKeyLoader.yaml_constructors = {tag: make for tag, make in yaml.SafeLoader.yaml_constructors.items() if tag in _PLAIN}
_UniqueKeyLoader.add_constructor(None, _refused)
_UniqueKeyLoader.add_constructor(_TIMESTAMP, _moment)
_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


class _OwnLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Reads what :class:`_UniqueKeyLoader` reads as that does, ten times as fast (in C), but without its bounds."""

    yaml_constructors = _UniqueKeyLoader.yaml_constructors


def parse_own(text: str) -> Any:
    """Parse a document that comes with the package; nobody else's, since it may take as long as it likes."""
    return yaml.load(text, Loader=_OwnLoader)


def validated(model: type[_Model], document: Any, *, where: str, mend: str) -> _Model:
    """The model of a document; all its mistakes, unknown keys before others, are one ``InputError``."""
    try:
        try:
            return model.model_validate(document)
        except ValidationError as error:
            found = [_Mistake.of(one, model, document, where, mend) for one in error.errors(include_url=False)]
            raise together(_told(found), where=where, mend=mend) from None
    except UnicodeEncodeError:
        raise InputError(_HALF, where=where, mend="write it as text") from None


@dataclass(frozen=True)
class _Mistake:
    """One complaint of pydantic: its kind, the keys on the way to its place, and what a person is told."""

    kind: str
    place: tuple[str, ...]
    told: InputError

    @classmethod
    def of(cls, error: Any, model: type[BaseModel], document: Any, where: str, mend: str) -> Self:
        """The mistake that an entry of ``ValidationError.errors()`` tells of."""
        kind, place = error["type"], _place(error, document)
        shown = ".".join(place)
        return cls(kind, place, _in_words(error, model, document, f"{where}: {shown}"[:300] if shown else where, mend))

    def follows(self, other: Self) -> bool:
        """Whether it is nothing but another side of another mistake: of a list or choice whose part is wrong, or of a misspelt key."""
        inside = len(other.place) > len(self.place) and other.place[: len(self.place)] == self.place
        misspelt = self.kind == "missing" and other.kind == "extra_forbidden" and self.place[:-1] == other.place[:-1]
        return inside or (misspelt and other.told.mend.startswith(f"did you mean '{self.place[-1]}'"))


def _told(found: list[_Mistake]) -> list[InputError]:
    """What is told of: unknown keys first, one mistake for each place, and no mere consequence of another one."""
    found = sorted(found, key=lambda one: one.kind != "extra_forbidden")
    first = {one.place: one for one in reversed(found)}
    return [one.told for one in found if first[one.place] is one and not any(one.follows(other) for other in found)]


def _place(error: Any, document: Any) -> tuple[str, ...]:
    """The keys on the way to a mistake; pydantic puts its own names of choices and tags between them, which no recipe holds."""
    shown: list[str] = []
    for index, part in enumerate(error["loc"]):
        within = part in document if isinstance(document, dict) else isinstance(document, list | tuple) and part in range(len(document))
        if within:
            document = document[part]
        if within or (error["type"] == "missing" and index == len(error["loc"]) - 1):
            shown.append(str(part))
    return tuple(shown)


def _in_words(error: Any, model: type[BaseModel], document: Any, at: str, mend: str) -> InputError:
    kind, location, given = error["type"], [str(part) for part in error["loc"]], error.get("input")
    if kind == "extra_forbidden":
        known = sorted(_model_at(model, location[:-1], document).model_fields)
        nearest = did_you_mean(location[-1], known, f"known keys here: {', '.join(known)}")
        return InputError(f"unknown key '{location[-1][:60]}'", where=at, mend=nearest)
    if kind == "unknown_kind":
        return InputError(error["msg"], where=f"{at}.kind", mend=str(error["ctx"]["mend"]))
    if kind == "missing":
        return InputError(f"key '{location[-1]}' is missing", where=at, mend=f"add '{location[-1]}: ...'")
    # Anything but a plain value may be nested aliases, whose text would fill the memory.
    plain = isinstance(given, str | int | float) and given == given  # NaN differs from itself
    word = str(given)[:60] if plain else "not a word"
    if kind == "literal_error":
        words = str(error["ctx"]["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
        words = [{"True": "true", "False": "false"}.get(one, one) for one in words]  # as YAML has them
        return InputError(f"unknown word '{word}'", where=at, mend=did_you_mean(word, words, f"one of {', '.join(words)}"))
    message = _PLAIN_WORDS.get(kind, error["msg"].removeprefix("Value error, "))
    said = f" (given: {word!r})" if plain and kind != "value_error" else ""
    begun = message if message[:2].isupper() else message[:1].lower() + message[1:]  # YAML stays YAML
    return InputError(begun + said, where=at, mend=mend)


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
