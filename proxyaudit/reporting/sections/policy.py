"""Policy controls: what the run supports evidence for, clause by clause, and what it does not."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from proxyaudit.controls.claims import ClauseClaim, FrameworkClaims, Supported, claims
from proxyaudit.controls.framework import comes_along, shipped_frameworks
from proxyaudit.reporting.blocks import Block, Bullets, Fold, Heading, Inline, Para, Section, Strong, note, para
from proxyaudit.reporting.report import Report, ReportSection
from proxyaudit.reporting.text import capital, join_words
from proxyaudit.reporting.words import VERDICTS
from proxyaudit.types import Evidence

NO_VERDICT = (
    "What this run supports evidence for, by clause. Nothing here says that a clause is met: every clause asks for more than an audit "
    "gives, and an exposed attribute supports evidence for a test just as a removed one does."
)
_SOURCES = (
    "Clauses are in our words, most after secondary sources: read the text before you rely on it. 'proxyaudit controls RUN' names the "
    "sources."
)
_WORDINGS = {"primary": "after the text itself", "secondary": "after secondary sources: read the text before you rely on it"}


def policy(report: Report) -> Section:
    """A line for each framework; one click below what each clause is supported by."""
    found = claims(report.pack, shipped_frameworks())
    lines = Bullets(tuple((Strong(one.framework.title), f": {_line(one)}") for one in found))
    inside = tuple(block for one in found if one.applies for block in _clauses(one))
    fold = (Fold("Clause by clause, with what is not covered", (note(_SOURCES), *inside)),) if inside else ()
    return Section("policy", "Policy controls", (para(NO_VERDICT), lines, *fold))


def _line(one: FrameworkClaims) -> str:
    """The clauses that something supports evidence for, and those that nothing does, or why there are none."""
    if not one.applies:
        return f"does not apply; {one.why_not}."
    lacking = [clause for clause in one.clauses if not clause.supported]
    if not one.told:
        return f"no evidence; {lacking[0].unsupported[0].why}."
    return f"supports evidence for {_named(one.told)}" + (f"; none for {_named(lacking)}." if lacking else ".")


def _named(found: Sequence[ClauseClaim]) -> str:
    """Clauses by name; those of which only some is supported say so."""
    return join_words([f"{clause.clause}{' (in part)' if clause.answer == 'in_part' else ''}" for clause in found])


def _clauses(one: FrameworkClaims) -> Iterator[Block]:
    yield Heading(one.framework.title)
    yield note(f"{capital(one.framework.kind)}, as of {one.framework.as_of.isoformat()}.")
    for clause in one.clauses:
        # Where nothing is claimed there is nothing to take back.
        yield from (
            (para(Strong(clause.clause), f": {clause.asks}"), Bullets(tuple(_items(clause)))) if clause.supported else (_none(clause),)
        )


def _none(clause: ClauseClaim) -> Para:
    return para(Strong(clause.clause), f": {' '.join(_lacking(clause))}")


def _items(clause: ClauseClaim) -> Iterable[tuple[Inline, ...]]:
    for said in clause.supported:
        yield Strong("Supports evidence for"), f" {said.evidence_for}. {' '.join(answer_words(said))}"
    yield from ((line,) for line in _lacking(clause))
    yield Strong("Not covered"), f": {clause.not_covered}"


def _lacking(clause: ClauseClaim) -> list[str]:
    return [f"No evidence for {lacking.evidence_for}: {lacking.why}." for lacking in clause.unsupported]


def head_words(one: FrameworkClaims) -> str:
    """What a framework is, as of when, and how its clauses were worded."""
    about = one.framework
    more = ("" if comes_along(about) else " A framework of your own.") + (f" {about.note}" if about.note else "")
    return (
        f"{about.source}. {capital(about.kind)}, as of {about.as_of.isoformat()}; clauses in our words, {_WORDINGS[about.wording]}.{more}"
    )


def settled_words(evidence: Evidence) -> str:
    """How many answers of a run are settled and how many checks failed: what a count of clauses does not tell."""
    total, still_open = len(evidence.findings), sum(finding.verdict == "inconclusive" for finding in evidence.findings)
    some = "all" if still_open == total else str(still_open)
    told = "settled" if not still_open else "inconclusive" if total == 1 else f"{'both' if total == still_open == 2 else some} inconclusive"
    done = [control.passed for control in evidence.controls if control.passed is not None]
    checks = f"; {done.count(False)} of {len(done)} instrument checks failed" if done else ""
    return f"{total} answer{'' if total == 1 else 's'}, {told}{checks}"


def answer_words(one: Supported) -> list[str]:
    """The answers that a support rests on, by verdict, and those that were asked for and do not support it, by reason."""
    counts = Counter[str](about.verdict for about in one.findings)
    verdicts = join_words([f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict]])
    total = len(one.findings)
    lines = [f"By {total} answer{'s' if total != 1 else ''}: {verdicts}."]
    return lines + [f"Not by {count} more: {why}." for why, count in Counter(left.why for left in one.left).items()]


SECTION = ReportSection(115, policy)
