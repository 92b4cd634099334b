"""Many runs on one page: order, what changed, what got worse, speed, and a page that is escaped, named and free of scripts."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from released_packs import bytes_only, edit

from proxyaudit.cli.main import main
from proxyaudit.comparison.history import changes
from proxyaudit.evidence.pack import EvidencePack, read_pack, write_pack
from proxyaudit.reporting.history import History, Left, history_of, worsenings
from proxyaudit.reporting.history_page import answer, history_page
from proxyaudit.reporting.html import page_html
from tests.unit.small_packs import estimate, finding, small_pack

EXAMPLE = Path(__file__).parents[2] / "reports" / "example"
CLEAN = small_pack([estimate("linear", 0.001, "absent"), estimate("expressed", -0.01, "absent")], [finding("removed")])
WORSE = small_pack([estimate("linear", 0.2, "present"), estimate("expressed", 0.1, "present")], [finding("exposed")])


def dated(pack: EvidencePack, day: int, *, name: str = "small", recipe: dict[str, Any] | None = None, **plan: Any) -> EvidencePack:
    """The pack as a run of its own of some day."""
    run = pack.evidence.run.model_copy(update={"id": f"{day:012x}", "name": name})
    environment = {**pack.environment, "started": f"2026-{1 + day // 28:02d}-{1 + day % 28:02d}T00:00:00+00:00"}
    evidence = pack.evidence.model_copy(update={"run": run})
    return replace(pack, evidence=evidence, environment=environment, recipe={**pack.recipe, **(recipe or {})}, plan={**pack.plan, **plan})


def page(history: History) -> str:
    return page_html(history_page(history))


def test_runs_stand_in_the_order_of_their_dates_by_audit() -> None:
    found = history_of([dated(CLEAN, 3), dated(CLEAN, 1), dated(CLEAN, 2, name="other")])
    assert {name: [(p.number, p.id) for p in points] for name, points in found.audits.items()} == {
        "other": [(1, f"{2:012x}")],
        "small": [(1, f"{1:012x}"), (2, f"{3:012x}")],
    }


@pytest.mark.parametrize(
    ("recipe", "plan", "words"),
    [
        ({}, {}, ()),
        ({}, {"hashes": {"data": "u" * 64, "split": "s" * 64}}, ("data",)),
        ({}, {"hashes": {"data": "t" * 64, "split": "another"}}, ()),
        ({"data": {"max_rows": 5}}, {}, ("data",)),
        ({}, {"hashes": {"data": "t" * 64, "checkpoint 1": "c"}}, ("model",)),
        ({"model": {"kind": "mlp"}}, {}, ("model",)),
        ({"seeds": 5}, {}, ("plan",)),
        ({"name": "renamed"}, {}, ()),
        ({}, {"code": "new"}, ("version",)),
        ({"seeds": 5, "model": {"kind": "mlp"}}, {"hashes": {}}, ("data", "model", "plan")),
    ],
)
def test_what_changed_is_told_apart(recipe: dict[str, Any], plan: dict[str, Any], words: tuple[str, ...]) -> None:
    assert changes(dated(CLEAN, 1), dated(CLEAN, 2, recipe=recipe, **plan)).words == words


def test_what_got_worse_is_marked_where_it_did() -> None:
    found = history_of([dated(CLEAN, 1), dated(CLEAN, 2), dated(WORSE, 3), dated(WORSE, 4), dated(CLEAN, 5)])
    ((point, pair, words),) = worsenings(found.audits["small"])
    assert (point.number, pair) == (3, ("sex", "model"))
    assert "Removed before, ● Exposed now" in words
    assert "a larger gap" in words
    assert answer(found) == "The newest run is no worse; it last got worse at run 3 of 5 of small (sex)."
    assert (
        answer(history_of([dated(CLEAN, 1), dated(WORSE, 2)]))
        == "The newest run may be worse than the one before: run 2 of 2 of small (sex)."
    )
    assert answer(history_of([dated(WORSE, 1), dated(CLEAN, 2)])) == "No run surely shows more than the one before it."
    assert answer(history_of([dated(WORSE, 1)])) == "There is one run so far: run the audit again and this says what changed."


def test_a_gap_counts_by_its_size_and_only_beyond_both_intervals() -> None:
    turned = small_pack([estimate("expressed", -0.1, "present")], [finding("exposed")])
    near = small_pack([estimate("expressed", 0.103, "present")], [finding("exposed")])
    assert worsenings(history_of([dated(turned, 1), dated(near, 2)]).audits["small"]) == []
    far = small_pack([estimate("expressed", 0.2, "present")], [finding("exposed")])
    assert [words for _, _, words in worsenings(history_of([dated(turned, 1), dated(far, 2)]).audits["small"])] == ["a larger gap"]


def thirty() -> list[EvidencePack]:
    """Thirty runs of the example's size; from the 23rd on the gap after one kind of training is twice what it was."""
    base, packs = read_pack(EXAMPLE), []
    for day in range(30):
        grown = [
            e.model_copy(update={key: 2.5 * getattr(e, key) for key in ("value", "low", "high")})
            if (e.channel, e.attribute, e.regime) == ("expressed", "sex", "tvae") and e.value is not None and day >= 22
            else e
            for e in base.evidence.estimates
        ]
        evidence = base.evidence.model_copy(update={"estimates": tuple(grown)})
        recipe = {"model": {"kind": "mlp", "epochs": 8 if day < 22 else 16}}
        packs.append(dated(replace(base, evidence=evidence), day, name="quickstart", recipe=recipe))
    return packs


