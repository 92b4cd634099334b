"""Names and reasons from data are hostile: a report must show them and do nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from large_pack import large_pack

from proxyaudit.cli.main import main
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.reporting.html import render_html
from proxyaudit.reporting.markdown import escape, render_markdown
from proxyaudit.reporting.model_card import render_model_card
from proxyaudit.types import NotTested

HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>'",
    "</style><style>*{display:none}</style>",
    "]]></svg><script>1</script><!--",
    "{{ 7*7 }}{% raw %}",
    r"$\frac{1}{0}$ and $x_",
    "_private",
    "&amp;&#60;",
    "javascript:alert(1)",
    "http://evil.example/x.png",
    "a\u202egnp.exe\u200f\u2066",
    "tab\tnew\nline\x00\x1b[31m",
    "lone \ud800 surrogate",
    "| pipe ` tick * star [x](http://evil.example) ![i](x) # h",
    "w" * 300,
    "نص عربي 中文 🧑🏽‍💻",
    "#010101",
)
ALLOWED = frozenset(
    [
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "header",
        "footer",
        "main",
        "nav",
        "section",
        "h1",
        "h2",
        "h3",
        "p",
        "b",
        "strong",
        "br",
        "span",
        "small",
        "ul",
        "li",
        "a",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "div",
        "dl",
        "dt",
        "dd",
        "pre",
        "code",
        "details",
        "summary",
        "figure",
        "figcaption",
        "svg",
        "g",
        "path",
        "text",
        "desc",
        "circle",
        "line",
        "polygon",
    ]
)


class _Page(HTMLParser):
    """Collects what a browser would see."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str | None]] = []
        self.text: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id" and value]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def _everywhere(pack: EvidencePack, text: str) -> EvidencePack:
    """Put the text into every free string that reaches a report."""
    evidence = pack.evidence
    estimates = tuple(
        e.model_copy(
            update={
                "site": text if e.site == "hidden1" else e.site,
                "group": text if e.group else e.group,
                "context": text if e.context == "within label" else e.context,
                "unit": text,
                "method": text,
                "reason": text,
            }
        )
        for e in evidence.estimates
    )
    findings = tuple(f.model_copy(update={"sentence": text, "would_settle": text}) for f in evidence.findings)
    controls = tuple(c.model_copy(update={"detail": text, "kind": text, "site": text}) for c in evidence.controls)
    run = evidence.run.model_copy(update={"status": "partial", "name": text, "id": text, "plan_digest": text, "versions": {text: text}})
    changed = evidence.model_copy(
        update={
            "estimates": estimates,
            "findings": findings,
            "controls": controls,
            "run": run,
            "not_tested": (NotTested(what=text, why=text),),
        }
    )
    attributes = [{**entry, "kind": text, "levels": [text]} for entry in pack.plan["attributes"]]
    sites = {"verdict": ["penultimate"], "profile": [text, "hidden2", "penultimate"]}
    plan: dict[str, Any] = {
        **pack.plan,
        "attributes": attributes,
        "sites": sites,
        "target": {"name": text, "classes": [text]},
        "hashes": {text: text},
    }
    recipe = {"name": text, "data": {"path": text, "exclude": [text]}, "model": {text: text}}
    return replace(pack, evidence=changed, plan=plan, recipe=recipe, environment={"finished": text, "failures": [text]})


def _render(make_pack: Callable[..., EvidencePack], text: str) -> EvidencePack:
    return _everywhere(make_pack((text, "race")), text)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_html_holds_no_live_thing_from_data(text: str, make_pack: Callable[..., EvidencePack]) -> None:
    page = _Page()
    html = render_html(_render(make_pack, text))
    page.feed(html)
    assert page.tags <= ALLOWED
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        assert name not in ("src", "srcset", "action", "formaction", "background", "ping", "data")
        if name == "href":
            assert value is not None
            assert value.startswith("#")
    assert len(page.ids) == len(set(page.ids)), "an id is given twice"
    assert html.count("</style>") == 1
    assert html.count("<style") == 1
    assert "url(http" not in html
    assert "@import" not in html
    # Nothing that cannot be seen, or that turns the reading direction, is left.
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069\u200e\u200f\ud800-\udfff]", html)
    html.encode("utf-8")


