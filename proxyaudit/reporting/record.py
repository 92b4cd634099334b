"""Sections that let a reader check: the audit in short, controls, what was not tested, data, words, how to repeat it."""

from __future__ import annotations

from collections import Counter

import yaml

from proxyaudit.reporting.answers import percent
from proxyaudit.reporting.blocks import Block, Cell, Command, Fold, Section, Terms, note, para, table
from proxyaudit.reporting.context import Context, estimates_blocks
from proxyaudit.reporting.facts import command, count_word, facts, hash_lines, made
from proxyaudit.reporting.sentences import REAL
from proxyaudit.reporting.text import DASH, interval, join_words, number, visible
from proxyaudit.reporting.words import CHANNEL_WORDS, CONTROL_WORDS, GLOSSARY, WORDS_OF_MODELS, channel_word, plain_word, verdict_glossary

__all__ = ["controls", "data", "in_short", "not_tested", "reproduce", "words"]


def in_short(context: Context) -> Section | None:
    """Return what was tested, found and changed, what risk remains, and what was not tested."""
    if not context.summary.attributes:
        return None
    pairs = (
        ("Tested", _tested(context)),
        ("Found", _found(context)),
        ("Changed against real data", _changed(context)),
        ("Risk that remains", _risk(context)),
        ("Not tested", _untested(context)),
    )
    return Section("short", "The audit in short", (Terms(tuple(pair for pair in pairs if pair[1])),))


def controls(context: Context) -> Section:
    """Return the controls of the instrument, passed and failed."""
    counted = context.summary.controls
    if not counted:
        return Section("controls", "Controls of the instrument", (para("No control was run."),))
    rows = [
        [
            Cell(plain_word(kind), lines=(CONTROL_WORDS[kind],) if kind in CONTROL_WORDS else ()),
            Cell(channel_word(channel)),
            Cell(f"✓ {passed}", look="num"),
            Cell(f"✗ {failed}" if failed else "0", look="num"),
            Cell(str(missing), look="num"),
        ]
        for kind, channel, passed, failed, missing in counted
    ]
    blocks: list[Block] = [
        para(
            "The instrument is tested in every run, with traces planted on purpose and with labels shuffled. A failed positive "
            "control takes away the right to say “absent”; a failed negative control takes away the right to say “present”. Neither "
            "cancels the other."
        ),
        table("Controls", ("Control", "Check", "Passed", "Failed", "Could not be run"), rows),
    ]
    notable = [c for c in context.pack.evidence.controls if c.passed is not True]
    if notable:
        lines = [
            [
                Cell(f"{plain_word(c.kind)} ({channel_word(c.channel)})"),
                Cell("✗ failed" if c.passed is False else "· not run"),
                Cell(c.attribute or DASH, look="name"),
                Cell(c.regime, look="name"),
                Cell(c.site or DASH, look="name"),
                Cell(c.detail, look="text"),
                Cell(c.id),
            ]
            for c in notable
        ]
        header = ("Control", "Result", "Attribute", context.what, "Site", "Detail", "Id")
        blocks.append(Fold(f"Failed or not run ({len(notable)})", (table("Failed controls", header, lines),)))
    return Section("controls", "Controls of the instrument", tuple(blocks))


def not_tested(context: Context) -> Section:
    """Return what a reader might expect and the audit did not look at."""
    listed = context.pack.evidence.not_tested
    if not listed:
        return Section("not-tested", "Not tested", (para("Nothing is listed."),))
    rows = [[Cell(item.what, look="text"), Cell(item.why, look="text")] for item in listed]
    return Section("not-tested", "Not tested", (table("What was not tested and why", ("What", "Why"), rows),))


def data(context: Context) -> Section:
    """Return how training data and models were made, and how well the models do their task."""
    task = context.summary.task
    rows = []
    for item in made(context.pack):
        told = [e for e in task if e.regime == item.name and e.value is not None]
        lines = tuple(
            f"{channel_word(e.channel)}{f' ({e.context})' if e.context else ''} {number(e.value)}"
            f"{f' ({interval(e)})' if interval(e) else ''}{f', {e.unit}' if e.unit else ''}"
            for e in told
        )
        cells = [Cell(item.name), Cell(item.how, look="text"), Cell(item.rows, look="num"), Cell(item.saw, look="text")]
        rows.append([*cells, *([Cell("" if lines else DASH, lines=lines, look="num")] if task else [])])
    header = (context.what, "Made how", "Rows", "Did its maker see the protected columns", *(("Task",) if task else ()))
    return Section("data", "Data and training", (table("Training data", header, rows), Terms(tuple(facts(context.pack)))))


def words(context: Context) -> Section:
    """Return the glossary."""
    bare = context.summary.bare
    terms = [item for item in GLOSSARY if not bare or item[0] not in WORDS_OF_MODELS]
    return Section("words", "What the words mean", (Terms((*verdict_glossary(context.summary.verdicts), *terms)),))


