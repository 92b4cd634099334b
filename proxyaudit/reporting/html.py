"""The report as one HTML file: no script, no request, the same bytes for the same pack."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import jinja2
import yaml
from markupsafe import Markup

from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.reporting import charts
from proxyaudit.reporting.facts import command, facts, failures, hash_lines, made, margin_words
from proxyaudit.reporting.localisation import LOCALISATION_NOTE, localisation_views
from proxyaudit.reporting.proxies import PROXY_NOTE, proxy_views
from proxyaudit.reporting.summary import AttributeView, Summary, summarize
from proxyaudit.reporting.text import interval, join_words, number, shorten, visible
from proxyaudit.reporting.words import (
    CHANGES,
    CHANNEL_WORDS,
    CHANNELS_OF_ACTIVATIONS,
    EFFORT_NOTE,
    GLOSSARY,
    REFERENCE_WORDS,
    STATES,
    WORDS_OF_MODELS,
    channel_word,
    plain_word,
    state_word,
    verdict_glossary,
)

__all__ = ["render_html"]

# A page with more rows than this is slow to open; the rest stays in evidence.json.
_MOST_ROWS = 2000
# "hidden" alone would read as the HTML attribute of that name.
_CLASSES = {"exposed": "exposed", "hidden": "hidden-inside", "removed": "removed", "inconclusive": "inconclusive"}


@dataclass(frozen=True)
class _Chart:
    name: str
    svg: Markup
    legend: tuple[tuple[str, Markup, str], ...]


def render_html(pack: EvidencePack) -> str:
    """Return the report of a pack as one HTML document. Pure: the same pack gives the same text."""
    summary = summarize(pack)
    evidence = pack.evidence
    refs = {f.retention for f in evidence.findings if f.retention}
    return _template().render(
        summary=summary,
        failures=failures(pack),
        run=evidence.run,
        schema_version=evidence.schema_version,
        findings={(f.attribute, f.regime): f for f in evidence.findings},
        retentions={e.id: e for e in evidence.estimates if e.id in refs},
        verdicts=summary.verdicts,
        classes=_CLASSES,
        changes=CHANGES,
        channels={key: words for key, words in CHANNEL_WORDS.items() if not summary.bare or key in CHANNELS_OF_ACTIVATIONS},
        states=STATES,
        references=REFERENCE_WORDS,
        shown_references={row.regime for view in summary.attributes for row in view.references},
        glossary=(*verdict_glossary(summary.verdicts), *(g for g in GLOSSARY if not summary.bare or g[0] not in WORDS_OF_MODELS)),
        command=command(pack),
        margins=margin_words(pack.plan),
        profiles=_profiles(summary),
        effort_note=EFFORT_NOTE,
        proxy_note=PROXY_NOTE,
        proxies=proxy_views(pack),
        localisation_note=LOCALISATION_NOTE,
        localisations=localisation_views(pack),
        scatters=_scatters(summary, pack),
        notable=[c for c in evidence.controls if c.passed is not True],
        not_tested=evidence.not_tested,
        made=made(pack),
        facts=facts(pack),
        hashes=hash_lines(pack),
        recipe=Markup("\n").join(visible(line) for line in _recipe_text(pack).split("\n")),
        all_estimates=evidence.estimates[:_MOST_ROWS],
        total=len(evidence.estimates),
        css=Markup(_source("page.css")),
    )


def _profiles(summary: Summary) -> list[_Chart]:
    found: list[_Chart] = []
    for index, view in enumerate(summary.attributes):
        if view.profile.series:
            svg = charts.profile_chart(
                view.profile, summary.regimes, ident=f"p{index}", title=f"Leak inside along the model for {view.name}"
            )
            found.append(_chart(view, svg, [series.name for series in view.profile.series], summary, f"p{index}"))
    return found


def _scatters(summary: Summary, pack: EvidencePack) -> list[_Chart]:
    margins = pack.plan.get("margins")
    leak, gap = (margins.get("leak"), margins.get("gap")) if isinstance(margins, dict) else (None, None)
    found: list[_Chart] = []
    for index, view in enumerate(summary.attributes):
        title = f"Output gap against leak inside for {view.name}"
        svg, names = charts.scatter_chart(view, summary.regimes, (leak, gap), ident=f"o{index}", title=title)
        if svg:
            found.append(_chart(view, svg, names, summary, f"o{index}"))
    return found


def _chart(view: AttributeView, svg: str, names: list[str], summary: Summary, ident: str) -> _Chart:
    looks = ((name, charts.style_of(name, summary.regimes)) for name in names)
    legend = tuple(
        (name, Markup(charts.swatch(look, ident=f"{ident}-k{index}")), "reference" if name in REFERENCE_WORDS else "")
        for index, (name, look) in enumerate(looks)
    )
    return _Chart(shorten(visible(view.name), 60), Markup(svg), legend)


def _recipe_text(pack: EvidencePack) -> str:
    return yaml.safe_dump(pack.recipe, sort_keys=False, allow_unicode=True, width=100)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("proxyaudit.reporting", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        finalize=_finalize,
    )
    environment.filters |= {
        "number": number,
        "interval": interval,
        "state": lambda estimate: state_word(estimate.state),
        "channel": channel_word,
        "plain": plain_word,
        "origin": lambda word: f" ({word})" if word in ("learned", "relayed") else "",
        "levels": lambda levels: join_words([*map(str, levels[:8]), *([f"{len(levels) - 8} more"] if len(levels) > 8 else [])]),
    }
    return environment


def _finalize(value: Any) -> Any:
    """Make every inserted string visible; what is marked as safe was made here and stays."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _template() -> jinja2.Template:
    return _environment().get_template("report.html.jinja")


def _source(name: str) -> str:
    environment = _environment()
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]
