"""The report in headless Chromium: no error, no request, nothing wider than the window, every chart named, hostile names harmless.

With the path of axe-core's ``axe.min.js`` in PROXYAUDIT_AXE, its WCAG 2 A and AA rules run too, in light, dark and print colours.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from large_pack import large_pack

from proxyaudit.reporting.html import render_html

CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path: the report is not looked at in a browser"),
]
HOSTILE = "\"><img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>\u202e" + "w" * 300
RIGHT_TO_LEFT = "نص عربي طويل " * 8
SITES = ("block0", "block1", "block2", "block3", "penultimate")

# Runs in the page itself, which has lost its policy against scripts for the test.
PROBE = """
(async () => {
  const found = {};
  const wide = document.scrollingElement;
  found.overflow = wide.scrollWidth - wide.clientWidth;
  found.widest = [...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, pre') && !e.closest('svg')
    && e.getBoundingClientRect().right > wide.clientWidth + 1).map(e => e.outerHTML.slice(0, 120)).slice(0, 3);
  document.querySelectorAll('details').forEach(d => d.open = true);
  found.overflow_open = wide.scrollWidth - wide.clientWidth;
  found.title = document.title;
  found.requests = performance.getEntriesByType('resource').length;
  found.charts = [...document.querySelectorAll('svg[role=img]')].map(s => [s.querySelector('title'), s.querySelector('desc')]
    .map(e => e ? e.textContent.length : 0));
  found.small = Math.min(...[...document.querySelectorAll('svg text')].map(t => t.getBoundingClientRect().height));
  if (window.axe) {
    const result = await axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice']});
    found.axe = result.violations.map(v => [v.id, v.impact, v.nodes.length, v.nodes[0].html.slice(0, 200),
      v.nodes[0].failureSummary.slice(0, 300)]);
    found.axe_passes = result.passes.length;
  }
  parent.postMessage(JSON.stringify(found), '*');
})().catch(error => parent.postMessage(JSON.stringify({error: String(error)}), '*'));
"""
HARNESS = """<!doctype html><title>waiting</title><iframe srcdoc="{page}" style="width:{width}px;height:900px;border:0"></iframe>
<script>addEventListener('message', e => {{ document.body.textContent = 'RESULT' + encodeURIComponent(e.data) + 'END'; }});</script>"""


def _chromium(*options: str, profile: Path) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    fixed = (
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
        *("--disable-component-update", "--disable-sync", "--hide-scrollbars", f"--user-data-dir={profile}"),
    )
    return subprocess.run([CHROMIUM, *fixed, *options], capture_output=True, text=True, timeout=120, check=False)


def _probe(html: str, width: int, folder: Path, *, colours: str = "light", axe: bool = False) -> dict[str, Any]:
    """Open the page in a frame of this width and return what the probe found in it."""
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    if colours != "light":
        wanted = {"dark": "(prefers-color-scheme: dark)", "print": "print"}[colours]
        page = page.replace(f"@media {wanted}", "@media all")
    library = Path(os.environ["PROXYAUDIT_AXE"]).read_text(encoding="utf-8") if axe else ""
    scripts = "".join("<script>" + code.replace("</script", "<\\/script") + "</script>" for code in (library, PROBE) if code)
    page = page.replace("</body>", scripts + "</body>")
    quoted = page.replace("&", "&amp;").replace('"', "&quot;")
    path = folder / f"harness-{colours}-{width}.html"
    path.write_text(HARNESS.format(page=quoted, width=width), encoding="utf-8")
    done = _chromium("--window-size=1500,1000", "--virtual-time-budget=60000", "--dump-dom", f"file://{path}", profile=folder / "profile")
    found = re.search(r"RESULT(.*?)END", done.stdout)
    assert found, (done.stdout[-500:], done.stderr[-2000:])
    result: dict[str, Any] = json.loads(unquote(unescape(found[1])))
    assert "error" not in result, result
    return result


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    regimes = ("real", "vendor", "tvae", "mixed-vendor-0.5")
    plain = large_pack(("sex", "race", "age"), regimes, SITES, training=True)
    hostile = large_pack(
        (HOSTILE, RIGHT_TO_LEFT, "w" * 300),
        ("real", HOSTILE + "r", RIGHT_TO_LEFT + "s", "m" * 300),
        ("block0", HOSTILE + "t", "penultimate"),
        columns=(HOSTILE + "c", "x" * 300, RIGHT_TO_LEFT),
        group=HOSTILE + "g",
        training=True,
    )
    return {"plain": render_html(plain), "hostile": render_html(hostile)}


@pytest.mark.parametrize("name", ["plain", "hostile"])
@pytest.mark.parametrize("width", [380, 1440])
def test_nothing_overflows_and_every_chart_is_named(name: str, width: int, pages: dict[str, str], tmp_path: Path) -> None:
    found = _probe(pages[name], width, tmp_path)
    assert found["overflow"] <= 0, found["widest"]
    assert found["overflow_open"] <= 0
    assert found["requests"] == 0
    assert not found["title"].startswith("owned")
    assert len(found["charts"]) > 20
    assert all(title > 5 and description > 5 for title, description in found["charts"])
    assert found["small"] > 7.5, "letters in charts too small to read"


@pytest.mark.parametrize("name", ["plain", "hostile"])
def test_the_page_as_written_says_nothing_on_the_console(name: str, pages: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(pages[name], encoding="utf-8")
    done = _chromium("--enable-logging=stderr", "--dump-dom", f"file://{path}", profile=tmp_path / "profile")
    assert "What next" in done.stdout
    assert "CONSOLE" not in done.stderr
    assert "<title>owned" not in done.stdout


def test_a_request_or_an_error_would_be_noticed(pages: dict[str, str], tmp_path: Path) -> None:
    asking = pages["plain"].replace("</main>", '<img alt="" src="http://127.0.0.1:9/x.png"></main>')
    assert _probe(asking, 380, tmp_path)["requests"] == 1
    path = tmp_path / "report.html"
    path.write_text(asking, encoding="utf-8")
    assert "CONSOLE" in _chromium("--enable-logging=stderr", "--dump-dom", f"file://{path}", profile=tmp_path / "profile").stderr


@pytest.mark.parametrize("colours", ["light", "dark", "print"])
def test_axe_finds_nothing(colours: str, pages: dict[str, str], tmp_path: Path) -> None:
    if not Path(os.environ.get("PROXYAUDIT_AXE", "")).is_file():
        pytest.skip("PROXYAUDIT_AXE does not name axe.min.js: accessibility rules are not run")
    found = _probe(pages["plain"], 1440, tmp_path, colours=colours, axe=True)
    assert found["axe"] == []
    assert found["axe_passes"] > 25


def test_the_printed_page_has_readable_pages(pages: dict[str, str], tmp_path: Path) -> None:
    path, pdf = tmp_path / "report.html", tmp_path / "report.pdf"
    path.write_text(pages["plain"], encoding="utf-8")
    _chromium("--no-pdf-header-footer", f"--print-to-pdf={pdf}", f"file://{path}", profile=tmp_path / "profile")
    data = pdf.read_bytes()
    count = len(re.findall(rb"/Type\s*/Page[^s]", data))
    assert 4 <= count <= 30, count