@pytest.mark.parametrize("text", HOSTILE[:10], ids=range(10))
def test_html_shows_the_text_as_it_is(text: str, make_pack: Callable[..., EvidencePack]) -> None:
    page = _Page()
    page.feed(render_html(_render(make_pack, text)))
    assert text in page.text


def test_every_reference_inside_a_chart_has_its_target(pack: EvidencePack) -> None:
    page = _Page()
    html = render_html(pack)
    page.feed(html)
    targets = [value[1:] for _, name, value in page.attributes if name == "href" and value]
    assert "url(" not in html
    targets += [ident for _, name, value in page.attributes if name == "aria-labelledby" and value for ident in value.split()]
    assert targets
    assert set(targets) <= set(page.ids)


def test_long_names_are_cut_in_charts_and_whole_in_tables(make_pack: Callable[..., EvidencePack]) -> None:
    html = render_html(_render(make_pack, "w" * 300))
    drawn = re.findall(r"<text[^>]*>([^<]*)</text>", html)
    assert drawn
    assert max(map(len, drawn)) <= 45
    assert f">{'w' * 300}" in html


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_everywhere_a_report_can_have_them(text: str) -> None:
    """Attribute, regime, site, column, group and categories at once, in every picture and section."""
    pack = large_pack((text, text + "1"), ("real", text + "r", text + "m"), ("in", text + "t"), columns=(text + "c",), group=text)
    page = _Page()
    html = render_html(pack)
    page.feed(html)
    assert page.tags <= ALLOWED
    assert not any(name.startswith("on") or name in ("src", "srcset") for _, name, _ in page.attributes)
    assert all(value is not None and value.startswith("#") for _, name, value in page.attributes if name == "href")
    assert len(page.ids) == len(set(page.ids))
    labels = [value for tag, name, value in page.attributes if (tag, name) == ("div", "aria-label")]
    assert len(labels) == len(set(labels)), "two regions of one name"
    markdown = render_markdown(pack)
    assert not any(re.search(r"<[A-Za-z/!]", line) or ("](" in line and "\\](" not in line) for line in _plain_lines(markdown))
    card = render_model_card(pack)
    assert not any(re.search(r"<[A-Za-z/]", line) or ("](" in line and "\\](" not in line) for line in _plain_lines(card))


def test_dollars_are_drawn_as_dollars(make_pack: Callable[..., EvidencePack]) -> None:
    html = render_html(_render(make_pack, "$a^2$"))
    assert "$a^2$</text>" in html


def _plain_lines(markdown: str) -> list[str]:
    return [line for line in markdown.splitlines() if not line.startswith("    ")]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_markdown_holds_no_html_link_or_extra_cell(text: str, make_pack: Callable[..., EvidencePack]) -> None:
    markdown = render_markdown(_render(make_pack, text))
    markdown.encode("utf-8")
    lines = _plain_lines(markdown)
    assert not any(re.search(r"<[A-Za-z/!]", line) for line in lines)
    assert not any("](" in line and "\\](" not in line for line in lines)
    assert not any("http://" in line for line in lines)
    columns = 0
    for line in lines:
        if not line.startswith("|"):
            columns = 0
            continue
        columns = columns or line.count("|")
        assert line.count("|") == columns, line[:200]


def test_escape_leaves_plain_names_alone() -> None:
    assert escape("gaussian_copula, 0.5 (a to b)") == "gaussian_copula, 0.5 (a to b)"


@pytest.mark.parametrize("name", ["a\u009b31mb", "a\u202eb", "a\u2066b", "a\U000e0041b", "a\u00adb"])
def test_json_for_machines_steers_no_terminal(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """People look at it on a terminal too: escapes mean the same to machines."""
    assert main(["verify", str(tmp_path / name), "--json"]) == 2
    told = capsys.readouterr()
    assert name[1] not in told.out + told.err
    assert name in json.loads(told.out)["error"]
