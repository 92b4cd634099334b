"""YAML files, read strictly: UTF-8, no key twice, nothing executed, every failure one clear line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from proxyaudit.errors import InputError


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
