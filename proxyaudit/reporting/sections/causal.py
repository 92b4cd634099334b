"""Whether the model uses it: what happens when the attribute's part inside is exchanged."""

from proxyaudit.reporting.blocks import Block, Bullets, Drawn, Heading, Picture, Section, Strong, note, para
from proxyaudit.reporting.charts import ForestRow
from proxyaudit.reporting.report import Report, ReportSection, forest_picture, numbers_fold, side_by_side, technical
from proxyaudit.reporting.summary import AttributeView, count_controls
from proxyaudit.reporting.text import shorten
from proxyaudit.reporting.words import plain_word

_TRACES = (
    ("a", "effect", "Fitted subspace", "The part inside that regression finds (LEACE) is exchanged."),
    ("b", "learned_effect", "Learned subspace", "The linear part inside with the highest effect (DAS) is exchanged."),
)
_BESIDE = ("amnesic", "mediation", "completeness", "selectivity", "carrier_effect")


def causal(report: Report) -> Section | None:
    """The effects of swapping the attribute's trace as forest plots, with their controls one click below."""
    if report.summary.bare:
        return None
    blocks: list[Block] = [
        para(
            "The attribute's part inside the model is exchanged between people, and the predictions are watched. "
            "If they move more than when a random part of the same size is exchanged, the model uses the attribute. ",
            Drawn("Grey bars: how far they move when labels are shuffled. "),
            "The untrained model shows what such a swap does anyway.",
        )
    ]
    for index, view in enumerate(report.summary.attributes):
        drawn = side_by_side(_effects(report, view, f"u{index}", *trace) for trace in _TRACES)
        blocks += [Heading(shorten(view.name, 80)), *(drawn or [para("No effect was measured.")])]
        if checked := _effect_controls(report, view):
            blocks.append(technical(f"controls of the effects for {shorten(view.name, 80)}", *checked))
        numbers = (*view.of("used"), *view.of(*_BESIDE))
        blocks += numbers_fold(report, view, numbers, ("all effects for {}", "Causal effects"), more=("Measure",))
    return Section("causal", "Does the model use it", tuple(blocks))


def _effects(report: Report, view: AttributeView, ident: str, letter: str, measure: str, name: str, caption: str) -> Picture | None:
    rows = []
    for regime in (*report.summary.regimes, "reweighed", "untrained"):
        found = [e for e in view.of("used") if e.regime == regime and e.value is not None and (e.measure, e.subject) == (measure, None)]
        # The one site that decides; where none does the largest.
        e = max(found, key=lambda e: (e.state is not None, e.value or 0.0), default=None)
        if e is not None:
            rows.append(ForestRow(regime, e, report.style(regime), e.null_high))
    title, axis = f"Interchange effect, {name.lower()}: {view.name}", f"Effect on the prediction, {report.summary.scale.unit}"
    named, margin = (name, caption), report.summary.margins.get("effect")
    return forest_picture(report.what, rows, margin, named=named, axis=axis, ident=ident + letter, title=title)


def _effect_controls(report: Report, view: AttributeView) -> list[Block]:
    mine = [c for c in report.pack.evidence.controls if c.attribute == view.name and c.channel == "used"]
    counted = [(plain_word(kind), found[True], found[False]) for (kind, _), found in count_controls(mine).items()]
    words = [f"{kind}: ✓ {passed} passed, {'✗ ' if failed else ''}{failed} failed" for kind, passed, failed in counted]
    failures = tuple((Strong(c.regime), f", {plain_word(c.kind)}: {c.detail}") for c in mine if c.passed is False)
    blocks: list[Block] = [note("Controls of these effects. ", "; ".join(words), ".")] if mine else []
    return [*blocks, Bullets(failures)] if failures else blocks


SECTION = ReportSection(60, causal, ("used", *_BESIDE))
