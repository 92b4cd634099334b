"""Whether the model uses it: what happens when the attribute's trace is swapped."""

from __future__ import annotations

from collections.abc import Sequence

from proxyaudit.reporting import charts
from proxyaudit.reporting.blocks import Block, Bullets, Heading, Picture, Pictures, Section, Strong, note, para
from proxyaudit.reporting.report import Report, estimates_blocks, forest_numbers, technical
from proxyaudit.reporting.sections import ReportSection
from proxyaudit.reporting.summary import AttributeView, count_controls
from proxyaudit.reporting.text import shorten
from proxyaudit.reporting.words import plain_word
from proxyaudit.types import Estimate

_TRACES = (
    ("a", "effect", "Fitted trace", "found by regression (LEACE)."),
    ("b", "learned_effect", "Learned trace", "the linear subspace of highest effect (DAS)."),
)


def causal(report: Report) -> Section | None:
    """The effects of swapping the attribute's trace as forest plots, with their controls."""
    if report.summary.bare:
        return None
    blocks: list[Block] = [
        para(
            "The attribute's trace inside the model is swapped between people with the same label, and the predictions are watched. "
            "If they move more than when a random trace of the same size is swapped, the model uses the attribute. Grey bars: how "
            "far they move when labels are shuffled. The untrained model shows what such a swap does anyway."
        )
    ]
    for index, view in enumerate(report.summary.attributes):
        pictures = _effects(report, view, f"u{index}")
        blocks.append(Heading(shorten(view.name, 80)))
        blocks.append(Pictures(pictures) if pictures else para("No effect was measured."))
        blocks += _effect_controls(report, view)
        if view.effects:
            inside = estimates_blocks(report, view.effects, f"Causal effects for {view.name}", channel=True)
            blocks.append(technical(f"all effects for {shorten(view.name, 80)}", *inside))
    return Section("causal", "Does the model use it", tuple(blocks))


def _effects(report: Report, view: AttributeView, ident: str) -> tuple[Picture, ...]:
    made: list[Picture] = []
    for letter, measure, name, caption in _TRACES:
        rows: list[charts.ForestRow] = []
        for regime in (*report.summary.regimes, "reweighed", "untrained"):
            e = _effect(view.of("used"), regime, measure)
            if e is not None:
                rows.append(charts.ForestRow(regime, e, report.style(regime), e.null_high))
        title = f"Interchange effect, {name.lower()}: {view.name}"
        svg = charts.forest_chart(
            rows, report.margin("effect"), axis="Effect on the prediction (1 = 100 points)", ident=f"{ident}{letter}", title=title
        )
        if svg:
            made.append(Picture(svg, name, caption, numbers=forest_numbers(title, report.what, rows)))
    return tuple(made)


def _effect(used: Sequence[Estimate], regime: str, measure: str) -> Estimate | None:
    """The effect at one site that decides; where none does the largest."""
    found = [e for e in used if e.regime == regime and e.value is not None and (e.measure, e.subject) == (measure, None)]
    return max(found, key=lambda e: (e.state is not None, e.value or 0.0), default=None)


def _effect_controls(report: Report, view: AttributeView) -> list[Block]:
    mine = [c for c in report.pack.evidence.controls if c.attribute == view.name and c.channel == "used"]
    if not mine:
        return []
    words = []
    for (kind, _), found in count_controls(mine).items():
        words.append(f"{plain_word(kind)}: ✓ {found[True]} passed, {'✗ ' if found[False] else ''}{found[False]} failed")
    failures = [(Strong(c.regime), f", {plain_word(c.kind)}: {c.detail}") for c in mine if c.passed is False]
    blocks: list[Block] = [note("Controls of these effects. ", "; ".join(words), ".")]
    return [*blocks, Bullets(tuple(failures))] if failures else blocks


SECTION = ReportSection(60, causal, ("used", "amnesic", "mediation", "completeness", "selectivity"))
