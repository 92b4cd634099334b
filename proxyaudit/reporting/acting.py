"""Sections about what the model does with it: causal effects, proxies and their paths, relearning."""

from __future__ import annotations

import re
from collections.abc import Sequence

from proxyaudit.reporting import charts
from proxyaudit.reporting.answers import percent
from proxyaudit.reporting.blocks import Block, Bullets, Cell, Fold, Heading, Inline, Picture, Pictures, Section, Strong, note, para, table
from proxyaudit.reporting.context import Context, estimates_blocks, forest_numbers, keys, told_tables
from proxyaudit.reporting.proxies import ProxyView
from proxyaudit.reporting.summary import AttributeView
from proxyaudit.reporting.text import interval, number, shorten
from proxyaudit.reporting.words import EFFORT_NOTE, plain_word, state_word
from proxyaudit.types import Estimate

__all__ = ["causal", "proxies", "relearning"]

_MOST_PICTURES = 4
_ROWS = re.compile(r"^(.*), (\d+) rows$")


def causal(context: Context) -> Section | None:
    """Return the effects of swapping the attribute's subspace as forest plots, with their controls."""
    if context.summary.bare:
        return None
    blocks: list[Block] = [
        para(
            "The attribute's trace inside the model is swapped between people with the same label, and the predictions are watched. "
            "If they move more than when a random trace of the same size is swapped, the model uses the attribute. Grey bars: how "
            "far they move when labels are shuffled. The untrained model shows what such a swap does anyway."
        )
    ]
    for index, view in enumerate(context.summary.attributes):
        pictures = _effects(context, view, f"u{index}")
        blocks.append(Heading(shorten(view.name, 80)))
        blocks.append(Pictures(pictures) if pictures else para("No effect was measured."))
        blocks += _effect_controls(context, view)
        numbers = [*view.used, *view.beside_effects]
        if numbers:
            inside = estimates_blocks(context, numbers, f"Causal effects for {view.name}", channel=True)
            blocks.append(Fold(f"Technical reading: all effects for {shorten(view.name, 80)}", inside))
    return Section("causal", "Does the model use it", tuple(blocks))


def proxies(context: Context) -> Section | None:
    """Return the columns that stand in for each attribute and the ways they take; nothing where none were followed."""
    if not context.proxies:
        return None
    blocks: list[Block] = [para(context.proxies[0].words.opening)]
    for index, view in enumerate(context.proxies):
        blocks += [Heading(shorten(view.attribute, 80)), para(Strong(view.answer))]
        pictures = _paths(context, view, f"x{index}")
        if pictures:
            blocks.append(Pictures(pictures))
        inside = (note(view.words.note), *told_tables(view, "proxies"))
        blocks.append(Fold(f"Technical reading: proxies of {shorten(view.attribute, 80)} in numbers", inside))
    return Section("proxies", "Proxies and their paths", tuple(blocks))


def relearning(context: Context) -> Section | None:
    """Return what a little fine-tuning brings back, and how easily it is got out; nothing where neither was measured."""
    pictures: list[Picture] = []
    blocks: list[Block] = []
    lines: list[tuple[Inline, ...]] = []
    for index, view in enumerate(context.summary.attributes):
        picture = _relearning_picture(context, view, f"r{index}")
        pictures += [picture] if picture else []
        for e in view.relearned:
            if e.state is not None and e.regime in context.summary.regimes:
                ends = f" ({interval(e)})" if interval(e) else ""
                why = f": {e.reason}" if e.reason else ""
                lines.append((Strong(view.name), f", {e.regime}: {number(e.value)}{ends}, {state_word(e.state)}{why}"))
    if pictures or lines:
        blocks.append(
            para(
                "Part of the model is trained again on a few labelled real rows, to see how fast the attribute comes back. Whatever "
                "the inputs carry can be learnt again, so it counts only if it comes back further than from an untrained model and "
                "than invented attributes do."
            )
        )
    if pictures:
        blocks.append(Pictures(tuple(pictures)))
    if lines:
        decided = (note("Excess over both references with 256 rows (negative: less than from the references):"), Bullets(tuple(lines)))
        blocks.append(Fold("What the relearning check found", decided))
    for view in context.summary.attributes:
        if view.relearned:
            inside = estimates_blocks(context, view.relearned, f"Relearning for {view.name}")
            blocks.append(Fold(f"Technical reading: relearning for {shorten(view.name, 80)}", inside))
        if view.effort:
            inside = (note(EFFORT_NOTE), *estimates_blocks(context, view.effort, f"Effort for {view.name}"))
            blocks.append(Fold(f"Technical reading: how easily {shorten(view.name, 80)} is got out", inside))
    title = "Does it come back with a little training" if pictures or lines else "How easily it is got out"
    return Section("relearning", title, tuple(blocks)) if blocks else None


