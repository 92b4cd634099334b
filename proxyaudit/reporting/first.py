"""The report of a pack as a page of blocks, which HTML and Markdown share, and its first screen: the answers and what to do next."""

import shlex
from collections.abc import Iterable, Mapping, Sequence

from proxyaudit.estimates.questions import word_of
from proxyaudit.estimates.scope import listed
from proxyaudit.estimates.sentences import share_at_most
from proxyaudit.evidence.pack import EvidencePack, run_date
from proxyaudit.reporting import blocks as b
from proxyaudit.reporting.facts import kinds, reference_words
from proxyaudit.reporting.report import Report, deciding_pictures
from proxyaudit.reporting.sections import all_sections
from proxyaudit.reporting.sections.proxies import proxy_views
from proxyaudit.reporting.summary import MANY, AttributeView, Row, Summary
from proxyaudit.reporting.text import at_most, beside, join_names, join_words, number, percent, points, shorten, squeeze
from proxyaudit.reporting.words import targets, trained
from proxyaudit.types import Estimate

_MOST = 2
_Groups = dict[tuple[str, ...], list[AttributeView]]
_READERS = {"linear": "by a linear reader", "nonlinear": "beyond that by a stronger one"}
_ORDER = ("removed", "inconclusive", "hidden", "exposed")


def report_page(pack: EvidencePack) -> b.Page:
    """The report of a pack. Pure: the same pack gives the same page."""
    report, run = Report.of(pack), pack.evidence.run
    date, partial = run_date(pack.environment), run.status != "complete"
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


def _first_screen(report: Report) -> tuple[b.Block, ...]:
    """What answers the question: a sentence for each attribute, the matrix, and the figures that decide."""
    summary = report.summary
    if not summary.attributes:
        return (b.para("No attribute was audited."),)
    proxies = proxy_views(report.pack)
    strongest = {view.attribute: view.strongest for view in proxies}
    texts = any(view.texts for view in proxies)
    answers, matrix = answers_of(summary, strongest=strongest, texts=texts), _matrix(report)
    # Many answers would push the matrix far down.
    blocks: list[b.Block] = [matrix, answers] if len(summary.attributes) > MANY else [answers, matrix]
    told = [part for word in summary.verdicts.values() for part in (b.Strong(f"{word.symbol} {word.word}"), f": {word.meaning}. ")]
    below = (
        "Below each verdict the share of all there is to know of the attribute that can be read, or how much of real's share is kept. "
        if summary.bare
        else "Below each verdict: how much of what real training leaves inside and shows outside is kept (100 %: as much as with "
        "real data), with 95 % intervals. "
    )
    blocks.append(b.note(below, *told))
    first = summary.attributes[0]
    if pictures := deciding_pictures(report, first, "f0"):
        more = " The same for every attribute: under “Why each answer”." if len(summary.attributes) > 1 else ""
        dashed = "Lines: 95 % intervals (an arrow: it goes on). Dashed: the margin, the smallest amount that counts."
        read = b.Drawn(dashed, "In brackets: 95 % intervals.")
        named = {row.regime for row in first.references if row.regime in ("untrained", "placebo")}
        references = [(key, words) for key, words in reference_words(report.pack).items() if key in named]
        said: list[b.Inline] = [part for key, words in references for part in (" ", b.Strong(key), f": {words}.")]
        blocks += [b.Heading(f"The figures that decide, for {shorten(first.name, 60)}"), *pictures, b.note(read, *said, more)]
    return tuple(blocks)


def _matrix(report: Report) -> b.Table:
    rows, regimes, told = [], report.summary.regimes, kinds(report.pack)
    for view in report.summary.attributes:
        found = {row.regime: row for row in view.rows}
        name = b.Cell(shorten(view.name, 80), lines=("proxy",) if view.role == "proxy" else ())
        rows.append([name, *(_matrix_cell(report, found.get(regime)) for regime in regimes)])
    made = b.table("Verdict for each attribute and kind of training data", ("Attribute", *(squeeze(name, 60) for name in regimes)), rows)
    return made._replace(below=("", *(told.get(name, "") for name in regimes)))


def _matrix_cell(report: Report, row: Row | None) -> b.Cell:
    if row is None:
        return b.verdict_cell(None)
    made = trained(row.finding, row.gain)
    compared = row.kept_inside is not None or row.kept_outside is not None
    lines = [f"by training {made}"] if made else []
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
    if row.finding is not None and row.finding.verdict in ("inconclusive", "removed"):
        lines += [f"{word_of(name)} at most {share_at_most(bound)}" for name, bound in row.bounds.items()]
    return b.verdict_cell(row.finding, lines)


