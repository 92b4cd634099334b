"""Who would be selected at the declared threshold: rates, impact ratios, and the differences that fairness tools count."""

from collections.abc import Iterable

from proxyaudit.estimates.scope import listed, mapping
from proxyaudit.reporting.blocks import Block, Cell, Heading, Section, Strong, Table, note, number_cell, para, table
from proxyaudit.reporting.report import Report, ReportSection, numbers_fold
from proxyaudit.reporting.summary import AttributeView
from proxyaudit.reporting.text import hundredths, shorten
from proxyaudit.types import FOUR_FIFTHS, Estimate

_CHANNEL = "selection"
_DIFFERENCES = {
    "demographic_parity_difference": "Selected, points",
    "equal_opportunity_difference": "Of those with the outcome, points",
    "false_positive_rate_difference": "Of those without it, points",
    "equalized_odds_difference": "Larger of these two, points",
}
_RULE = (
    "Impact ratio: the share selected of a group, over that of the most selected group. By the four-fifths rule of United States agencies "
    "a ratio below 0.80 points to adverse impact; it is a rule of thumb and no finding of law. “Below” and “above” are said where "
    "the whole interval lies there."
)
_NAMES = (
    "Differences: how far the most and the least selected group lie apart, of all people, of those whose true label is the outcome, and of "
    "the others; beside them the gap in mean predicted probability. Fairlearn calls these demographic_parity_difference, "
    "equal_opportunity_difference (of true positive rates), false_positive_rate_difference and equalized_odds_difference. No verdict "
    "rests on them."
)


def selection(report: Report) -> Section | None:
    """Two tables for each attribute; nothing where the recipe declares no threshold."""
    blocks: list[Block] = []
    for view in report.summary.attributes:
        numbers = view.of(_CHANNEL)
        if not numbers:
            continue
        name = shorten(view.name, 80)
        blocks += [Heading(name), _rates(report, view, numbers), *_reasons(numbers), _differences(report, view, numbers)]
        blocks += numbers_fold(report, view, numbers, ("selection by {}", "Selection"))
    if not blocks:
        return None
    asked, classes = mapping(report.pack.recipe, "selection"), listed(mapping(report.pack.plan, "target"), "classes")
    outcome = str(asked.get("outcome") or (classes[1] if len(classes) == 2 else "the outcome"))
    said = f"Selected is whoever has a predicted probability of at least {asked.get('threshold')} for "
    opening = (para(said, Strong(outcome), ". ", _RULE), note(_NAMES))
    return Section("selection", "Who would be selected", (*opening, *blocks))


def four_fifths(e: Estimate) -> str:
    """On which side of four fifths a whole interval lies, for a lay reader."""
    if e.low is None or e.high is None:
        return "no ratio"
    return "below" if e.high < FOUR_FIFTHS else "above" if e.low >= FOUR_FIFTHS else "cannot be told"


def _rates(report: Report, view: AttributeView, numbers: Iterable[Estimate]) -> Table:
    ratios = {(e.regime, e.group): e for e in numbers if e.measure == "impact_ratio"}
    references = {(e.regime, e.subject) for e in ratios.values()}
    rows = []
    for e in numbers:
        if e.measure != "selection_rate":
            continue
        found = ratios.get((e.regime, e.group))
        is_most = (e.regime, e.group) in references and e.value is not None
        told = four_fifths(found) if found else "most selected" if is_most else "not compared"
        rows.append([Cell(e.regime, look="name"), Cell(str(e.group)), number_cell(hundredths(e), 1), number_cell(found, 2), Cell(told)])
    header = (report.what, "Group", "Selected, %", "Impact ratio", "Four fifths")
    return table(f"Selection rates and impact ratios by {view.name}", header, rows)


def _reasons(numbers: Iterable[Estimate]) -> list[Block]:
    """Why numbers lack, each reason once."""
    return [note(f"Where a number is missing: {reason}.") for reason in dict.fromkeys(e.reason for e in numbers if e.reason)]


def _differences(report: Report, view: AttributeView, numbers: Iterable[Estimate]) -> Table:
    found = {(e.measure, e.regime): e for e in numbers}
    rows = []
    for row in view.rows:
        told = [found.get((measure, row.regime)) for measure in _DIFFERENCES]
        if any(told):
            cells = [number_cell(hundredths(e), 1)._replace(lines=_groups(e)) for e in told]
            rows.append([Cell(row.regime, look="name"), number_cell(hundredths(row.gap), 1), *cells])
    header = (report.what, "Mean probability, points", *_DIFFERENCES.values())
    return table(f"Differences between groups of {view.name} at the threshold", header, rows)


def _groups(e: Estimate | None) -> tuple[str, ...]:
    return () if e is None or e.group is None else (f"{e.group} minus {e.subject}",)


SECTION = ReportSection(45, selection, (_CHANNEL,))
