"""How sure an answer is and what to do next, in words that need no machine learning. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence

from proxyaudit.reporting.blocks import Answer, Answers, Code, Inline
from proxyaudit.reporting.sentences import targets
from proxyaudit.reporting.summary import MANY, AttributeView, Row, Summary
from proxyaudit.reporting.text import count_word, join_names, join_words, number, percent, points, shorten, squeeze
from proxyaudit.types import Estimate, Finding

_MOST = 2
_ORDER = ("removed", "inconclusive", "hidden", "exposed")


def answers_of(summary: Summary, *, seeds: int | None, strongest: Mapping[str, Sequence[str]], texts: bool = False) -> Answers:
    """What the first screen says: an answer for each attribute, how sure it is, and what to do next.

    ``seeds`` models were trained for each kind of data. ``strongest`` are, for each attribute, columns (of ``texts``, words and habits)
    that surely carry it and move the output, strongest first.
    """
    items = []
    for view in summary.attributes:
        levels = [*(shorten(level, 40) for level in view.levels[:6]), *([f"{len(view.levels) - 6} more"] if len(view.levels) > 6 else [])]
        about = view.role + (f": {join_words(levels)}" if levels else "")
        items.append(Answer(shorten(view.name, 80), about, view.lead, view.answer, " ".join(_sure(view, summary))))
    return Answers(tuple(items), tuple(_steps(summary, seeds, strongest, texts)))


def kept(e: Estimate) -> str:
    """A ratio to real training as a percentage with its interval; words where it cannot be told."""
    if e.value is None:
        return "cannot be compared with real"
    ends = "" if e.low is None or e.high is None else f" ({_whole(e.low)} to {_whole(e.high)})"
    return f"{percent(e.value)} of real{ends}"


def figure_sentence(row: Row, margins: Mapping[str, float], *, bare: bool) -> str:
    """The number that speaks most plainly about a regime, with its interval and what would count."""
    finding, gap, leak = row.finding, row.gap, row.leak
    if not bare and finding is not None and finding.verdict == "exposed" and gap is not None and gap.value is not None:
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
    if e.low is None or e.high is None:
        return "no interval"
    return f"{e.level * 100:g} % interval {_whole(e.low)} to {_whole(e.high)}"


def _whole(value: float) -> str:
    return number(100 * value, 0 if abs(value) >= 0.0995 or abs(value) < 0.0005 else 1)


def _findings(view: AttributeView) -> list[Finding]:
    """The findings of an attribute."""
    return [row.finding for row in view.rows if row.finding is not None]


def _sure(view: AttributeView, summary: Summary) -> Iterable[str]:
    findings = _findings(view)
    if not findings:
        return
    open_ones = [f.regime for f in findings if f.verdict == "inconclusive"]
    settled = len(findings) - len(open_ones)
    models = max(
        (e.seeds for row in view.rows for e in (row.gap, row.leak, row.effect) if e is not None and e.seeds is not None), default=None
    )
    if summary.bare:
        each = "for these rows"
    elif models == 1:
        each = "for the one model of each kind"
    else:
        each = f"in all {models} models of each kind" if models else "in every model"
    if not open_ones:
        yield f"Settled {each}."
    elif settled:
        verb = "is" if len(open_ones) == 1 else "are"
        yield f"{settled} of {len(findings)} verdicts are settled {each}; {join_names(open_ones)} {verb} not."
    else:
        yield f"Not settled for {join_names(open_ones)}."
    if len(summary.attributes) > MANY:
        return
    asked = {f.regime for f in (findings if summary.bare else targets(findings))}
    worst = max((row for row in view.rows if row.regime in asked and row.finding is not None), key=_weight, default=None)
    sentence = figure_sentence(worst, summary.margins, bare=summary.bare) if worst is not None else ""
    if worst is not None and sentence:
        name = squeeze(worst.regime, 40)
        yield f"In the activations of {name} {sentence}." if summary.bare else f"After {name} data {sentence}."


def _weight(row: Row) -> tuple[int, float]:
    finding = row.finding
    shown = row.gap if finding is not None and finding.verdict == "exposed" and row.gap is not None else row.leak
    return (_ORDER.index(finding.verdict) if finding else -1, float(shown.value or 0.0) if shown is not None else 0.0)


_Groups = dict[tuple[str, ...], list[AttributeView]]


def _steps(summary: Summary, seeds: int | None, strongest: Mapping[str, Sequence[str]], texts: bool) -> Iterable[tuple[Inline, ...]]:
    """What to do next, attributes with the same answer taken together; proxies only where nothing else was asked for."""
    protected = [view for view in summary.attributes if view.role == "protected"] or list(summary.attributes)
    grouped = {verdict: _grouped(protected, verdict, bare=summary.bare) for verdict in _ORDER}
    for verdict, said in (("exposed", _of_exposed), ("hidden", _of_hidden)):
        for regimes, views in list(grouped[verdict].items())[:_MOST]:
            yield (said(regimes, views, bare=summary.bare),)
    acting = [(regimes[0], view) for verdict in ("exposed", "hidden") for regimes, views in grouped[verdict].items() for view in views]
    yield from _data_again(dict.fromkeys(view.name for _, view in acting), strongest, texts)
    if acting and not summary.bare:
        regime, view = acting[0]
        command = f"proxyaudit mitigate RUN --attribute {shlex.quote(view.name)} --regime {shlex.quote(regime)}"
        yield "Or erase it from the models and see what is left (RUN is the folder of this report): ", Code(command)
    for regimes, views in list(grouped["inconclusive"].items())[:_MOST]:
        yield (_settle(regimes, views, summary, seeds),)
    for views in grouped["removed"].values():
        what = "activations" if summary.bare else "release"
        yield (f"{_names(views)}: keep this report with the {what}; audit again when data or model change.",)
    more = len({view.name for groups in grouped.values() for views in list(groups.values())[_MOST:] for view in views})
    if more:
        yield (f"Likewise for {more} more attribute{'s' if more > 1 else ''}: see the matrix.",)
    names = {view.name for view in protected}
    rest = [view for view in summary.attributes if view.name not in names and any(f.verdict == "exposed" for f in _findings(view))]
    if rest:
        yield (f"Judge whether the models may use {_names(rest, 'or')}, which can stand in for a protected attribute.",)


def _grouped(views: Iterable[AttributeView], verdict: str, *, bare: bool) -> _Groups:
    """Regimes with a verdict, and the attributes that have it in just these; "removed" only where every regime has it."""
    groups: _Groups = {}
    for view in views:
        asked = _findings(view) if bare else targets(_findings(view))
        regimes = tuple(f.regime for f in asked if f.verdict == verdict)
        if regimes and (verdict != "removed" or len(regimes) == len(asked)):
            groups.setdefault(regimes, []).append(view)
    return groups


def _of_exposed(regimes: Sequence[str], views: Sequence[AttributeView], *, bare: bool) -> str:
    if bare:
        return f"Do not hand on the activations of {join_names(regimes)} as free of {_names(views, 'or')}."
    models = f"models trained on {join_names(regimes)} data"
    return f"Do not release {models} as free of {_names(views, 'or')}: it shows in their outputs or acts on them."


def _of_hidden(regimes: Sequence[str], views: Sequence[AttributeView], *, bare: bool) -> str:
    if bare:
        return f"Do not hand on the activations of {join_names(regimes)} as free of {_names(views, 'or')}: a stronger reader gets it out."
    kept_in = f"Models trained on {join_names(regimes)} data still hold {_names(views)}"
    return f"{kept_in}: keep weights and inner representations private, and audit again after fine-tuning."


def _data_again(names: Iterable[str], strongest: Mapping[str, Sequence[str]], texts: bool) -> Iterable[tuple[Inline, ...]]:
    """What the data would have to hold less of, attribute by attribute."""
    lines = []
    for name in names:
        columns = [f"“{shorten(column, 30)}”" for column in strongest.get(name, ())[:3]]
        lines += [f"“{shorten(name, 40)}” through {join_words(columns)}"] if columns else []
    if lines:
        where = "of the words and habits" if texts else "in the columns"
        yield (f"Make the data again with less {where} that carry it and move the output: {'; '.join(lines[:3])}.",)


def _names(views: Sequence[AttributeView], last: str = "and") -> str:
    names = [f"“{shorten(view.name, 40)}”" for view in views[:4]]
    return join_words([*names, *([f"{len(views) - 4} more"] if len(views) > 4 else [])], last)


def _settle(regimes: Sequence[str], views: Sequence[AttributeView], summary: Summary, seeds: int | None) -> str:
    """What would settle what is open, as far as the findings say."""
    rows = [row for view in views for row in view.rows]
    needed = max((row.rows_needed for row in rows if row.regime in regimes and row.rows_needed), default=None)
    have = max((e.n for row in rows for e in (row.leak, row.gap) if e is not None and e.n is not None), default=None)
    wanted = "more held-out rows"
    if needed is not None and (have is None or needed > have):
        wanted = f"about {count_word(needed)} held-out rows"
    wanted += f" ({count_word(have)} here)" if have else ""
    if summary.bare:
        return f"Claim nothing about {_names(views)} in {join_names(regimes)}; to settle it give {wanted}."
    more = "" if seeds is None else f" and train {max(seeds + 2, 5)} models of each kind ({seeds} here)"
    return f"Do not claim that {join_names(regimes)} data removed {_names(views, 'or')}; to settle it give {wanted}{more}."
