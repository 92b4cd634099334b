"""The report of a pack as a page of blocks, which HTML and Markdown share, and its first screen."""

import math
import re
import shlex
from collections.abc import Iterable

from proxyaudit.estimates.questions import word_of
from proxyaudit.estimates.scope import entries, has_kind, listed
from proxyaudit.estimates.sentences import share_at_most
from proxyaudit.estimates.training import LARGER
from proxyaudit.evidence.pack import EvidencePack, run_date
from proxyaudit.reporting import blocks as b
from proxyaudit.reporting import sentences as say
from proxyaudit.reporting.facts import kinds
from proxyaudit.reporting.panels import Panel, overview_chart
from proxyaudit.reporting.report import Report
from proxyaudit.reporting.scale import Scale
from proxyaudit.reporting.sections import all_sections
from proxyaudit.reporting.summary import MANY, AttributeView, Row, Summary
from proxyaudit.reporting.svg import Style
from proxyaudit.reporting.text import DASH, at_most, beside, join_words, number, percent, shorten, squeeze
from proxyaudit.reporting.training import TriedView, best_cure
from proxyaudit.reporting.words import named
from proxyaudit.types import AUDITED, Estimate

_MOST, _PAIR = 2, 2
_GROWN = math.exp(LARGER)  # times as prominent
_LABEL = "the target itself"
_FREE = {"exposed": "No, exposed", "hidden": "No, hidden", "removed": "Yes, removed", "inconclusive": "Cannot tell"}
_INSIDE = "No, inside"  # at least hidden


def report_page(pack: EvidencePack) -> b.Page:
    """The report of a pack. Pure: the same pack gives the same page."""
    report, run = Report.of(pack), pack.evidence.run
    date, partial = _minute(run_date(pack.environment)), run.status != "complete"
    return b.Page(
        title=report.summary.question,
        name=f"{run.name}: {report.summary.question}",
        about=("proxyaudit report", run.name, f"run {run.id}", *filter(None, [date])),
        first=_first_screen(report),
        sections=tuple(made for section in all_sections() if (made := section.make(report)) is not None),
        partial="This run" if partial else "",
        failures=tuple(map(str, listed(pack.environment, "failures"))) if partial else (),
        foot=f"Made by proxyaudit from evidence of schema {pack.evidence.schema_version}. This page needs no network and runs no script. "
        "A verdict speaks about the models and rows of this run, not about synthetic data in general.",
    )


def _minute(date: str) -> str:
    """A date of a run as people write it; anything else as it stands."""
    return f"{date[:10]} {date[11:16]} UTC" if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", date) else date


def _first_screen(report: Report) -> tuple[b.Block, ...]:
    """What answers the question: for each attribute a few sentences, a table and a picture; then how sure it is and what was tried."""
    summary, asked = report.summary, has_kind(report.pack.plan, "prompts")
    if not summary.attributes:
        return (b.para("No attribute was audited."),)
    opening, answers = b.note(say.context(report.pack, summary, asked=asked)), answers_of(report)
    if len(summary.attributes) > MANY:
        return opening, *map(b.para, say.odd_releases(report.pack.evidence.not_tested)), _matrix(report), answers
    return opening, *map(b.para, say.odd_releases(report.pack.evidence.not_tested)), answers, b.note(*_reading(report))


def _reading(report: Report) -> Iterable[b.Inline]:
    """How to read table and picture."""
    found = {finding.verdict for view in report.summary.attributes for finding in view.findings}
    if not report.summary.bare and any(row.task is not None for view in report.summary.attributes for row in view.rows):
        by = report.summary.scale.task
        yield f"{by.word}: {by.guessing:g} is guessing. "
        yield "" if report.summary.scale.sd is None else f"Gaps are in {report.summary.scale.words}. "
    if any(view.inside for view in report.summary.attributes):
        yield "Prominent: share of what varies inside. "
    if "hidden" in found:
        yield f"Hidden: {report.summary.verdicts['hidden'].short}. "
    yield b.Drawn(f"Shaded: too small to count{', or untrained' if _prominent(report) else ''}. Lines: 95 % intervals.")


