"""The report in headless Chromium: no error, no request, nothing wider than the window, every chart named, hostile names harmless.

Where axe-core is installed beside this file, its WCAG 2 A and AA rules run too: on a large report, on a comparison and on every
example, on a narrow and on a wide screen, in light, dark and print colours.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from chromium import AXE, CHROMIUM, chromium, look
from large_pack import large_pack

from proxyaudit.comparison.compare import compare_packs
from proxyaudit.evidence.pack import EvidencePack, read_pack
from proxyaudit.reporting.comparison import comparison_page
from proxyaudit.reporting.history import history_of
from proxyaudit.reporting.history_page import history_page
from proxyaudit.reporting.html import page_html, render_html

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path: the report is not looked at in a browser"),
]
HOSTILE = "\"><img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>\u202e" + "w" * 300
RIGHT_TO_LEFT = "نص عربي طويل " * 8
SITES = ("block0", "block1", "block2", "block3", "penultimate")
REPORTS = Path(__file__).parents[2] / "reports"
EXAMPLES = sorted(path.parent.name for path in REPORTS.glob("example*/report.html"))
WIDTHS = (380, 1440)
VIEWS = ((380, "light"), (1440, "light"), (380, "dark"), (1440, "print"))


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
    comparison = page_html(comparison_page(compare_packs(plain, large_pack(("sex", "race", "age"), regimes, SITES, training=True))))
    history = page_html(history_page(history_of([older(plain), plain])))
    examples = {name: render_html(read_pack(REPORTS / name)) for name in EXAMPLES}
    return {"plain": render_html(plain), "hostile": render_html(hostile), "comparison": comparison, "history": history, **examples}


def older(pack: EvidencePack) -> EvidencePack:
    """The same run as of an earlier day, by another model."""
    return replace(pack, environment={"started": "2026-01-01T00:00:00+00:00"}, recipe={**pack.recipe, "model": {"kind": "mlp"}})


@pytest.mark.long
@pytest.mark.parametrize("width", WIDTHS)
def test_a_history_overflows_nowhere_and_names_its_charts(width: int, pages: dict[str, str], tmp_path: Path) -> None:
    found = look(pages["history"], tmp_path, (width, "light"))[f"{width} light"]
    assert found["overflow"] <= 0, found["widest"]
    assert found["requests"] == 0
    assert len(found["charts"]) >= 6
    assert all(title > 5 and description > 5 for title, description in found["charts"])
    assert found["small"] > 7.5, "letters in charts too small to read"
    assert (found["cut"], found["crossed"]) == ([], [])


@pytest.mark.parametrize("name", ["plain", "hostile"])
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_overflows_and_every_chart_is_named(name: str, width: int, pages: dict[str, str], tmp_path: Path) -> None:
    found = look(pages[name], tmp_path, (width, "light"))[f"{width} light"]
    assert found["overflow"] <= 0, found["widest"]
    assert found["overflow_open"] <= 0
    assert found["requests"] == 0
    assert not found["title"].startswith("owned")
    assert len(found["charts"]) > 20
    assert all(title > 5 and description > 5 for title, description in found["charts"])
    assert found["small"] > 7.5, "letters in charts too small to read"
    assert (found["cut"], found["crossed"]) == ([], [])


@pytest.mark.long
@pytest.mark.parametrize("name", ["plain", "hostile"])
def test_the_page_as_written_says_nothing_on_the_console(name: str, pages: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(pages[name], encoding="utf-8")
    done = chromium("--enable-logging=stderr", "--dump-dom", f"file://{path}", profile=tmp_path / "profile")
    assert "What next" in done.stdout
    assert "CONSOLE" not in done.stderr
    assert "<title>owned" not in done.stdout


@pytest.mark.long
def test_a_request_or_an_error_would_be_noticed(pages: dict[str, str], tmp_path: Path) -> None:
    asking = pages["plain"].replace("</main>", '<img alt="" src="http://127.0.0.1:9/x.png"></main>')
    assert look(asking, tmp_path, (380, "light"))["380 light"]["requests"] == 1
    path = tmp_path / "report.html"
    path.write_text(asking, encoding="utf-8")
    assert "CONSOLE" in chromium("--enable-logging=stderr", "--dump-dom", f"file://{path}", profile=tmp_path / "profile").stderr


@pytest.mark.parametrize("name", ["plain", "comparison", "history", *EXAMPLES])
def test_axe_finds_nothing(name: str, pages: dict[str, str], tmp_path: Path) -> None:
    if not AXE.is_file():
        pytest.skip("no axe-core: 'npm ci --prefix tests/browser --ignore-scripts' installs it; accessibility rules are not run")
    found = look(pages[name], tmp_path, *VIEWS, axe=True)
    assert {view: one["axe"] for view, one in found.items() if one["axe"]} == {}
    assert len(found) == len(VIEWS)
    assert min(one["axe_passes"] for one in found.values()) > 20


def test_the_printed_page_has_readable_pages(pages: dict[str, str], tmp_path: Path) -> None:
    path, pdf = tmp_path / "report.html", tmp_path / "report.pdf"
    path.write_text(pages["plain"], encoding="utf-8")
    chromium("--no-pdf-header-footer", f"--print-to-pdf={pdf}", f"file://{path}", profile=tmp_path / "profile")
    data = pdf.read_bytes()
    count = len(re.findall(rb"/Type\s*/Page[^s]", data))
    assert 4 <= count <= 30, count
