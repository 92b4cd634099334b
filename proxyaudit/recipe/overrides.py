"""``--set key=value``: keys of a document that are given on the command line, and mistakes in them, told where they were made."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from proxyaudit.errors import InputError
from proxyaudit.recipe.yaml import parse_yaml

_Parsed = TypeVar("_Parsed")


def parse_overridden(document: Any, overrides: Sequence[str], parse: Callable[[Any], _Parsed]) -> _Parsed:
    """What ``parse`` makes of a document with ``overrides``; what the file alone does not say wrongly is told of the one that does."""
    changed = copy.deepcopy(document)
    for override in overrides:
        apply_override(changed, override)
    try:
        return parse(changed)
    except InputError:
        if not overrides:
            raise
    parse(document)  # the file's own mistakes first
    for override in overrides:
        apply_override(document, override)
        try:
            parse(document)
        except InputError as error:
            raise InputError(error.what, where=f"--set {override}"[:200], mend=error.mend) from None
    raise AssertionError("one of the overrides is at fault")  # pragma: no cover


def apply_override(document: Any, override: str) -> None:
    """Put one ``dotted.key=value`` into a document; ``InputError`` where it has no place there."""
    key, equals, text = override.partition("=")
    where = f"--set {override}"
    if not equals or not key:
        raise InputError("an override is written key=value", where=where, mend="e.g. --set seeds=3 or --set data.group=person")
    value = parse_yaml(text, where, "quote the value")
    parts = key.split(".")
    node = document
    for part in parts[:-1]:
        if isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
            continue
        if not isinstance(node, dict):
            raise InputError(f"'{part}' is not inside a mapping", where=where, mend="check the dotted key")
        node = node.setdefault(part, {})
    if not isinstance(node, dict):
        raise InputError(f"'{parts[-1]}' cannot be set there", where=where, mend="check the dotted key")
    node[parts[-1]] = value
