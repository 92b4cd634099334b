"""A page as one HTML file: no script, no request, the same bytes for the same page."""

from functools import cache

import jinja2
from markupsafe import Markup

from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.reporting.blocks import Page
from proxyaudit.reporting.first import report_page
from proxyaudit.reporting.text import visible


def render_html(pack: EvidencePack) -> str:
    """The report of a pack as one HTML document. Pure: the same pack gives the same text."""
    return page_html(report_page(pack))


def page_html(page: Page) -> str:
    """A page as one HTML document."""
    return _environment().get_template("page.html.jinja").render(page=page)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("proxyaudit.reporting", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        # Every inserted string is made visible; what is marked as safe was made here and stays.
        finalize=lambda value: visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )
    environment.tests["block"] = lambda block, name: type(block).__name__.lower() == name
    # Charts are made here and escape what they show; typed lines keep their line ends.
    environment.filters |= {"drawn": Markup, "typed": lambda text: Markup("\n").join(visible(line) for line in text.split("\n"))}
    return environment
