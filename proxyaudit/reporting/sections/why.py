"""Each kind of training, a row for each: figures first, pictures of what decides beside them, sentences and checks below."""

from proxyaudit.estimates.questions import all_questions, word_of
from proxyaudit.estimates.training import times
from proxyaudit.reporting import blocks as b
from proxyaudit.reporting.facts import margin_words
from proxyaudit.reporting.report import Report, ReportSection, deciding_pictures, rounding_note, technical
from proxyaudit.reporting.summary import AttributeView, Row
from proxyaudit.reporting.text import capital, number, shorten, span, squeeze
from proxyaudit.reporting.words import CHANGES, STATES, checks, plain_word

_CUT = 400  # characters at which versions of schema 1.0 cut advice
_TRAINING = {
    "amplified": "▲ more prominent",
    "left_alone": "= as before",
    "suppressed": "▼ pushed back",
    "not_present": "○ not prominent",
    "unknown": "? cannot be told",
}


def why(report: Report) -> b.Section:
    """The figures of each attribute, a row for each kind of training; how they were decided one click below."""
    summary = report.summary
    margins = margin_words(report.pack.plan)
    explained = (
        "Values with 95 % intervals over the rows given."
        if summary.bare
        else "Present means: found in every one of the trained models. The interval answers another question: how far the number would "
        "move if the training were repeated. With two or three models it is wide. Gaps and effects are in "
        f"{summary.scale.words}. What can be read is in per cent: 0 is guessing, 100 is knowing it of everybody."
    )
    blocks: list[b.Block] = [b.note(explained)]
    for index, view in enumerate(summary.attributes):
        name = shorten(view.name, 80)
        shown = [e for row in report.rows(view) for e in (row.gap, row.effect, row.leak)]
        blocks += [b.Heading(name), _table(report, view), *rounding_note(shown)]
        inside: list[b.Block] = [*deciding_pictures(report, view, f"w{index}"), _checks(report, view)]
        inside.append(
            b.Bullets(tuple((b.Strong(squeeze(row.regime, 60)), f": {row.finding.sentence}") for row in view.rows if row.finding))
        )
        inside.append(b.Bullets(tuple(_technical(row, bare=summary.bare) for row in view.rows)))
        blocks.append(technical(f"what decided for {name}", *inside))
    blocks += [b.note(f"Margins, the smallest amounts that count: {margins}.")] if margins else []
    return b.Section("why", "Each kind of training", tuple(blocks))


def _table(report: Report, view: AttributeView) -> b.Table:
    bare, inside, rows = report.summary.bare, view.inside, []
    old = report.pack.evidence.schema_version == "1.0"
    for row in report.rows(view):
        stronger, outside = [], []
        if row.stronger is not None and row.stronger.value is not None:
            stronger.append(f"{word_of(row.stronger.channel)} {number(100 * row.stronger.value, 1)}")
        if row.output_leak is not None and row.output_leak.value is not None:
            outside.append(f"read from outputs {number(100 * row.output_leak.value, 1)} %: {' '.join(STATES[str(row.output_leak.state)])}")
        verdict = b.verdict_cell(row.finding) if row in view.rows else b.Cell("reference")
        shown = () if bare else (b.share_cell(row.gap, lines=outside), b.share_cell(row.effect, lines=_subspace(row)))
        cells = [b.Cell(row.regime), verdict, *([_prominence(view, row)] if inside else []), *shown, b.share_cell(row.leak, lines=stronger)]
        rows.append([*cells, b.Cell("", lines=_beside(view, row, bare=bare, old=old))])
    unit = report.summary.scale.unit
    header = (report.what, "Verdict", *(["Prominent, %"] if inside else []), *(() if bare else (f"Gap, {unit}", f"Effect, {unit}")))
    behind = len(rows) - len(view.rows)
    return b.table(f"Deciding figures for {view.name}", (*header, "Can be read, %", "Against real, and what is open"), rows, behind=behind)


def _subspace(row: Row) -> tuple[str, ...]:
    """Which part inside an effect is about."""
    measure = row.effect.measure if row.effect is not None else ""
    words = {"effect": "fitted subspace", "learned_effect": "learned subspace"}.get(measure)
    return (words,) if words else ()


def _prominence(view: AttributeView, row: Row) -> b.Cell:
    """Prominence, how many times that of the untrained network, and what training did in a word."""
    inside = view.inside
    if inside is None or row.regime not in inside.own:
        return b.Cell("")
    gain, lines = inside.gains.get(row.regime), []
    training = row.finding.training if row.finding is not None else None
    unclear = training is not None and training.word == "unknown"
    if gain is not None and gain.value is not None and gain.low is not None and gain.high is not None:
        between = f"{times(gain.low)} {'and' if unclear else 'to'} {times(gain.high)}"
        # Where more than one answer lies in the interval, a single factor would read as one of them.
        lines.append(
            f"between {between} times the untrained network" if unclear else f"{times(gain.value)} times the untrained network ({between})"
        )
    if training is not None:
        lines.append((inside.lacking if unclear else "") or _TRAINING[training.word])
    if training is not None and training.singled_out is not None:
        lines.append("singled out" if training.singled_out else "carried with the task")
    return b.share_cell(inside.own[row.regime])._replace(lines=tuple(lines))


def _beside(view: AttributeView, row: Row, *, bare: bool, old: bool) -> tuple[str, ...]:
    finding = row.finding
    if finding is None:
        return ()
    kept = view.inside.kept.get(row.regime) if view.inside else None
    changes = (("inside", finding.change.encoding), *(() if bare else (("use", finding.change.use),)))
    told = [f"{where}: {CHANGES[word]}" for where, word in changes if word != "not_applicable"]
    if kept is not None and kept.value is not None:
        what = "kept of what real training added" if kept.measure == "kept_of_added" else "of real's prominence"
        between = span(_hundred(kept.low), _hundred(kept.high), 0)
        open_ = kept.low is not None and kept.high is not None and kept.low <= 0 and kept.high >= 1  # both none and all
        told.append(f"how much is {what} is unclear: {between} %" if open_ else f"{number(100 * kept.value, 0)} % {what} ({between})")
    if finding.would_settle:
        told.append(f"would settle it: {whole_parts(finding.would_settle, cut=old)}")
    return tuple(told)


def _hundred(end: float | None) -> float | None:
    return None if end is None else 100 * end


def whole_parts(text: str, *, cut: bool) -> str:
    """Advice without its last part where a version may have ``cut`` that off in the middle."""
    parts = text.rstrip(".").split("; ")
    return "; ".join(parts[:-1] if cut and len(text) >= _CUT and len(parts) > 1 else parts)


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
        *(f"{word} open: {e.reason}" for word, e in (("leak", row.leak), ("gap", row.gap), ("effect", row.effect)) if e and e.reason),
    ]
    cited: tuple[b.Inline, ...] = (" (", b.Code(", ".join(finding.decided_by)), ")") if finding.decided_by else ()
    return (b.Strong(row.regime), ": " + "; ".join(filter(None, said)), *cited, ".")


def _origin(word: str) -> str:
    return f" ({word})" if word in ("learned", "relayed") else ""


SECTION = ReportSection(20, why, ("prominence",))