def test_thirty_runs_take_less_than_two_seconds_and_show_a_planted_regression() -> None:
    packs = thirty()
    started = time.process_time()
    html = page(history_of(packs))
    assert time.process_time() - started < 2.0
    assert "it last got worse at run 23 of 30 of quickstart (sex)." in html
    first = re.sub("<[^>]+>", " ", html.split("<nav")[0].split("<header>")[1])
    assert "Run 23 (2026-01-23), sex in tvae: a larger gap." in first
    assert "changed: model" in html


def test_the_page_is_named_escaped_and_asks_for_nothing() -> None:
    hostile = '"><script>x</script>\u202e'
    packs = [
        dated(
            small_pack([estimate("expressed", gap, "present", attribute=hostile)], [finding("exposed", attribute=hostile)]),
            day,
            name=hostile,
        )
        for day, gap in ((1, 0.1), (2, 0.3))
    ]
    html = page(history_of(packs, [Left(hostile, "it did not end")]))
    assert "<script" not in html
    assert "\u202e" not in html
    assert "http" not in re.sub(r'http-equiv="[^"]*"', "", html)
    charts = re.findall(r'<svg [^>]*role="img"[^>]*>(.*?)</svg>', html, re.DOTALL)
    assert charts
    assert all("<title" in chart and "<desc" in chart for chart in charts)
    assert len(set(re.findall(r' id="([^"]+)"', html))) == len(re.findall(r' id="([^"]+)"', html))
    assert page(history_of([])).count("There is no run to show.") == 1


def test_the_command_writes_prints_and_returns_its_code(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    bytes_only(monkeypatch)
    for day, pack in ((1, CLEAN), (2, WORSE)):
        write_pack(dated(pack, day), tmp_path / "runs" / f"run{day}", reports={"report.html": "", "report.md": ""})
    (tmp_path / "runs" / "begun").mkdir()
    (tmp_path / "runs" / "begun" / "plan.json").write_text("{}", encoding="utf-8")
    folder, out = str(tmp_path / "runs"), tmp_path / "history.html"
    assert main(["history", folder, "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "The newest run may be worse than the one before" in shown
    assert "Left out: begun: it did not end" in shown
    assert "Runs of small" in out.read_text(encoding="utf-8")
    assert main(["history", folder, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [run["findings"][0]["verdict"] for run in said["audits"]["small"]] == ["removed", "exposed"]
    assert said["audits"]["small"][1]["findings"][0]["worse"] is True
    assert main(["history", str(tmp_path / "nowhere")]) == 2
    assert main(["history", folder, "--out", str(tmp_path / "runs" / "run1" / "x.html")]) == 2
    (tmp_path / "runs" / "run2" / "report.md").write_text("altered", encoding="utf-8")
    edit(tmp_path / "runs" / "run1", lambda d: d["findings"][0].update(sentence="x"))
    (tmp_path / "runs" / "run1" / "evidence.json").write_text("{}", encoding="utf-8")
    capsys.readouterr()
    assert main(["history", folder]) == 4
    shown = capsys.readouterr().out
    assert "run1: evidence.json does not match its hash" in shown
    assert str(tmp_path) not in shown