def answers_of(summary: Summary, *, strongest: Mapping[str, Sequence[str]], texts: bool = False) -> b.Answers:
    """What the first screen says: an answer for each attribute, how sure it is, and what to do next.

    The ``strongest`` are the columns (words and habits of ``texts``) that surely carry an attribute and move the output, strongest first.
    """
    items = []
    for view in summary.attributes:
        levels = at_most([shorten(level, 40) for level in view.levels], 6)
        about = view.role + (f": {join_words(levels)}" if levels else "")
        items.append(b.Answer(shorten(view.name, 80), about, view.lead, view.answer, " ".join(_sure(view, summary))))
    return b.Answers(tuple(items), tuple(_steps(summary, strongest, texts)))


def kept(e: Estimate) -> str:
    """A ratio to real training as a percentage with its interval; words where it cannot be told."""
    return "cannot be compared with real" if e.value is None else beside(f"{percent(e.value)} of real", _span(e))


def _figure_sentence(row: Row, margins: Mapping[str, float], *, bare: bool) -> str:
    """The number that speaks most plainly about a regime, with its interval and what would count."""
    finding, gap, leak = row.finding, row.gap, row.leak
    exposed = not bare and finding is not None and finding.verdict == "exposed"
    if exposed and (gap is None or gap.state != "present"):
        read, moved = row.output_leak, row.effect
        if read is not None and read.state == "present":
            return f"{percent(read.value)} of all there is to know can be read from the outputs alone ({_ends(read)})"
        if moved is not None and moved.state == "present":
            return f"predictions move by {points(moved.value)} when its trace inside is swapped ({_ends(moved)})"
    if exposed and gap is not None and gap.value is not None:
        who = f", {shorten(gap.group, 90)}" if gap.group else ""
        counts = f"; from {number(100 * margins['gap'], 0)} on it counts" if "gap" in margins else ""
        return f"predictions differ by {points(gap.value)} between groups ({_ends(gap)}{counts}){who}"
    stronger = row.stronger
    if stronger is not None and stronger.value is not None:
        return f"{percent(stronger.value)} of all there is to know can be read inside, by a strong reader only ({_ends(stronger)})"
    if leak is not None and leak.value is not None:
        counts = f"; from {percent(margins['leak'])} on it counts" if "leak" in margins else ""
        return f"{percent(leak.value)} of all there is to know can be read inside ({_ends(leak)}{counts})"
    return ""


def _ends(e: Estimate) -> str:
    return f"{e.level * 100:g} % interval {_span(e)}" if _span(e) else "no interval"


def _span(e: Estimate) -> str:
    """An interval in percent, with a decimal where it is small."""
    ends = (e.low, e.high) if e.low is not None and e.high is not None else ()
    return " to ".join(number(100 * end, 0 if abs(end) >= 0.0995 or abs(end) < 0.0005 else 1) for end in ends)


def _sure(view: AttributeView, summary: Summary) -> Iterable[str]:
    findings = view.findings
    if not findings:
        return
    told = [f"after {squeeze(row.regime, 40)} {made}" for row in view.rows if (made := trained(row.finding, row.gain))]
    if told and len(summary.attributes) <= MANY:
        yield f"How prominent it is inside, against the untrained network: {'; '.join(at_most(told, 6))}."
    open_ones = [f.regime for f in findings if f.verdict == "inconclusive"]
    settled = len(findings) - len(open_ones)
    numbers = [e for row in view.rows for e in (row.gap, row.leak, row.effect) if e is not None]
    models = max((e.seeds for e in numbers if e.seeds is not None), default=None)
    each = f"in all {models} models of each kind" if models else "in every model"
    if summary.bare or models == 1:
        each = "for these rows" if summary.bare else "for the one model of each kind"
    if not open_ones:
        yield f"Settled {each}."
    elif settled:
        verb = "is" if len(open_ones) == 1 else "are"
        yield f"{settled} of {len(findings)} verdicts are settled {each}; {join_names(open_ones)} {verb} not."
    else:
        yield f"Not settled for {join_names(open_ones)}."
    if len(summary.attributes) > MANY:
        return
    for row in [row for row in view.rows if row.regime in open_ones and row.bounds][:_MOST]:
        certain = (f"{share_at_most(bound)} of it can be read {_READERS[name]}" for name, bound in row.bounds.items())
        yield f"At most {' and '.join(certain)} in {squeeze(row.regime, 40)}."
    asked = {f.regime for f in (findings if summary.bare else targets(findings))}
    worst = max((row for row in view.rows if row.regime in asked and row.finding is not None), key=_weight, default=None)
    if worst is not None and (sentence := _figure_sentence(worst, summary.margins, bare=summary.bare)):
        name = squeeze(worst.regime, 40)
        yield f"In the activations of {name} {sentence}." if summary.bare else f"After {name} data {sentence}."


