"""A comparison as one HTML file that works offline, and as Markdown: the answer first, every number below. Pure: same value, same text."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup

from proxyaudit.comparison import Comparison, NumberChange, PairOutcome
from proxyaudit.reporting.markdown import escape
from proxyaudit.reporting.text import DASH, join_words, number, shorten, visible
from proxyaudit.reporting.words import STATES, VERDICTS, channel_word

__all__ = ["OUTCOMES", "WORDS", "answer", "comparison_html", "comparison_markdown", "span", "verdict_text"]

# Symbol and word of an outcome and of what is said of a number; symbols differ in shape so that they survive print and colour blindness.
OUTCOMES: dict[str, tuple[str, str]] = {
    "worse": ("▲", "worse"),
    "better": ("▼", "better"),
    "no_change": ("=", "no worse"),
    "cannot_tell": ("?", "cannot be told"),
}
WORDS: dict[str, tuple[str, str]] = {
    "worse": ("▲", "more than before"),
    "better": ("▼", "less than before"),
    "unchanged": ("=", "unchanged"),
    "not_seen": ("·", "no difference seen"),
    "cannot_tell": ("?", "cannot be told"),
}
# The report's own colours: what got worse looks like "exposed", what got better like "removed".
_CLASSES = {"worse": "exposed", "better": "removed", "no_change": "inconclusive", "cannot_tell": "hidden-inside"}
_MEANING = {
    "worse": "a channel surely shows more of the attribute than before, beyond noise and by an amount that matters",
    "better": "a channel surely shows less of it, and none more",
    "no_change": "no channel surely differs, and nothing is left open that the verdicts rest on; how small a change could have been missed "
    "is in the intervals",
    "cannot_tell": "what was measured cannot exclude that it got worse, or something that run A measured is missing in run B",
}
METHOD = (
    "Compared are calibrated values only, never a probe's raw score. A number counts as changed if its difference is beyond noise after "
    "Holm's correction over all numbers of this comparison (5 %), and larger than half of its margin and than a twentieth of the value "
    "before (a decrease: a fifth). Models trained by the audit stand for a way of training, so their spread over repetitions is noise; "
    "models that were given are compared as they are."
)


def answer(comparison: Comparison) -> str:
    """The whole comparison in one plain sentence."""
    named = {word: _names(comparison, word) for word in ("worse", "cannot_tell", "better")}
    if named["worse"]:
        return f"Run B is worse than run A for {named['worse']}."
    if named["cannot_tell"]:
        return f"It cannot be told whether run B is worse than run A for {named['cannot_tell']}."
    if named["better"]:
        return f"Run B is better than run A for {named['better']}, and no worse for the rest."
    return "No change for the worse was found between run A and run B."


def _names(comparison: Comparison, outcome: str) -> str:
    return join_words(list(dict.fromkeys(f"'{shorten(visible(p.attribute), 40)}'" for p in comparison.outcomes if p.outcome == outcome)))


def verdict_text(verdict: str | None, at_least: str | None) -> str:
    """A verdict as symbol and word."""
    if verdict is None:
        return DASH
    word = VERDICTS[verdict]
    return f"{word.symbol} {word.word}" + (f", at least {at_least}" if at_least else "")


def span(low: float | None, high: float | None) -> str:
    """``low to high``, or nothing."""
    return "" if low is None or high is None else f"{number(low)} to {number(high)}"


def _regimes(pair: PairOutcome | NumberChange) -> str:
    if not pair.regime_b:
        return pair.regime_a
    return pair.regime_a if pair.regime_a == pair.regime_b else f"{pair.regime_a} → {pair.regime_b}"


def _place(n: NumberChange) -> str:
    if n.site_a is None and n.site_b is None:
        return "outputs" if n.channel == "expressed" else DASH
    if n.site_a == n.site_b or n.site_a is None or n.site_b is None:
        return str(n.site_b or n.site_a)
    return f"{n.site_a} → {n.site_b} (by {n.matched_by})"


def _state(state: str | None) -> str:
    return " ".join(STATES[state]) if state in STATES else DASH


# Markdown ----------------------------------------------------------------------------------------------------------


def comparison_markdown(comparison: Comparison) -> str:
    """The comparison as Markdown."""
    a, b = comparison.a, comparison.b
    parts = [
        f"# {escape(answer(comparison))}",
        f"proxyaudit comparison; A (before): {escape(a.name)}, run {escape(a.id)}; B (after): {escape(b.name)}, run {escape(b.id)}",
    ]
    rows = [
        (
            escape(pair.attribute),
            pair.role,
            escape(_regimes(pair)),
            verdict_text(pair.verdict_a, pair.at_least_a),
            verdict_text(pair.verdict_b, pair.at_least_b),
            f"{' '.join(OUTCOMES[pair.outcome])}",
            "<br>".join(escape(reason) for reason in pair.reasons[:12]) or DASH,
        )
        for pair in comparison.outcomes
    ]
    parts.append(_table(("Attribute", "Role", "Regime", "Verdict in A", "Verdict in B", "Outcome", "Why"), rows))
    parts.append("\n".join(f"- **{' '.join(OUTCOMES[word])}**: {meaning}." for word, meaning in _MEANING.items()))
    parts += ["## How they were compared", METHOD, "\n".join(f"- {escape(note)}" for note in comparison.notes)]
    parts.append("## Every number")
    shown = [
        (
            escape(n.attribute),
            escape(_regimes(n)),
            escape(channel_word(n.channel) + (f" ({n.kind})" if n.kind else "")),
            escape(_place(n)),
            f"{number(n.value_a)} {_state(n.state_a)}",
            f"{number(n.value_b)} {_state(n.state_b)}",
            f"{number(n.difference)} {f'({span(n.low, n.high)})' if n.low is not None else ''}".strip(),
            number(n.margin),
            " ".join(WORDS[n.word]) + (f": {escape(n.note)}" if n.note else ""),
        )
        for n in comparison.numbers
    ]
    header = ("Attribute", "Regime", "What", "Where", "A", "B", "B minus A (95 %)", "Margin", "What can be said")
    parts.append(_table(header, shown))
    return "\n\n".join(parts) + "\n"


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# HTML --------------------------------------------------------------------------------------------------------------


def comparison_html(comparison: Comparison) -> str:
    """The comparison as one HTML document: no script, no request."""
    return (
        _environment()
        .get_template("comparison.html.jinja")
        .render(
            c=comparison,
            answer=answer(comparison),
            outcomes=OUTCOMES,
            classes=_CLASSES,
            meanings=_MEANING,
            words=WORDS,
            method=METHOD,
            told=[n for n in comparison.numbers if n.word in ("worse", "better")],
            css=Markup(_source("page.css")),
        )
    )


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("proxyaudit.reporting", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        finalize=_finalize,
    )
    environment.filters |= {
        "number": number,
        "state": _state,
        "channel": channel_word,
        "place": _place,
        "regimes": _regimes,
    }
    environment.globals |= {"span": span, "verdict_text": verdict_text}
    return environment


def _finalize(value: Any) -> Any:
    """Make every inserted string visible; what is marked as safe was made here and stays."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _source(name: str) -> str:
    environment = _environment()
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]
