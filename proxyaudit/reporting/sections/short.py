"""The audit in short: what was tested, what risk remains, and what was not tested."""

from collections.abc import Mapping

from proxyaudit.estimates.scope import mapping
from proxyaudit.reporting.blocks import Section, Terms
from proxyaudit.reporting.facts import repetition_words
from proxyaudit.reporting.report import Report, ReportSection
from proxyaudit.reporting.text import at_most, capital, count_word, join_words, percent


def short(report: Report) -> Section | None:
    """The three answers that a reader in a hurry needs beside the first."""
    if not report.summary.attributes:
        return None
    told = zip(("Tested", "Risk that remains", "Not tested"), (make(report) for make in (_tested, _risk, _untested)), strict=True)
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
        what += f" ({repetition_words(report.pack.plan)})" if isinstance(seeds, Mapping) else ""
    held = f", on {count_word(audit)} {'rows' if summary.bare else 'held-out real rows'}" if isinstance(audit, int) else ""
    return f"{what}{held}. What was asked stands under “What the words mean”."


def _risk(report: Report) -> str:
    findings, bare = report.pack.evidence.findings, report.summary.bare
    parts = []
    if bare and any(f.verdict in ("exposed", "hidden") or f.at_least for f in findings):
        parts.append("Whoever gets the activations can read it out where it is exposed, and with a strong reader where it is hidden.")
    elif any(f.verdict == "exposed" for f in findings):
        parts.append("Whoever sees the outputs of an exposed model sees the attribute at work.")
    if not bare and any("linear" in f.encoding or f.verdict == "hidden" or f.at_least == "hidden" for f in findings):
        parts.append(
            "Whoever holds the weights or the inner representations can read it out. Further training may bring it to the surface."
        )
    if any(f.at_least for f in findings):
        parts.append(f"Where it is at least hidden, {'a linear reader may find it, too' if bare else 'the model may also use it'}.")
    if any(f.verdict == "inconclusive" and not f.at_least for f in findings):
        parts.append("Where the verdict is inconclusive, it may be there though nothing was found.")
    margin = report.summary.margins.get("leak")
    below = f"less than {percent(margin)} of it" if margin is not None else "less than the margin"
    return " ".join([*parts, f"What no audit excludes: that {below} can be read, or more by other readers or at other places."])


def _untested(report: Report) -> str:
    listed = [] if report.summary.bare else ["leaks of single records"]
    listed += [item.what for item in report.pack.evidence.not_tested]
    return f"{capital(join_words(at_most(listed, 3)))}." if listed else "Nothing is listed."


SECTION = ReportSection(10, short)
