"""A change record as Markdown and in a few lines. Pure: the same record gives the same text."""

from collections.abc import Iterable, Sequence

from proxyaudit.evidence.changes import Changed, ChangeRecord, Side
from proxyaudit.reporting.blocks import Block, Page, Section, Table, bullets, para, table
from proxyaudit.reporting.markdown import page_markdown
from proxyaudit.reporting.text import DASH, beside, number, span
from proxyaudit.reporting.words import state_word

_HEADER = ("What", "Attribute", "Site", "Before", "After")
_SIGNED = (
    "Who vouches for this change has signed the folder ('proxyaudit sign'); 'proxyaudit verify --key' checks whether the record, and what "
    "it names, are what was signed."
)


def render_change(record: ChangeRecord) -> str:
    """``change.md`` for a record."""
    return page_markdown(change_page(record))


def change_page(record: ChangeRecord) -> Page:
    """A record as a page of blocks."""
    title = f"Change record: {record.kind} for {record.attribute} in {record.regime}"
    first: list[Block] = [para(f"{record.mechanism.words[:1].upper()}{record.mechanism.words[1:]}."), bullets(_facts(record))]
    sections = (
        Section("measured", "Measured before and after", (_numbers("The attribute before and after", record.measured),)),
        Section("side_effects", "Side effects", (_numbers("Task and other attributes before and after", record.side_effects),)),
        Section("residual", "Residual risk", (bullets(record.residual_risk or ("none was found",)),)),
        Section("made", "What was made", (bullets(f"{name}: sha256 {digest}" for name, digest in record.artefacts.items()),)),
        Section("signed", "Who signed", (para(_SIGNED),)),
    )
    return Page(title, title, (), tuple(first), sections)


def _facts(record: ChangeRecord) -> Iterable[str]:
    yield f"Changed: run {record.source.run_id} of {record.source.name}"
    if record.audit is not None:
        yield f"Measured: run {record.audit.run_id} of {record.audit.name}, beside the models as they were"
    else:
        yield "Measured: in a trial of that run, with models trained on the altered rows"
    yield f"Verdict: {_verdicts(record)}"


def change_words(record: ChangeRecord) -> str:
    """What a change did, in one line."""
    said = [f"{record.mechanism.words}; verdict {_verdicts(record)}"]
    for one in main_numbers(record):
        there = one.before is not None and one.before.value is not None
        said.append(f"{one.what} {_figure(one.before)} to {_figure(one.after)}" if there else f"{one.what} {_figure(one.after)}")
    return "; ".join(said)


def _verdicts(record: ChangeRecord) -> str:
    """The verdicts before and after; a trial gives none."""
    none = "none yet, for what was changed has not been audited" if record.audit is None else "none was given"
    return f"{record.verdict_before or 'none was given'} before; after it {record.verdict_after or none}"


def signed_words(signers: Sequence[str]) -> str:
    """In whose names a record was signed."""
    if not signers:
        return "nobody signed it"
    return f"signed in the name of {'the key' if len(signers) == 1 else 'the keys'} {', '.join(one[:12] for one in signers)}"


def main_numbers(record: ChangeRecord) -> Sequence[Changed]:
    """The gap, the first linear leak and the task."""
    gap = next((one for one in record.measured if one.measure == "gap"), None)
    leak = next((one for one in record.measured if (one.channel, one.measure) == ("linear", "leak")), None)
    task = next((one for one in record.side_effects if one.attribute is None), None)
    return [one for one in (gap, leak, task) if one is not None]


def _numbers(label: str, numbers: Iterable[Changed]) -> Table:
    rows = []
    for one in numbers:
        sides = [_figure(side) + (f" ({state_word(side.state)})" if side and side.state else "") for side in (one.before, one.after)]
        # What a cure costs is a difference to what was there before.
        sides[0] = "nothing" if one.channel == "cure" and one.before is None else sides[0]
        rows.append((one.what, one.attribute or DASH, one.site or DASH, *sides))
    return table(label, _HEADER, rows)


def _figure(side: Side | None) -> str:
    return "not measured" if side is None or side.value is None else beside(number(side.value), span(side.low, side.high))