def _prominent(report: Report) -> bool:
    return any(view.inside is not None and view.inside.untrained for view in report.summary.attributes)


def answers_of(report: Report) -> b.Answers:
    """An answer for each attribute with its table and picture, and what to do next."""
    summary, items = report.summary, []
    brief, asked = len(summary.attributes) > MANY, has_kind(report.pack.plan, "prompts")
    for index, view in enumerate(summary.attributes):
        levels = at_most([shorten(level, 40) for level in view.levels], 6)
        about = view.role + (f": {join_words(levels)}" if len(levels) > _PAIR else "")  # a pair is named in the answer
        told = view.answer if brief or asked else " ".join(filter(None, sentences(view, summary)))
        answer = b.Answer(shorten(view.name, 80), about, view.lead, told, "" if brief else say.sure_line(view, summary))
        items.append(answer if brief else answer._replace(table=_table(report, view), picture=overview_picture(report, view, f"f{index}")))
    return b.Answers(tuple(items), tuple(_steps(report)), say.checks_line(report.pack.evidence.controls))


def sentences(view: AttributeView, summary: Summary) -> Iterable[str]:
    """The answer for one attribute beyond yes and no."""
    yield "" if summary.bare else say.gap_sentence(view, summary)
    yield from say.found_sentences(view, summary)
    yield from say.inside_sentences(view, summary)
    yield say.training_sentence(view)


def _table(report: Report, view: AttributeView) -> b.Table:
    """A row for each kind of training: what it did, what it is worth, and the best cure that was tried; no column that is empty."""
    bare, inside = report.summary.bare, view.inside
    asked = has_kind(report.pack.plan, "prompts")
    columns: dict[str, list[b.Cell]] = {name: [] for name in ("Gap", "Prominent" if inside else "Readable", report.summary.scale.task.word)}
    for row in view.rows:
        within = inside.own.get(row.regime) if inside else row.stronger or row.leak
        reader = (word_of(row.stronger.channel),) if row.stronger is not None and not inside else ()
        gap = None if row.gap is None or row.gap.value is None or bare else number(100 * row.gap.value, 0)
        own = tuple(filter(None, [report.summary.scale.own(row.gap.value)])) if gap is not None and row.gap is not None else ()
        share = None if within is None or within.value is None else percent(within.value, 1 if abs(within.value) < 0.0995 else 0)
        task = None if row.task is None or row.task.value is None or bare else number(row.task.value)
        for told, text, lines in zip(columns.values(), (gap, share, task), (own, reader, ()), strict=True):
            told.append(b.Cell(text or DASH, lines=lines, look="num"))
    columns = {name: cells for name, cells in columns.items() if any(cell.text != DASH for cell in cells)}
    columns[f"Free of {shorten(view.name, 20)}?" if not asked else "Treats them alike?"] = [_free(row) for row in view.rows]
    if any(other.weighs_cures for other in report.summary.attributes):
        columns["Best cure"] = [b.Cell(say.cure_words(row)) for row in view.rows]
    first = "Model" if asked else report.what if bare else "Trained on"
    rows = zip([b.Cell(row.regime, lines=_real_rows(report, row.regime)) for row in view.rows], *columns.values(), strict=True)
    return b.table(f"What was found of {view.name}", (first, *columns), rows)


def _real_rows(report: Report, regime: str) -> tuple[str, ...]:
    """What of a mixture is rows of real people: whoever releases the best of the table must see it there."""
    found = next((one for one in entries(report.pack.plan, "regimes") if one.get("name") == regime and one.get("kind") == "mixed"), {})
    ratio = found.get("ratio")
    return (f"{percent(1 - ratio)} real",) if isinstance(ratio, int | float) and ratio < 1 else ()


