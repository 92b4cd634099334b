"""The controls of the instrument, passed and failed."""

from proxyaudit.estimates.channel import all_channels
from proxyaudit.estimates.questions import word_of
from proxyaudit.reporting.blocks import Block, Cell, Fold, Section, para, table
from proxyaudit.reporting.report import Report, ReportSection
from proxyaudit.reporting.sentences import checks_line
from proxyaudit.reporting.summary import count_controls
from proxyaudit.reporting.text import DASH
from proxyaudit.reporting.words import plain_word

_TITLE = "Controls of the instrument"
_OPENING = (
    "The instrument is tested in every run, with signals planted on purpose and with labels shuffled. A failed positive control bars the "
    "word “absent”, a failed negative control the word “present”. Neither cancels the other."
)

# What a passed control shows; a channel's own stand with the channel.
_CONTROLS = {
    "negative": "with shuffled labels nothing is found",
    "positive": "a signal planted on purpose is found",
    "repetition": "repetitions are not copies of one another",
}


def controls(report: Report) -> Section:
    """How many controls passed, and each one that did not."""
    counted = count_controls(report.pack.evidence.controls)
    if not counted:
        return Section("controls", _TITLE, (para("No control was run."),))
    shows, rows = _CONTROLS | {kind: words for channel in all_channels() for kind, words in channel.controls.items()}, []
    for (kind, channel), found in counted.items():
        named = (Cell(plain_word(kind), lines=(shows[kind],) if kind in shows else ()), Cell(word_of(channel)))
        counts = (f"✓ {found[True]}", f"✗ {found[False]}" if found[False] else "0", str(found[None]))
        rows.append([*named, *(Cell(count, look="num") for count in counts)])
    blocks: list[Block] = [para(checks_line(report.pack.evidence.controls), " ", _OPENING)]
    blocks.append(Fold("Every check", (table("Controls", ("Control", "Check", "Passed", "Failed", "Could not be run"), rows),)))
    notable: list[list[Cell | str]] = []
    for c in report.pack.evidence.controls:
        if c.passed is not True:
            result = "✗ failed" if c.passed is False else "· not run"
            where = (Cell(name or DASH, look="name") for name in (c.attribute, c.regime, c.site))
            notable.append([f"{plain_word(c.kind)} ({word_of(c.channel)})", result, *where, Cell(c.detail, look="text"), c.id])
    if notable:
        header = ("Control", "Result", "Attribute", report.what, "Site", "Detail", "Id")
        blocks.append(Fold(f"Failed or not run ({len(notable)})", (table("Failed controls", header, notable),)))
    return Section("controls", _TITLE, tuple(blocks))


SECTION = ReportSection(100, controls)
