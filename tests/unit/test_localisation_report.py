"""The section on localisation: one answer a kind of training, tried and skipped parts, nothing where there is nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.evidence.schema import identify
from proxyaudit.reporting.html import render_html
from proxyaudit.reporting.markdown import render_markdown
from proxyaudit.reporting.sections.localisation import LOCALISATION_NOTE, localisation_views
from proxyaudit.reporting.text import DASH
from proxyaudit.types import Estimate

HOSTILE = "<script>alert(1)</script>"


def estimate(channel: str, context: str | None, value: float | None, **more: Any) -> Estimate:
    fields = {"attribute": "sex", "regime": "real", "site": "penultimate", "group": "f to m", **more}
    ends = {} if value is None else {"low": value - 0.01, "high": value + 0.01}
    measure, subject, _ = identify(channel, fields["regime"], context, fields["site"])
    name = f"L{channel}{context}{fields['regime']}{fields['site']}"
    about = {"channel": channel, "measure": measure, "subject": subject, "context": context}
    return Estimate(id=name, value=value, **about, **ends, **fields)


def lines() -> list[Estimate]:
    return [
        estimate("localisation", "whole site", 0.12, n=400, raw=0.11),
        estimate("localisation", "unit 17", 0.03, n=400, raw=0.0312),
        estimate("localisation_per_row", "unit 17", 0.04),
        estimate("localisation_share", "unit 17", 0.25),
        estimate("localisation", "unit 3", 0.0, reason="tried: not surely different from zero in every model"),
        estimate("localisation", "random: unit 5", 0.001),
        estimate("localisation", "together: the first 3 of 32 (unit 17, unit 4, unit 8)", 0.1),
        estimate("localisation_share", "together: the first 3 of 32 (unit 17, unit 4, unit 8)", 0.83),
        estimate("localisation", "skipped: 24 parts", None, reason="the gradient predicts at most 0.001"),
    ]


def with_estimates(pack: EvidencePack, estimates: list[Estimate]) -> EvidencePack:
    evidence = pack.evidence.model_copy(update={"estimates": (*pack.evidence.estimates, *estimates)})
    return replace(pack, evidence=evidence)


def test_parts_that_were_tried_and_skipped_are_shown_with_what_they_did(pack: EvidencePack) -> None:
    (view,) = localisation_views(with_estimates(pack, lines()))
    assert view.attribute == "sex"
    assert "the first 3 of 32 (unit 17, unit 4, unit 8) parts together carry 83 % (82 to 84)" in view.answer
    (table,) = view.tables
    rows = {row[1]: row for row in table.rows}
    assert rows["unit 17"] == (
        "penultimate", "unit 17", "0.0312", "0.030 (0.020 to 0.040)", "0.040 (0.030 to 0.050)", "25 % (24 to 26)", "confirmed",
    )  # fmt: skip
    assert rows["unit 3"][-1] == "tried: not surely different from zero in every model"
    assert rows["random: unit 5"][-1] == "control"
    assert rows["skipped: 24 parts"][3:] == (DASH, DASH, DASH, "the gradient predicts at most 0.001")
    assert "400 recipients" in table.remarks[0]


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        (slice(0, 6), "spread out; the strongest part alone (unit 17) carries 25 %"),
        (slice(0, 1), "no single part was confirmed"),
        (slice(4, 5), "no effect was confirmed"),
    ],
)
def test_the_answer_says_no_more_than_was_confirmed(pack: EvidencePack, kept: slice, words: str) -> None:
    (view,) = localisation_views(with_estimates(pack, lines()[kept]))
    assert words in view.answer


def test_kinds_of_training_that_agree_are_told_once(pack: EvidencePack) -> None:
    alike = [e.model_copy(update={"regime": name}) for name in ("real", "vendor") for e in lines()[4:5]]
    other = [e.model_copy(update={"regime": "tvae"}) for e in lines()[:6]]
    (view,) = localisation_views(with_estimates(pack, [*alike, *other]))
    assert view.answer.count("After training on ") == 2
    assert "After training on real and vendor data, at penultimate: no effect was confirmed." in view.answer


def test_nothing_localised_no_section(pack: EvidencePack) -> None:
    assert localisation_views(pack) == ()
    assert "Where the effect comes from" not in render_html(pack) + render_markdown(pack)
    reason = estimate("localisation", None, None, site=None, reason="no label has enough rows of both groups")
    text = render_markdown(with_estimates(pack, [reason]))
    assert "Nothing was localised: no label has enough rows of both groups." in text


def test_both_reports_hold_the_section_and_stay_harmless(pack: EvidencePack) -> None:
    full = with_estimates(pack, [*lines(), estimate("localisation", f"unit {HOSTILE}", 0.1, site=HOSTILE)])
    html, text = render_html(full), render_markdown(full)
    assert 'id="localisation"' in html
    assert LOCALISATION_NOTE[:60] in html
    assert "25 % (24 to 26)" in html
    assert LOCALISATION_NOTE[:60] not in text  # one click below on the page
    for report in (html, text):
        assert "unit 17" in report
        assert HOSTILE not in report
