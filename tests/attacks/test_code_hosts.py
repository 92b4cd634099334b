"""Names that a code host would make something of when it shows a report: people, issues, mail, links, pictures, labels."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import Any

import pytest
from large_pack import large_pack

from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.reporting.markdown import escape, render_markdown
from proxyaudit.reporting.model_card import render_model_card

NAMES = (
    "@octocat",
    "@org/team",
    "#12",
    "org/repo#12",
    "GH-12",
    "gh-7",
    "a.person@example.org",
    "mailto:a@b.org",
    "https://evil.example/x",
    "www.evil.example",
    "!45",
    "~bug",
    '~"needs review"',
    "%3",
    "&9",
    "$17",
    ":fire:",
    ":+1:",
    "x:y:z",
)
# As GitHub's and GitLab's filters find them in a text that Markdown has done with; code is left alone by both.
FOUND = {
    "a person": r"(?<![\w`])@[a-z0-9]",
    "mail": r"[\w.+-]+@[\w-]+\.[\w.-]+",
    "an issue": r"(?<![\w&])#\d|[\w.-]/[\w.-]+#\d|\bGH-\d",
    "a link": r"\b(?:https?|ftp)://\w|\bwww\.\w",
    "of GitLab": r"(?<![\w])(?:!\d|~[\w\"]|%[\d\"]|&\d|\$\d)",
    "a picture": r":(?!\d\d:)[\w+-]+:",
}


def shown(markdown: str) -> str:
    """What stands in the page, code left out: escapes and entities are gone."""
    lines = [line for line in markdown.splitlines() if not line.startswith("    ")]
    return html.unescape(re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", "\n".join(lines)))


@pytest.mark.parametrize("name", NAMES)
def test_a_name_stays_a_name(name: str) -> None:
    page = shown(escape(f"before {name}, after"))
    assert page.replace("\u200b", "") == f"before {name}, after"
    for what, pattern in FOUND.items():
        assert not re.search(pattern, page, re.IGNORECASE), what


@pytest.mark.parametrize("name", NAMES)
def test_it_does_so_everywhere_in_a_report(name: str) -> None:
    pack = large_pack((name, name + "1"), ("real", name + "r", name + "m"), ("in", name + "t"), columns=(name + "c",), group=name)
    for page in map(shown, (render_markdown(pack), render_model_card(pack))):
        assert name in page.replace("\u200b", "")
        for what, pattern in FOUND.items():
            found = re.search(pattern, page, re.IGNORECASE)
            assert not found, (what, page[max(0, found.start() - 40) : found.end() + 20])


@pytest.mark.parametrize("text", ["24 % of 3,000", "sex (protected): yes", "R&D", "a ~ b", "C# and F#", "ratio 3:1", "p < 0.05; n = 12"])
def test_plain_words_are_not_split(text: str) -> None:
    assert "&#8203;" not in escape(text)


def test_a_real_report_has_nothing_to_split(make_pack: Callable[..., Any]) -> None:
    pack: EvidencePack = make_pack()
    assert "&#8203;" not in render_markdown(pack)