def _weight(row: Row) -> tuple[int, float]:
    finding = row.finding
    shown = row.gap if finding is not None and finding.verdict == "exposed" and row.gap is not None else row.leak
    return (_ORDER.index(finding.verdict) if finding else -1, float(shown.value or 0.0) if shown is not None else 0.0)


def _steps(summary: Summary, strongest: Mapping[str, Sequence[str]], texts: bool) -> Iterable[tuple[b.Inline, ...]]:
    """What to do next, attributes with the same answer taken together; proxies only where nothing else was asked for."""
    protected = [view for view in summary.attributes if view.role == "protected"] or list(summary.attributes)
    grouped = {verdict: _grouped(protected, verdict, bare=summary.bare) for verdict in _ORDER}
    acting: list[tuple[str, AttributeView]] = []
    for verdict in ("exposed", "hidden"):
        for index, (regimes, views) in enumerate(grouped[verdict].items()):
            acting += [(regimes[0], view) for view in views]
            if index < _MOST:
                yield (_caution(verdict, regimes, views, bare=summary.bare),)
    yield from _data_again(dict.fromkeys(view.name for _, view in acting), strongest, texts)
    if acting and not summary.bare:
        regime, view = acting[0]
        command = f"proxyaudit mitigate RUN --attribute {shlex.quote(view.name)} --regime {shlex.quote(regime)}"
        yield "Or erase it from the models and see what is left (RUN is the folder of this report): ", b.Code(command)
    for regimes, views in list(grouped["inconclusive"].items())[:_MOST]:
        yield (_settle(regimes, views, summary),)
    for views in grouped["removed"].values():
        what = "activations" if summary.bare else "release"
        yield (f"{_names(views)}: keep this report with the {what}; audit again when data or model change.",)
    more = len({view.name for groups in grouped.values() for views in list(groups.values())[_MOST:] for view in views})
    if more:
        yield (f"Likewise for {more} more attribute{'s' if more > 1 else ''}: see the matrix.",)
    names = {view.name for view in protected}
    rest = [view for view in summary.attributes if view.name not in names and any(f.verdict == "exposed" for f in view.findings)]
    if rest:
        yield (f"Judge whether the models may use {_names(rest, 'or')}, which can stand in for a protected attribute.",)


def _grouped(views: Iterable[AttributeView], verdict: str, *, bare: bool) -> _Groups:
    """Regimes with a verdict, and the attributes that have it in just these; "removed" only where every regime has it."""
    groups: _Groups = {}
    for view in views:
        asked = view.findings if bare else targets(view.findings)
        regimes = tuple(f.regime for f in asked if f.verdict == verdict)
        if regimes and (verdict != "removed" or len(regimes) == len(asked)):
            groups.setdefault(regimes, []).append(view)
    return groups


def _caution(verdict: str, regimes: Sequence[str], views: Sequence[AttributeView], *, bare: bool) -> str:
    if bare:
        reader = ": a stronger reader gets it out" if verdict == "hidden" else ""
        return f"Do not hand on the activations of {join_names(regimes)} as free of {_names(views, 'or')}{reader}."
    trained = f"trained on {join_names(regimes)} data"
    if verdict == "exposed":
        return f"Do not release models {trained} as free of {_names(views, 'or')}: it shows in their outputs or acts on them."
    private = "keep weights and inner representations private, and audit again after fine-tuning"
    return f"Models {trained} still hold {_names(views)}: {private}."


def _data_again(names: Iterable[str], strongest: Mapping[str, Sequence[str]], texts: bool) -> Iterable[tuple[b.Inline, ...]]:
    """What the data would have to hold less of, attribute by attribute."""
    lines = []
    for name in names:
        columns = [f"“{shorten(column, 30)}”" for column in strongest.get(name, ())[:3]]
        lines += [f"“{shorten(name, 40)}” through {join_words(columns)}"] if columns else []
    if lines:
        where = "of the words and habits" if texts else "in the columns"
        yield (f"Make the data again with less {where} that carry it and move the output: {'; '.join(lines[:3])}.",)


def _names(views: Sequence[AttributeView], last: str = "and") -> str:
    return join_words(at_most([f"“{shorten(view.name, 40)}”" for view in views], 4), last)


def _settle(regimes: Sequence[str], views: Sequence[AttributeView], summary: Summary) -> str:
    """What would settle what is open, as the findings say it; in few words where they say different things."""
    asked = [finding for view in views for finding in view.findings if finding.regime in regimes]
    told = list(dict.fromkeys(finding.would_settle.rstrip(".") for finding in asked if finding.would_settle))
    what = f" To settle it: {told[0]}." if len(told) == 1 else " What would settle each stands under “Why each answer”." if told else ""
    if summary.bare:
        return f"Claim nothing about {_names(views)} in {join_names(regimes)}.{what}"
    return f"Do not claim that {join_names(regimes)} data removed {_names(views, 'or')}.{what}"
