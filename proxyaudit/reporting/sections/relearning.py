"""What a little training brings back, and how easily an attribute is got out."""

from collections.abc import Iterable, Sequence

from proxyaudit.reporting.blocks import Block, Bullets, Cell, Fold, Inline, Picture, Section, Strong, note, number_cell, para, table
from proxyaudit.reporting.charts import curve_chart
from proxyaudit.reporting.report import Report, ReportSection, numbers_fold, side_by_side
from proxyaudit.reporting.summary import AttributeView
from proxyaudit.reporting.text import at_most, beside, hundredths, interval, join_words, number, percent
from proxyaudit.reporting.words import state_word
from proxyaudit.types import Estimate

_OPENING = (
    "Part of the model is trained again on a few labelled real rows, to see how fast the attribute comes back. Whatever the inputs carry "
    "can be learnt again, so it counts only if it comes back further than from an untrained model and than invented attributes do."
)
_EFFORT = (
    "For a linear reader: how much of the attribute's labels the activations save when they are sent one block after the other, how well "
    "a reader separates the groups after a few labelled rows, and how much of that mere memory could do. What only a non-linear reader "
    "finds does not show here. No verdict rests on these."
)
_ANSWERS = {
    "present": "yes, it comes back",
    "absent": "no, it does not come back",
    "unknown": "open",
    "not_applicable": "does not apply",
    "not_measured": "not measured",
}
_PARTS = ("last block", "more trees")


def relearning(report: Report) -> Section | None:
    """What a little fine-tuning brings back, and how easily it is got out; nothing where neither was measured."""
    views = report.summary.attributes
    drawn = side_by_side(_picture(report, view, f"r{index}") for index, view in enumerate(views))
    decided = ((view, e) for view in views for e in view.of("relearned") if e.state is not None and e.regime in report.summary.regimes)
    found = list(decided)
    blocks: list[Block] = [para(_OPENING), *drawn] if drawn or found else []
    if found:
        blocks += [] if drawn else [Bullets(tuple(_answers(found)))]  # else the section would ask a question and answer nothing
        excess = note("Excess over both references with 256 rows (negative: less than from the references):")
        told = Bullets(tuple((Strong(view.name), _told(e)) for view, e in found))
        blocks.append(Fold("What the relearning check found", (excess, told)))
    title = "Does it come back with a little training" if blocks else "How easily it is got out"
    for view in views:
        blocks += numbers_fold(report, view, view.of("relearned"), ("relearning for {}", "Relearning"))
        blocks += numbers_fold(report, view, view.of("effort"), ("how easily {} is got out", "Effort"), first=_EFFORT)
    return Section("relearning", title, tuple(blocks)) if blocks else None


def _answers(found: Sequence[tuple[AttributeView, Estimate]]) -> Iterable[tuple[Inline, ...]]:
    """Whether each attribute comes back, with the kinds of training after which the answer is the same."""
    by: dict[tuple[str, str], list[str]] = {}
    for view, e in found:
        told = _ANSWERS[str(e.state)] + (f": {e.reason}" if e.value is None and e.reason else "")
        by.setdefault((view.name, told), []).append(e.regime)
    for (name, told), regimes in by.items():
        yield Strong(name), f" after {join_words(at_most(regimes, 4))}: {told}."


def _told(e: Estimate) -> str:
    said = f", {e.regime}: {beside(number(e.value), interval(e))}, {state_word(e.state)}"
    return f"{said}: {e.reason}" if e.reason else said


def _picture(report: Report, view: AttributeView, ident: str) -> Picture | None:
    """The leak after training the last block again, or growing more trees, over the rows that it was trained on."""
    found: dict[str, dict[float, Estimate]] = {}
    placebos: list[tuple[float, Estimate]] = []
    for e in view.of("relearned"):
        if e.value is not None and (rows := _rows(e)) is not None:
            found.setdefault(e.regime, {})[rows] = e
            placebos += [(rows, e)] if e.regime == "placebo" else []
    order = (*report.summary.regimes, "reweighed", "untrained")
    lines = {name: dict(sorted(found[name].items())) for name in order if name in found}
    largest = max(placebos, key=lambda point: point[1].value or 0.0, default=None)
    if lines and largest is not None:
        lines["placebo"] = dict([largest])
    grown = any((e.subject or "").startswith(_PARTS[1]) for e in view.of("relearned"))
    title = f"Leak after {'growing more trees' if grown else 'training the last block again'} on a few rows: {view.name}"
    svg = curve_chart(lines, report.style, axis=("Labelled real rows used", "Can be read, %"), ident=ident, title=title)
    if not svg:
        return None
    counts = sorted({x for at in lines.values() for x in at})
    cells = [[Cell(name), *(number_cell(hundredths(at.get(x)), 1) for x in counts)] for name, at in lines.items()]
    numbers = table(f"Relearning curve for {view.name}, %", (report.what, *(f"{x:g} rows" for x in counts)), cells)
    caption = "How much can be read after that" + (f"; the largest placebos reach {percent(largest[1].value)}." if largest else ".")
    legend = report.legend(lines, {"placebo": "reference, 95th percentile"})
    return Picture(svg, view.name, caption, legend, numbers)


def _rows(e: Estimate) -> float | None:
    """The rows of a point of the curve, whose subject is "last block, 256 rows"; nothing for other parts and other numbers."""
    part, _, rows = (e.subject or "").rpartition(", ")
    count = rows.removesuffix(" rows")
    return float(count) if e.measure == "curve" and part in _PARTS and count.isdecimal() else None


SECTION = ReportSection(90, relearning, ("relearned", "effort"))
