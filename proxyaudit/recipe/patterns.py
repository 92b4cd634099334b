"""Patterns of spans in texts, read by the package ``regex``: it can stop a search that would take for ever."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from proxyaudit.errors import InputError
from proxyaudit.limits import SPAN_EACH, SPAN_SECONDS, SPANS_SECONDS, seconds

_MEND = "drop repeats of repeats and alternatives that begin alike"


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
    try:
        if found.match("", timeout=seconds(SPAN_SECONDS)):
            raise ValueError(f"the pattern of span '{name}' matches nothing at all, so it matches everywhere")
        if any(not match.group() for match in found.finditer(pattern, timeout=seconds(SPAN_SECONDS))):
            raise ValueError(f"the pattern of span '{name}' can match a place between letters, where there is no token")
    except TimeoutError:
        what = f"the pattern of span '{name}' needs more than {seconds(SPAN_SECONDS):g} seconds for its own text"
        raise ValueError(f"{what}; {_MEND}") from None


@dataclass
class Span:
    """A compiled pattern, the texts that it was looked for in, and the seconds of the processor that this took."""

    name: str
    pattern: Any
    texts: int = 0
    seconds: float = 0.0

    def find(self, text: str) -> Sequence[tuple[int, int]]:
        """Where the pattern is found in a text. Raises ``InputError``: it takes too long, or finds a place between letters."""
        where, begun = f"model.spans '{self.name}'", time.process_time()
        try:
            found = [match.span() for match in self.pattern.finditer(text, timeout=seconds(SPAN_SECONDS))]
        except TimeoutError:
            what = f"its pattern needs more than {seconds(SPAN_SECONDS):g} seconds for one text"
            raise InputError(what, where=where, mend=_MEND) from None
        self.texts, self.seconds = self.texts + 1, self.seconds + time.process_time() - begun
        if self.seconds > seconds(SPANS_SECONDS) + SPAN_EACH * self.texts:
            told = f"its pattern took {self.seconds:.0f} seconds for {self.texts} texts"
            raise InputError(told, where=where, mend=_MEND)
        if any(start == end for start, end in found):
            mend = "let it match a letter"
            raise InputError("its pattern matches a place between letters, where there is no token", where=where, mend=mend)
        return found


def compile_spans(spans: dict[str, str]) -> dict[str, Span]:
    """Compiled patterns by the names of their spans."""
    return {name: Span(name, _compiled(name, pattern)) for name, pattern in spans.items()}