def _free(row: Row) -> b.Cell:
    """Whether models of this training may be called free of the attribute."""
    cell = b.verdict_cell(row.finding)
    if row.finding is None or cell.chip is None:
        return cell
    word = _INSIDE if row.finding.at_least else _FREE[row.finding.verdict]
    return b.Cell("", chip=cell.chip._replace(word=word))


def overview_picture(report: Report, view: AttributeView, ident: str) -> b.Picture | None:
    """Gap and prominence by kind of training, with the untrained network and the label's own as scale."""
    inside, margins = view.inside, report.summary.margins
    before = [row for row in view.references if row.regime == "untrained"]
    gaps = {row.regime: row.gap for row in (*view.rows, *before) if row.gap is not None and row.gap.value is not None}
    if inside is None:
        leaks = {row.regime: row.leak for row in (*view.rows, *before) if row.leak is not None and row.leak.value is not None}
        margin = margins.get("leak")
        second = Panel("Readable inside", leaks, (0.0, margin) if margin else None, ", %", fine=True)
    else:
        own = dict(inside.own)
        label = next((inside.label[row.regime] for row in view.rows if row.regime in inside.label), None)
        untrained = next((e.value for name, e in inside.own.items() if name == inside.untrained), None)
        grown = (untrained / _GROWN, untrained * _GROWN) if untrained is not None and untrained > 0 else None
        second = Panel("Prominent inside", own | ({_LABEL: label} if label is not None else {}), grown, ", %", fine=True)
    margin = margins.get("gap")
    first = Panel("Gap", {} if report.summary.bare else gaps, (-margin, margin) if margin else None, f", {report.summary.scale.unit}")
    looks = {row.regime: report.style(row.regime) for row in (*view.rows, *before)} | {_LABEL: Style("km", "bar")}
    title = f"How far it shows and how prominent it is inside: {view.name}"
    svg = overview_chart(looks, (first, second), ident=ident, title=title)
    return b.Picture(svg, shorten(view.name, 60), "") if svg else None


def _steps(report: Report) -> Iterable[tuple[b.Inline, ...]]:
    """What to do next: the cures that were tried and helped, what the evidence says would settle what is open; nothing untried."""
    summary = report.summary
    views = [view for view in summary.attributes if view.role in AUDITED] or list(summary.attributes)
    if summary.bare:
        yield from _settle(views, "in")
        return
    margin, ready = summary.margins.get("gap"), 0
    for view in views[:MANY]:
        if sentence := say.reach_sentence(view, margin, summary.scale):
            yield (sentence,)
        if (found := helping_cure(view)) is not None and ready < _MOST:
            row, best = found
            ready += 1
            before = 0.0 if row.gap is None else 100 * (row.gap.value or 0.0)
            change = f"gap {number(100 * (best.left or 0.0), 0)}, was {number(before, 0)}"
            change += "; still readable inside" if best.readable else ""
            change += f"; {words}" if (words := say.people_words(best)) else ""
            words = f"Next for {squeeze(row.regime, 30)}: {shorten(best.words, 90)} ({change}). "
            yield words, b.Code(cure_command(view, row, best, "RUN"))
    if not has_kind(report.pack.plan, "prompts") and not any(row.tried for view in views for row in view.rows):
        yield (_untried(report),)
    yield from _settle(views, "after")


def _untried(report: Report) -> str:
    """That no cure was tried, and which line of the recipe asks for it."""
    key = "'cures: true'" if report.pack.recipe.get("cures") is False else "'effort: standard'"
    asks = report.pack.recipe.get("cures") is False or report.pack.recipe.get("effort") == "decide"
    return f"No cure was tried in this run{f': {key} in the recipe asks for it' if asks else ''}."


def helping_cure(view: AttributeView) -> tuple[Row, TriedView] | None:
    """The best cure that a command makes, of the kind of training with the largest gap that one helps; nothing where none does."""
    found = [(row, best) for row in view.rows if (best := best_cure([one for one in row.tried if one.ready], row.gap)) is not None]
    return max(found, key=lambda one: abs(one[0].gap.value or 0.0) if one[0].gap is not None else 0.0, default=None)


