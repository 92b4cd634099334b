"""Why each answer: sentences and pictures first, figures and checks below."""

from proxyaudit.estimates.questions import all_questions, word_of
from proxyaudit.reporting import blocks as b
from proxyaudit.reporting.facts import margin_words, reference_words
from proxyaudit.reporting.report import Report, ReportSection, deciding_pictures, technical
from proxyaudit.reporting.summary import AttributeView, Row
from proxyaudit.reporting.text import capital, number, shorten, squeeze
from proxyaudit.reporting.words import CHANGES, STATES, checks, plain_word
from proxyaudit.types import Estimate


def why(report: Report) -> b.Section:
    """The reasons for each attribute, with its figures and checks one click below."""
    summary = report.summary
    margins = margin_words(report.pack.plan)
    explained = (
        "Values with 95 % intervals over the rows given."
        if summary.bare
        else "“Present” means: found in every one of the trained models. The interval answers another question, how far the number would "
        "move if the training were repeated; with two or three repetitions it is wide."
    )
    blocks: list[b.Block] = [b.note(explained + (f" Margins, the smallest amounts that count: {margins}." if margins else ""))]
    for index, view in enumerate(summary.attributes):
        name = shorten(view.name, 80)
        sentences = ((b.Strong(squeeze(row.regime, 60)), f": {row.finding.sentence}") for row in view.rows if row.finding)
        blocks += [b.Heading(name), b.Bullets(tuple(sentences))]
        if index:
            blocks += deciding_pictures(report, view, f"f{index}")
        lines = tuple(_technical(row, bare=summary.bare) for row in view.rows)
        inside: list[b.Block] = [_table(report, view), _checks(report, view), b.Bullets(lines)]
        named = {row.regime for row in view.references}
        references = [(b.Strong(key), f" (reference): {words}.") for key, words in reference_words(report.pack).items() if key in named]
        inside += [b.Bullets(tuple(references))] if references else []
        blocks.append(technical(f"figures and checks for {name}", *inside))
    return b.Section("why", "Why each answer", tuple(blocks))


def _table(report: Report, view: AttributeView) -> b.Table:
    bare, rows = report.summary.bare, []
    for row in (*view.rows, *view.references):
        inside, outside = _placebos(row.placebo_leak), _placebos(row.placebo_gap)
        if row.stronger is not None and row.stronger.value is not None:
            stronger = b.figure_cell(row.stronger)
            inside.append(f"{word_of(row.stronger.channel)} {stronger.text} ({stronger.beside}): {stronger.lines[0]}")
        if row.output_leak is not None and row.output_leak.value is not None:
            leak = b.figure_cell(row.output_leak)
            outside.append(f"output leak {leak.text}: {leak.lines[0]}")
        verdict = b.verdict_cell(row.finding) if row in view.rows else b.Cell("reference")
        shown = () if bare else (b.figure_cell(row.gap, lines=outside), b.figure_cell(row.effect))
        told = [f"inside: {CHANGES[row.finding.change.encoding]}"] if row.finding else []
        told += [f"use: {CHANGES[row.finding.change.use]}"] if row.finding and not bare else []
        rows.append([b.Cell(row.regime), verdict, b.figure_cell(row.leak, lines=inside), *shown, b.Cell("", lines=tuple(told))])
    header = (report.what, "Verdict", "Leak inside", *(() if bare else ("Output gap", "Interchange effect")), "Against real")
    return b.table(f"Deciding figures for {view.name}", header, rows, behind=len(view.references))


def _placebos(e: Estimate | None) -> list[str]:
    return [f"placebos up to {number(e.value)}"] if e and e.value is not None else []


def _checks(report: Report, view: AttributeView) -> b.Table:
    channels = checks(bare=report.summary.bare)
    header = (report.what, *(all_questions()[name].word or capital(word_of(name)) for name in channels))
    rows = [[b.Cell(row.regime), *(b.Cell(" ".join(STATES[row.states[key]]), look="state") for key in channels)] for row in view.rows]
    return b.table(f"What each check found for {view.name}", header, rows)


def _technical(row: Row, *, bare: bool) -> tuple[b.Inline, ...]:
    finding = row.finding
    if finding is None:
        return (b.Strong(row.regime), ": no verdict.")
    said = [
        f"inside: {plain_word(finding.encoding)}{_origin(finding.origin.encoding)}",
        "" if bare else f"use: {', '.join(map(word_of, finding.use))}{_origin(finding.origin.use)}",
        f"basis: {plain_word(finding.basis)}" if finding.basis else "",
        "" if bare else f"recoverable: {', '.join(map(word_of, finding.recoverable))}",
        f"decided by: {', '.join(map(word_of, finding.mechanisms))}" if finding.mechanisms else "",
    ]
    cited: tuple[b.Inline, ...] = (" (", b.Code(", ".join(finding.decided_by)), ")") if finding.decided_by else ()
    settle = f". What would settle it: {finding.would_settle.rstrip('.')}." if finding.would_settle else "."
    return (b.Strong(row.regime), ": " + "; ".join(filter(None, said)), *cited, settle)


def _origin(word: str) -> str:
    return f" ({word})" if word in ("learned", "relayed") else ""


SECTION = ReportSection(20, why)