def reproduce(context: Context) -> Section:
    """Return how to get the same evidence again, and the numbers that the answers cite."""
    run, pack = context.pack.evidence.run, context.pack
    again = (
        "With the same files (their hashes are below) and versions the command below gives the same evidence.json, byte for byte."
        if context.summary.bare
        else "The recipe as resolved lies beside this page as recipe.yaml; with the same input files and versions the command below "
        "gives the same evidence.json, byte for byte. Relative paths in it start from the folder of the original recipe."
    )
    versions = ", ".join(f"{name} {version}" for name, version in sorted(run.versions.items()))
    pairs = [("Plan digest", run.plan_digest), ("Root seed", str(run.seed)), ("Versions", versions)]
    pairs += [(f"sha256 of {name}", value) for name, value in hash_lines(pack)]
    recipe = yaml.safe_dump(pack.recipe, sort_keys=False, allow_unicode=True, width=100)
    shown = "\n".join(visible(line) for line in recipe.split("\n"))
    blocks: list[Block] = [para(again), Command(command(pack)), Terms(tuple(pairs))]
    blocks.append(Fold("What was asked for" if context.summary.bare else "Recipe as resolved", (Command(shown),)))
    cited = {ref for f in pack.evidence.findings for ref in (*f.decided_by, *([f.retention] if f.retention else []))}
    numbers = [e for e in pack.evidence.estimates if e.id in cited]
    if numbers:
        inside = estimates_blocks(context, numbers, "Estimates that decided", channel=True, attribute=True)
        blocks.append(Fold(f"The {len(numbers)} estimates that decided, of {len(pack.evidence.estimates)} in evidence.json", inside))
    blocks.append(note(f"Evidence of schema {pack.evidence.schema_version}; every number is in evidence.json."))
    return Section("reproduce", "Reproduce", tuple(blocks))


def _tested(context: Context) -> str:
    summary = context.summary
    rows = context.pack.plan.get("rows")
    audit = rows.get("audit") if isinstance(rows, dict) else None
    what = f"{len(summary.attributes)} attribute{'s' if len(summary.attributes) != 1 else ''} in {len(summary.regimes)} "
    if summary.bare:
        what += f"set{'s' if len(summary.regimes) != 1 else ''} of activations"
    else:
        what += f"kind{'s' if len(summary.regimes) != 1 else ''} of training" + (f", {context.seeds} models each" if context.seeds else "")
    held = f", on {count_word(audit)} {'rows' if summary.bare else 'held-out real rows'}" if isinstance(audit, int) else ""
    asked = [
        CHANNEL_WORDS[key][1].rstrip("?").lower()
        for key in CHANNEL_WORDS
        if any(row.states.get(key) not in (None, "not_measured", "not_applicable") for view in summary.attributes for row in view.rows)
    ]
    return f"{what}{held}. Asked: {'; '.join(asked)}." if asked else f"{what}{held}."


def _found(context: Context) -> str:
    lines = []
    for regime in context.summary.regimes:
        verdicts = Counter(str(f.verdict) for f in context.pack.evidence.findings if f.regime == regime)
        told = [f"{count} {verdict}" for verdict in context.summary.verdicts if (count := verdicts.get(verdict))]
        lines += [f"{regime}: {', '.join(told)}"] if told else []
    return "; ".join(lines) + "." if lines else ""


def _changed(context: Context) -> str:
    lines = []
    for regime in context.summary.regimes:
        findings = [f for f in context.pack.evidence.findings if f.regime == regime]
        told = []
        for place, field in (("inside", "encoding"), ("in use", "use")):
            for word in ("amplified", "reduced", "eliminated", "unchanged"):
                names = [f.attribute for f in findings if getattr(f.change, field) == word]
                told += [f"{place} {word} for {join_words(names)}"] if names else []
        lines += [f"{regime}: {'; '.join(told)}."] if told else []
    compared = any(regime != REAL for regime in context.summary.regimes) and REAL in context.summary.regimes
    if lines:
        return " ".join(lines) + " What is not listed cannot be told from real."
    return "No change could be told." if compared else ""


def _risk(context: Context) -> str:
    findings = context.pack.evidence.findings
    parts = []
    if context.summary.bare and any(f.verdict in ("exposed", "hidden") or f.at_least for f in findings):
        parts.append("whoever gets the activations can read it out where it is exposed, and with a strong reader where it is hidden")
    elif any(f.verdict == "exposed" for f in findings):
        parts.append("whoever sees the outputs of an exposed model sees the attribute at work")
    if not context.summary.bare and any("linear" in f.encoding or f.verdict == "hidden" or f.at_least == "hidden" for f in findings):
        parts.append(
            "whoever holds the weights or the inner representations can read it out, and further training may bring it to the surface"
        )
    if any(f.verdict == "inconclusive" for f in findings):
        parts.append("where the verdict is inconclusive it may be there without having been found")
    margin = context.margin("leak")
    below = f"leaks below the margin ({percent(margin)} of all there is to know)" if margin is not None else "leaks below the margin"
    parts.append(f"{below} and readers that this audit does not have are never excluded")
    text = "; ".join(parts)
    return text[:1].upper() + text[1:] + "."


def _untested(context: Context) -> str:
    listed = [item.what for item in context.pack.evidence.not_tested]
    more = f"; and {len(listed) - 4} more" if len(listed) > 4 else ""
    text = "; ".join(listed[:4])
    return f"{text[:1].upper()}{text[1:]}{more}. Reasons under “Not tested”." if listed else "Nothing is listed."
