"""``--set key=value``: keys of a document that are given on the command line, and mistakes in them, told where they were made."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from proxyaudit.errors import InputError, together
from proxyaudit.recipe.yaml import parse_yaml

_Parsed = TypeVar("_Parsed")


def parse_overridden(document: Any, overrides: Sequence[str], parse: Callable[[Any], _Parsed]) -> _Parsed:
    """What ``parse`` makes of a document with ``overrides``; a mistake that the file does not make is told of the one that does.

    Raises ``InputError``: all mistakes of the document and of the overrides.
    """
    changed = copy.deepcopy(document)
    for override in overrides:
        apply_override(changed, override)
    try:
        return parse(changed)
    except InputError as error:
        if not overrides:
            raise
        file, left = error.where if error.each else "", {(one.what, one.where) for one in error.each or (error,)}
    told: dict[tuple[str, str], InputError] = {}
    for one in _mistakes(document, parse):
        told[one.what, one.where] = one
    for override in overrides:
        apply_override(document, override)
        for one in _mistakes(document, parse):
            told.setdefault((one.what, one.where), InputError(one.what, where=f"--set {override}"[:200], mend=one.mend))
    found = [here for key, here in told.items() if key in left]  # what a later override mends is none
    raise together(found, where=file)


def _mistakes(document: Any, parse: Callable[[Any], Any]) -> tuple[InputError, ...]:
    try:
        parse(document)
    except InputError as error:
        return error.each or (error,)
    return ()


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
