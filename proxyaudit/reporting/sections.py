"""The order of a report. A section is a function of the context that returns nothing where the pack has no such data."""

from __future__ import annotations

from collections.abc import Callable

from proxyaudit.reporting.acting import causal, proxies, relearning
from proxyaudit.reporting.blocks import Section
from proxyaudit.reporting.context import Context, told_section
from proxyaudit.reporting.inside import depth, mixing, profile
from proxyaudit.reporting.localisation import LOCALISATION_NOTE, localisation_views
from proxyaudit.reporting.overview import figures
from proxyaudit.reporting.record import controls, data, in_short, not_tested, reproduce, words

__all__ = ["SECTIONS", "sections"]


def localisation(context: Context) -> Section | None:
    """Return which places, heads and units carry the effect."""
    return told_section("localisation", "Where the effect comes from", LOCALISATION_NOTE, localisation_views(context.pack))


SECTIONS: tuple[Callable[[Context], Section | None], ...] = (
    in_short,
    figures,
    profile,
    depth,
    mixing,
    causal,
    localisation,
    proxies,
    relearning,
    controls,
    not_tested,
    data,
    words,
    reproduce,
)


def sections(context: Context) -> tuple[Section, ...]:
    """Return the sections that have something to say, in reading order."""
    return tuple(section for make in SECTIONS if (section := make(context)) is not None)
