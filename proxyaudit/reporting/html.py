"""The report as one HTML file: no script, no request, the same bytes for the same pack."""

from __future__ import annotations

from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup

from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.reporting.context import Context
from proxyaudit.reporting.facts import failures
from proxyaudit.reporting.overview import first_screen
from proxyaudit.reporting.sections import sections
from proxyaudit.reporting.text import visible

__all__ = ["render_html"]

# "hidden" alone would read as the HTML attribute of that name.
_CLASSES = {"exposed": "exposed", "hidden": "hidden-inside", "removed": "removed", "inconclusive": "inconclusive"}


def render_html(pack: EvidencePack) -> str:
    """Return the report of a pack as one HTML document. Pure: the same pack gives the same text."""
    context = Context.of(pack)
    return (
        _environment()
        .get_template("report.html.jinja")
        .render(
            summary=context.summary,
            failures=failures(pack),
            run=pack.evidence.run,
            schema_version=pack.evidence.schema_version,
            verdicts=context.summary.verdicts,
            classes=_CLASSES,
            first=first_screen(context),
            sections=sections(context),
            css=Markup(_source("page.css")),
        )
    )


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("proxyaudit.reporting", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        finalize=_finalize,
    )
    # Charts are made here and escape what they show; typed lines keep their line ends.
    environment.filters |= {"drawn": Markup, "typed": lambda text: Markup("\n").join(visible(line) for line in text.split("\n"))}
    return environment


def _finalize(value: Any) -> Any:
    """Make every inserted string visible; what is marked as safe was made here and stays."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _source(name: str) -> str:
    environment = _environment()
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]
