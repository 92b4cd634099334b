"""The audit in short: what was tested, found and changed, what risk remains, and what was not tested."""

from collections import Counter

from proxyaudit.estimates.questions import all_questions
from proxyaudit.estimates.scope import mapping
from proxyaudit.reporting.blocks import Section, Terms
from proxyaudit.reporting.report import Report, ReportSection
from proxyaudit.reporting.text import capital, count_word, join_words, percent
from proxyaudit.reporting.words import REAL, checks


def short(report: Report) -> Section | None:
    """The five answers that a reader in a hurry needs."""
    if not report.summary.attributes:
        return None
    terms = ("Tested", "Found", "Changed against real data", "Risk that remains", "Not tested")
    told = zip(terms, (make(report) for make in (_tested, _found, _changed, _risk, _untested)), strict=True)
    return Section("short", "The audit in short", (Terms(tuple((term, words) for term, words in told if words)),))


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' if number != 1 else ''}"


def _tested(report: Report) -> str:
    summary, audit, seeds = report.summary, mapping(report.pack.plan, "rows").get("audit"), report.pack.plan.get("seeds")
    what = f"{_count(len(summary.attributes), 'attribute')} in "
    if summary.bare:
        what += _count(len(summary.regimes), "set") + " of activations"
    else:
        what += _count(len(summary.regimes), "kind") + " of training"
        what += f", {_count(seeds, 'model')} each" if seeds and isinstance(seeds, int) else ""
    held = f", on {count_word(audit)} {'rows' if summary.bare else 'held-out real rows'}" if isinstance(audit, int) else ""
    states = {(name, state) for view in summary.attributes for row in view.rows for name, state in row.states.items()}
    measured = {name for name, state in states if state not in ("not_measured", "not_applicable")}
    asked = [all_questions()[name].asks.rstrip("?").lower() for name in checks(bare=False) if name in measured]
    return f"{what}{held}. Asked: {'; '.join(asked)}." if asked else f"{what}{held}."


def _found(report: Report) -> str:
    lines = []
    for regime in report.summary.regimes:
        verdicts = Counter(str(f.verdict) for f in report.pack.evidence.findings if f.regime == regime)
        told = [f"{count} {verdict}" for verdict in report.summary.verdicts if (count := verdicts.get(verdict))]
        lines += [f"{regime}: {', '.join(told)}"] if told else []
    return "; ".join(lines) + "." if lines else ""


def _changed(report: Report) -> str:
    lines = []
    for regime in report.summary.regimes:
        findings = [f for f in report.pack.evidence.findings if f.regime == regime]
        told = []
        for place, field in (("inside", "encoding"), ("in use", "use")):
            for word in ("amplified", "reduced", "eliminated", "unchanged"):
                names = [f.attribute for f in findings if getattr(f.change, field) == word]
                told += [f"{place} {word} for {join_words(names)}"] if names else []
        lines += [f"{regime}: {'; '.join(told)}."] if told else []
    if lines:
        return " ".join(lines) + " What is not listed cannot be told from real."
    compared = any(regime != REAL for regime in report.summary.regimes) and REAL in report.summary.regimes
    return "No change could be told." if compared else ""


def _risk(report: Report) -> str:
    findings, bare = report.pack.evidence.findings, report.summary.bare
    parts = []
    if bare and any(f.verdict in ("exposed", "hidden") or f.at_least for f in findings):
        parts.append("whoever gets the activations can read it out where it is exposed, and with a strong reader where it is hidden")
    elif any(f.verdict == "exposed" for f in findings):
        parts.append("whoever sees the outputs of an exposed model sees the attribute at work")
    if not bare and any("linear" in f.encoding or f.verdict == "hidden" or f.at_least == "hidden" for f in findings):
        parts.append(
            "whoever holds the weights or the inner representations can read it out, and further training may bring it to the surface"
        )
    if any(f.verdict == "inconclusive" for f in findings):
        parts.append("where the verdict is inconclusive it may be there without having been found")
    margin = report.summary.margins.get("leak")
    below = f"leaks below the margin ({percent(margin)} of all there is to know)" if margin is not None else "leaks below the margin"
    return capital("; ".join([*parts, f"{below} and readers that this audit does not have are never excluded"])) + "."


def _untested(report: Report) -> str:
    listed = [item.what for item in report.pack.evidence.not_tested]
    more = f"; and {len(listed) - 4} more" if len(listed) > 4 else ""
    return f"{capital('; '.join(listed[:4]))}{more}. Reasons under “Not tested”." if listed else "Nothing is listed."


SECTION = ReportSection(10, short)
