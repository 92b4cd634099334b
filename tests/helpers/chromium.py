"""A page in headless Chromium: what it holds at one width and in one set of colours, and what axe-core finds in it there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
# `npm ci --prefix tests/browser --ignore-scripts` puts it there; package-lock.json pins it.
AXE = Path(__file__).parents[1] / "browser" / "node_modules" / "axe-core" / "axe.min.js"
COLOURS = {"light": "", "dark": "(prefers-color-scheme: dark)", "print": "print"}

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
  const charts = [...document.querySelectorAll('svg[role=img]')];
  found.charts = charts.map(s => [s.querySelector('title'), s.querySelector('desc')].map(e => e ? e.textContent.length : 0));
  const letters = [...document.querySelectorAll('svg text')];
  found.small = Math.min(...letters.map(t => t.getBoundingClientRect().height));
  found.cut = letters.filter(t => { const a = t.getBoundingClientRect(), b = t.ownerSVGElement.getBoundingClientRect();
    return a.width && (a.left < b.left - 1 || a.right > b.right + 1); }).map(t => t.textContent);
  found.crossed = charts.flatMap(s => {
    const all = [...s.querySelectorAll('text:not([transform])')].map(t => [t.textContent, t.getBoundingClientRect()]);
    return all.flatMap(([one, a], i) => all.slice(i + 1).filter(([, b]) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 2
      && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > a.height / 3).map(([other]) => one + ' / ' + other));
  });
  if (window.axe) {
    const rules = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'];
    const result = await axe.run(document, {resultTypes: ['violations'], runOnly: rules});
    found.axe = result.violations.map(v => [v.id, v.impact, v.nodes.length, v.nodes[0].html.slice(0, 200),
      v.nodes[0].failureSummary.slice(0, 300)]);
    found.axe_passes = result.passes.length;
  }
  parent.postMessage(JSON.stringify([NAME, found]), '*');
})().catch(error => parent.postMessage(JSON.stringify([NAME, {error: String(error)}]), '*'));
"""
FRAME = '<iframe srcdoc="{page}" style="width:{width}px;height:900px;border:0"></iframe>'
HARNESS = """<!doctype html><title>waiting</title>{frames}<script>const all = [];
addEventListener('message', e => {{ all.push(JSON.parse(e.data)); if (all.length === {count})
  document.body.textContent = 'RESULT' + encodeURIComponent(JSON.stringify(Object.fromEntries(all))) + 'END'; }});</script>"""


def chromium(*options: str, profile: Path) -> subprocess.CompletedProcess[str]:
    """Run Chromium with these options and no network."""
    assert CHROMIUM is not None
    fixed = (
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
        *("--disable-component-update", "--disable-sync", "--hide-scrollbars", f"--user-data-dir={profile}"),
    )
    return subprocess.run([CHROMIUM, *fixed, *options], capture_output=True, text=True, timeout=240, check=False)


def look(html: str, folder: Path, *views: tuple[int, str], axe: bool = False) -> dict[str, dict[str, Any]]:
    """Open the page in one frame for each width and colours; what the probe found, by ``"<width> <colours>"``."""
    library = AXE.read_text(encoding="utf-8") if axe else ""
    frames = []
    for width, colours in views:
        page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
        if COLOURS[colours]:
            page = page.replace(f"@media {COLOURS[colours]}", "@media all")
        codes = (library, PROBE.replace("NAME", json.dumps(f"{width} {colours}")))
        scripts = "".join("<script>" + code.replace("</script", "<\\/script") + "</script>" for code in codes if code)
        frames.append(FRAME.format(page=escape(page.replace("</body>", scripts + "</body>")), width=width))
    path = folder / "harness.html"
    path.write_text(HARNESS.format(frames="".join(frames), count=len(frames)), encoding="utf-8")
    done = chromium("--window-size=1500,1000", "--virtual-time-budget=60000", "--dump-dom", f"file://{path}", profile=folder / "profile")
    found = re.search(r"RESULT(.*?)END", done.stdout)
    assert found, (done.stdout[-500:], done.stderr[-2000:])
    result: dict[str, dict[str, Any]] = json.loads(unquote(unescape(found[1])))
    assert not [one for one in result.values() if "error" in one], result
    return result