def cure_command(view: AttributeView, row: Row, cure: TriedView, run: str) -> str:
    """The command line that makes a cure of a run: one that alters rows writes a release, an eraser is put into the models."""
    command, named = ("cure", ["--cure", cure.name]) if cure.alters_rows else ("mitigate", [])
    return shlex.join(["proxyaudit", command, run, "--attribute", view.name, "--regime", row.regime, *named])


def next_commands(summary: Summary, run: str) -> Iterable[tuple[str, str]]:
    """What may be done with a run next, each with its command: a cure that helps, and what decides."""
    for view in summary.attributes:
        if not summary.bare and (found := helping_cure(view)) is not None:
            word = "write" if found[1].alters_rows else "make"
            yield f"{word} the best cure for {squeeze(view.name, 30)}", cure_command(view, *found, run)
            break
    yield "decide by a policy", shlex.join(["proxyaudit", "gate", run])
    yield "check it as others would", shlex.join(["proxyaudit", "verify", run])


def _settle(views: Iterable[AttributeView], where: str) -> Iterable[tuple[b.Inline, ...]]:
    """What would settle what is open, as far as it can be said in few words."""
    told: dict[str, list[str]] = {}
    for view in views:
        for finding in view.findings:
            if finding.would_settle:
                told.setdefault(finding.would_settle.rstrip("."), []).append(f"{named(view.name)} {where} {squeeze(finding.regime, 30)}")
    brief = [(words, which) for words, which in told.items() if len(words.split()) <= say.MOST_WORDS - 12][:_MOST]
    for words, which in brief:
        yield (f"To settle {join_words(at_most(which, 1))}: {words}.",)
    if rest := [name for words, which in told.items() if (words, which) not in brief for name in which]:
        yield (f"What would settle {join_words(at_most(rest, 1))} stands under “Each kind of training”.",)


def _matrix(report: Report) -> b.Table:
    """Of many attributes the answers side by side."""
    rows, regimes, told = [], report.summary.regimes, kinds(report.pack)
    for view in report.summary.attributes:
        found = {row.regime: row for row in view.rows}
        name = b.Cell(shorten(view.name, 80), lines=(view.role,) if view.role != "protected" else ())
        rows.append([name, *(_matrix_cell(view, found.get(regime), report.summary.scale, bare=report.summary.bare) for regime in regimes)])
    made = b.table("Answer for each attribute and kind of training data", ("Attribute", *(squeeze(name, 60) for name in regimes)), rows)
    return made._replace(below=("", *(told.get(name, "") for name in regimes)))


def _matrix_cell(view: AttributeView, row: Row | None, scale: Scale, *, bare: bool) -> b.Cell:
    if row is None:
        return b.verdict_cell(None)
    inside = view.inside.own.get(row.regime) if view.inside else None
    lines = [f"prominent {percent(inside.value, 1)}"] if inside is not None else []
    if inside is None and row.leak is not None and row.leak.value is not None:
        lines.append(f"{percent(row.leak.value)} readable inside")
    if not bare and row.gap is not None and row.gap.value is not None:
        lines.append(f"gap {scale.told(row.gap.value)}")
    if row.finding is not None and row.finding.verdict in ("inconclusive", "removed"):
        lines += [f"at most {share_at_most(bound)}" for bound in row.bounds.values()][:1]
    return b.verdict_cell(row.finding, lines)


def kept(e: Estimate) -> str:
    """A ratio to real training as a percentage with its interval; words where it cannot be told."""
    return "cannot be compared with real" if e.value is None else beside(f"{percent(e.value)} of real", _span(e))


def _span(e: Estimate) -> str:
    """An interval in percent, with a decimal where it is small."""
    ends = (e.low, e.high) if e.low is not None and e.high is not None else ()
    return " to ".join(number(100 * end, 0 if abs(end) >= 0.0995 or abs(end) < 0.0005 else 1) for end in ends)
