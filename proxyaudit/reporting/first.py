"""The report of a pack as a page of blocks, which HTML and Markdown share, and its first screen."""

from __future__ import annotations

from proxyaudit.estimates.questions import word_of
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.evidence.plans import listed
from proxyaudit.reporting.answers import answers_of, kept
from proxyaudit.reporting.blocks import Block, Cell, Heading, Inline, Page, Strong, Table, note, para, table, verdict_cell
from proxyaudit.reporting.facts import kinds, reference_words
from proxyaudit.reporting.report import Report, deciding_pictures
from proxyaudit.reporting.sections import sections
from proxyaudit.reporting.summary import MANY, Row
from proxyaudit.reporting.text import percent, points, shorten, squeeze


def report_page(pack: EvidencePack) -> Page:
    """The report of a pack. Pure: the same pack gives the same page."""
    report, run = Report.of(pack), pack.evidence.run
    date = (report.summary.date,) if report.summary.date else ()
    partial = run.status != "complete"
    return Page(
        title=report.summary.question,
        name=f"{run.name}: {report.summary.question}",
        about=("proxyaudit report", run.name, f"run {run.id}", *date),
        first=_first_screen(report),
        sections=sections(report),
        partial="This run" if partial else "",
        failures=tuple(map(str, listed(pack.environment, "failures"))) if partial else (),
        foot=f"Made by proxyaudit from evidence of schema {pack.evidence.schema_version}. This page needs no network and runs no script. "
        "A verdict speaks about the models and rows of this run, not about synthetic data in general.",
    )


def _first_screen(report: Report) -> tuple[Block, ...]:
    """What answers the question: a sentence for each attribute, the matrix, and the figures that decide."""
    summary = report.summary
    if not summary.attributes:
        return (para("No attribute was audited."),)
    strongest = {view.attribute: view.strongest for view in report.proxies}
    texts = any(view.texts for view in report.proxies)
    answers, matrix = answers_of(summary, seeds=report.seeds, strongest=strongest, texts=texts), _matrix(report)
    # Many answers would push the matrix far down.
    blocks: list[Block] = [matrix, answers] if len(summary.attributes) > MANY else [answers, matrix]
    told = [part for word in summary.verdicts.values() for part in (Strong(f"{word.symbol} {word.word}"), f": {word.meaning}. ")]
    below = (
        "Below each verdict the share of all there is to know of the attribute that can be read, or how much of real's share is kept. "
        if summary.bare
        else "Below each verdict: how much of what real training leaves inside and shows outside is kept (100 %: as much as with "
        "real data), with 95 % intervals. "
    )
    blocks.append(note(below, *told))
    first = summary.attributes[0]
    if pictures := deciding_pictures(report, first, "f0"):
        more = " The same for every attribute: under “Why each answer”." if len(summary.attributes) > 1 else ""
        read = "Lines: 95 % intervals (an arrow: it goes on). Dashed: the margin, the smallest amount that counts."
        named = {row.regime for row in first.references if row.regime in ("untrained", "placebo")}
        references = [(key, words) for key, words in reference_words(report.pack).items() if key in named]
        said: list[Inline] = [part for key, words in references for part in (Strong(f" {key}"), f": {words}.")]
        blocks += [Heading(f"The figures that decide, for {shorten(first.name, 60)}"), *pictures, note(read, *said, more)]
    return tuple(blocks)


def _matrix(report: Report) -> Table:
    rows, regimes, told = [], report.summary.regimes, kinds(report.pack)
    for view in report.summary.attributes:
        found = {row.regime: row for row in view.rows}
        name = Cell(shorten(view.name, 80), lines=("proxy",) if view.role == "proxy" else ())
        rows.append([name, *(_matrix_cell(report, found.get(regime)) for regime in regimes)])
    made = table("Verdict for each attribute and kind of training data", ("Attribute", *(squeeze(name, 60) for name in regimes)), rows)
    return made._replace(below=("", *(told.get(name, "") for name in regimes)))


def _matrix_cell(report: Report, row: Row | None) -> Cell:
    if row is None:
        return verdict_cell(None)
    compared = row.kept_inside is not None or row.kept_outside is not None
    lines: list[str] = []
    if row.kept_inside is not None:
        lines.append(f"inside {kept(row.kept_inside)}")
    elif not compared and row.leak is not None and row.leak.value is not None:
        lines.append(f"{percent(row.leak.value)} readable inside")
    if row.stronger is not None and row.stronger.value is not None:
        lines.append(f"{word_of(row.stronger.channel)} {percent(row.stronger.value)}")
    if row.kept_outside is not None:
        lines.append(f"outputs {kept(row.kept_outside)}")
    elif not compared and not report.summary.bare and row.gap is not None and row.gap.value is not None:
        lines.append(f"outputs differ by {points(row.gap.value)}")
    return verdict_cell(row.finding, lines)
