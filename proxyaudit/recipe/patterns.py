"""Patterns of spans in texts, read by the package ``regex``: it can stop a search that would take for ever."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proxyaudit.errors import InputError

_SECONDS = 2.0  # of one text; any pattern that is not exponential takes a thousandth of it


def _compiled(name: str, pattern: str) -> Any:
    try:
        import regex
    except ImportError:
        raise ValueError("spans need the package regex; pip install '.[text]'") from None
    try:
        return regex.compile(pattern)
    except (regex.error, OverflowError, RecursionError) as error:
        raise ValueError(f"the pattern of span '{name}' cannot be read ({error})") from None


def check_span(name: str, pattern: str) -> None:
    """Refuse (``ValueError``) what is no pattern, and what finds places without letters; its own text shows most of these."""
    found = _compiled(name, pattern)
    if found.match("", timeout=_SECONDS):
        raise ValueError(f"the pattern of span '{name}' matches nothing at all, so it matches everywhere")
    if any(not match.group() for match in found.finditer(pattern, timeout=_SECONDS)):
        raise ValueError(f"the pattern of span '{name}' can match a place between letters, where there is no token")


def compile_spans(spans: dict[str, str]) -> dict[str, Any]:
    """Compiled patterns by the names of their spans."""
    return {name: _compiled(name, pattern) for name, pattern in spans.items()}


def find_spans(name: str, pattern: Any, text: str) -> Sequence[tuple[int, int]]:
    """Where a compiled pattern is found in a text. Raises ``InputError``: it takes too long, or finds a place between letters."""
    where = f"model.spans '{name}'"
    try:
        found = [match.span() for match in pattern.finditer(text, timeout=_SECONDS)]
    except TimeoutError:
        mend = "drop repeats of repeats and alternatives that begin alike"
        raise InputError(f"its pattern needs more than {_SECONDS:g} seconds for one text", where=where, mend=mend) from None
    if any(start == end for start, end in found):
        raise InputError("its pattern matches a place between letters, where there is no token", where=where, mend="let it match a letter")
    return found