def _effects(context: Context, view: AttributeView, ident: str) -> tuple[Picture, ...]:
    made: list[Picture] = []
    for letter, name, learned in (("a", "Fitted trace", False), ("b", "Learned trace", True)):
        rows: list[charts.ForestRow] = []
        for regime in (*context.summary.regimes, "reweighed", "untrained"):
            e = _effect(view.used, regime, learned=learned)
            if e is not None:
                rows.append(charts.ForestRow(regime, e, context.style(regime), e.null_high))
        title = f"Interchange effect, {name.lower()}: {view.name}"
        svg = charts.forest_chart(
            rows, context.margin("effect"), axis="Effect on the prediction (1 = 100 points)", ident=f"{ident}{letter}", title=title
        )
        if svg:
            caption = "found by regression (LEACE)." if not learned else "the linear subspace of highest effect (DAS)."
            made.append(Picture(svg, name, caption, numbers=forest_numbers(title, context.what, rows)))
    return tuple(made)


def _effect(used: Sequence[Estimate], regime: str, *, learned: bool) -> Estimate | None:
    """Return the effect that decides: of the plain contexts the one with a state, else the largest."""
    plain = ("learned: per-row", "learned: signed") if learned else (None, "per-row", "signed")
    found = [e for e in used if e.regime == regime and e.value is not None and e.context in plain]
    return max(found, key=lambda e: (e.state is not None, e.value or 0.0), default=None)


def _effect_controls(context: Context, view: AttributeView) -> list[Block]:
    mine = [c for c in context.pack.evidence.controls if c.attribute == view.name and c.channel == "used"]
    if not mine:
        return []
    words = []
    for kind in dict.fromkeys(c.kind for c in mine):
        passed, failed = (sum(c.passed is want for c in mine if c.kind == kind) for want in (True, False))
        words.append(f"{plain_word(kind)}: ✓ {passed} passed, {'✗ ' if failed else ''}{failed} failed")
    failures = [(Strong(c.regime), f", {plain_word(c.kind)}: {c.detail}") for c in mine if c.passed is False]
    blocks: list[Block] = [note("Controls of these effects. ", "; ".join(words), ".")]
    return [*blocks, Bullets(tuple(failures))] if failures else blocks


def _paths(context: Context, view: ProxyView, ident: str) -> tuple[Picture, ...]:
    made: list[Picture] = []
    for index, regime in enumerate(view.regimes[:_MOST_PICTURES]):
        totals = {str(e.subject): e for e in context.lookup.cell(view.attribute, regime, "path_total")}
        parts = {str(e.subject): e for e in context.lookup.cell(view.attribute, regime, "path")}
        style = context.style(regime)
        rows = [charts.ForestRow(unit, totals[unit], style, None, parts.get(unit)) for unit in view.followed if unit in totals]
        what = view.words.what
        title = f"What each {what.lower()} does between the groups of {view.attribute} after training on {regime}"
        svg = charts.forest_chart(
            rows, None, axis="Change of the prediction (1 = 100 points)", ident=f"{ident}{'abcd'[index]}", title=title
        )
        if svg:
            groups = next((e.group for e in totals.values() if e.group), None)
            caption = f"Between the groups {groups}." if groups else "Between the groups."
            numbers = forest_numbers(title, what, rows)
            made.append(Picture(svg, f"{view.attribute}, {regime}", caption, numbers=numbers))
    return tuple(made)


def _relearning_picture(context: Context, view: AttributeView, ident: str) -> Picture | None:
    lines: dict[str, list[tuple[float, Estimate]]] = {}
    for e in view.relearned:
        found = _ROWS.match(e.context or "")
        if found and found[1] == "last block" and e.value is not None:
            lines.setdefault(e.regime, []).append((float(found[2]), e))
    order = [name for name in (*context.summary.regimes, "reweighed", "untrained") if name in lines]
    curves = [charts.Curve(name, tuple(sorted(lines[name], key=lambda point: point[0])), context.style(name)) for name in order]
    placebos = [e for e in view.relearned if e.regime == "placebo" and e.value is not None]
    at = max((e for e in placebos), key=lambda e: e.value or 0.0, default=None)
    rows = re.search(r"(\d+) rows", at.context or "") if at is not None else None
    if curves and at is not None and rows:
        curves.append(charts.Curve("placebo", ((float(rows[1]), at),), context.style("placebo")))
    title = f"Leak after training the last block again on a few rows: {view.name}"
    svg = charts.curve_chart(curves, None, axis=("Labelled real rows used", "Leak reached"), ident=ident, title=title, logarithmic=True)
    if not svg:
        return None
    counts = sorted({x for curve in curves for x, _ in curve.points})
    cells = [[Cell(curve.name), *(_at(curve, x) for x in counts)] for curve in curves]
    numbers = table(f"Relearning curve for {view.name}", (context.what, *(f"{x:g} rows" for x in counts)), cells)
    words = {"placebo": "reference, 95th percentile"}
    caption = (
        f"How much can be read after that; the largest placebos reach {percent(at.value)}."
        if at is not None
        else "How much can be read after that."
    )
    return Picture(svg, view.name, caption, keys(context, (curve.name for curve in curves), words), numbers)


def _at(curve: charts.Curve, x: float) -> Cell:
    e = dict(curve.points).get(x)
    return Cell(number(None), look="num") if e is None else Cell(number(e.value), interval(e), look="num")
