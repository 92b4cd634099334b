"""The sentences of the first screen: short, without terms of the trade, and never saying more than the findings."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from proxyaudit.estimates.questions import word_of
from proxyaudit.estimates.scope import listed, mapping
from proxyaudit.estimates.sentences import share_at_most
from proxyaudit.estimates.task import AUROC, YARDSTICKS
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.reporting.scale import Scale
from proxyaudit.reporting.summary import AttributeView, Row, Summary
from proxyaudit.reporting.text import at_most, count_word, join_words, number, percent, shorten, squeeze
from proxyaudit.reporting.training import TriedView, best_cure, least_of, pair_of
from proxyaudit.reporting.words import REAL, named, targets
from proxyaudit.types import HOLDS_REAL, LOOSE, Control, Estimate, NotTested

MOST_WORDS: Final = 30  # of a sentence
_KINDS: Final = 4  # of training that are named in a sentence
COSTLY: Final = "only costly"
NOT_HELPED: Final = "none tried surely helps"
_BOUNDS: Final = 2  # kinds of training whose bounds are told
_READERS: Final = {"linear": "by a linear reader", "nonlinear": "beyond that by a stronger one"}
_NAME = 30  # characters of a name from data in a sentence
_MADE_WORSE = "amplified"
_QUIET: Final = {"absent": "Scores hardly differ", "unknown": "Whether the gap counts is open"}  # after every kind of training


def context(pack: EvidencePack, summary: Summary, *, asked: bool) -> str:
    """In two or three short sentences what was tested, and what this is no test of."""
    plan, data = pack.plan, mapping(pack.recipe, "data")
    rows, seeds = mapping(plan, "rows").get("audit"), plan.get("seeds")
    held = f" on {count_word(rows)} held-out real rows" if isinstance(rows, int) else ""
    if asked:
        return "A language model was asked the same questions with other names. No test of what it holds inside."
    if summary.bare:
        seen = f" of {count_word(rows)} rows" if isinstance(rows, int) else ""
        return f"Readers were tried on the activations{seen} as given. No test of what a model's outputs show."
    target, source = mapping(plan, "target").get("name"), data.get("card") or data.get("path")
    said = f"The models predict {_word(target)}" if target else "The models were trained for the audit"
    said += f" from {'texts' if data.get('text') is not None else 'rows'} of {_word(str(source).rsplit('/', 1)[-1])}" if source else ""
    hidden = at_most([_word(name) for name in listed(data, "exclude")], 4)
    said += f" and never see {join_words(hidden)}" if hidden and data.get("text") is None else ""
    count = f"{seeds} of each kind, " if isinstance(seeds, int) and seeds > 1 else ""
    return f"{said}: {count}tested{held}. No test of leaks of single records."


def _word(name: object) -> str:
    return shorten(str(name), 40)


def gap_sentence(view: AttributeView, summary: Summary) -> str:
    """Who is scored higher, after which training, and by how much."""
    shown = [(row, row.gap) for row in view.rows if row.gap is not None and row.gap.value is not None]
    if not shown:
        return ""
    first = [(row, e) for row, e in shown if view.pair is None or _same(e, view)]
    others = [(row, e) for row, e in shown if (row, e) not in first]
    states = {e.state for _, e in first}
    quiet = _QUIET.get(next(iter(states)) or "") if len(states) == 1 and "gap" in summary.margins else None
    who = f"{quiet}: groups differ" if quiet else "Predictions differ between groups"
    if view.pair is not None:
        output = f" for {shorten(view.pair.output, 20)}" if view.pair.output else ""
        high, low = shorten(view.pair.high, _NAME), shorten(view.pair.low, _NAME)
        who = f"{quiet}: {high} above {low}{output}" if quiet else f"The models score {high} higher than {low}{output}"
    parts = [_after(row, e, summary, first=index == 0, alike=quiet is not None) for index, (row, e) in enumerate(first)]
    whole = f"{who} by {join_words(parts[:_KINDS])}."
    split = f"{who}. The gap is {join_words(parts[:_KINDS])}."  # where names are long
    said = [whole if len(whole.split()) <= MOST_WORDS else split, *_more(first[_KINDS:], summary.scale)]
    for row, e in others:
        pair = pair_of(e)
        groups = f"between {shorten(pair.high, _NAME)} and {shorten(pair.low, _NAME)}" if pair else "between other groups"
        said.append(f"After {squeeze(row.regime, _NAME)} the largest gap is {summary.scale.told(e.value)}, {groups}.")
    return " ".join(said)


def _more(rest: Sequence[tuple[Row, Estimate]], scale: Scale) -> list[str]:
    values = [abs(e.value or 0.0) for _, e in rest]
    return [f"After {len(rest)} more kinds of training it is {number(100 * min(values), 0)} to {scale.told(max(values))}."] if rest else []


def _after(row: Row, e: Estimate, summary: Summary, *, first: bool, alike: bool) -> str:
    value = e.value or 0.0
    amount = summary.scale.told(abs(value)) if first else number(100 * abs(value), 0)
    amount += " the other way" if round(100 * value) < 0 else ""  # who stands higher was said for all of them
    worse = row.finding is not None and row.finding.change.use == _MADE_WORSE and row.regime != REAL
    open_ = e.state == "unknown" and "gap" in summary.margins and not alike
    small = e.state == "absent" and not alike
    told = " (worse)" if worse else " (not settled)" if open_ else " (too small)" if small else ""
    return f"{amount} after {squeeze(row.regime, _NAME)}{told}"


def _same(e: Estimate, view: AttributeView) -> bool:
    own = pair_of(e)
    return own is not None and view.pair is not None and (own.high, own.low) == (view.pair.high, view.pair.low)


def found_sentences(view: AttributeView, summary: Summary) -> Iterable[str]:
    """What shows where the gap does not tell it, and whether the label explains what shows."""
    for row in view.rows:
        if row.finding is not None and row.finding.verdict == "exposed" and (row.gap is None or row.gap.state != "present"):
            yield from _otherwise(row, summary.scale, bare=summary.bare)
    shown = [finding for finding in view.findings if finding.verdict == "exposed"]
    if not summary.bare and shown and all(finding.basis == "explained_by_label" for finding in shown):
        yield "The true label explains it: among people with the same label it was not found."


def inside_sentences(view: AttributeView, summary: Summary) -> Iterable[str]:
    """What the answer rests on where outputs do not give it: how much can be read inside, or which check found it."""
    where, read, found = "in" if summary.bare else "after", dict[str, float](), dict[str, list[str]]()
    if any(finding.verdict == "exposed" for finding in view.findings) or any(
        row.gap is not None and row.gap.state == "present" for row in view.rows
    ):
        return
    for finding, row in ((row.finding, row) for row in view.rows if row.finding is not None):
        best = next((e for e in (row.leak, row.stronger) if e is not None and e.state == "present" and e.value is not None), None)
        if best is not None and (finding.verdict == "hidden" or finding.at_least):
            read[row.regime] = best.value or 0.0
        elif finding.verdict == "hidden" or finding.at_least:
            found.setdefault(join_words([word_of(name) for name in finding.mechanisms]), []).append(row.regime)
    if read and not (view.inside is None and _readable(view)):
        low, high = percent(min(read.values())), percent(max(read.values()))
        yield f"Inside, {high if low == high else f'{low[:-2]} to {high}'} of it can be read."
    for by, names in found.items():
        yield f"What found it {where} {_names(names)}: {by}."


def _names(names: Iterable[str]) -> str:
    return join_words(at_most([squeeze(name, _NAME) for name in names], 4))


def _otherwise(row: Row, scale: Scale, *, bare: bool) -> Iterable[str]:
    name, read, moved = squeeze(row.regime, _NAME), row.output_leak, row.effect
    if bare and row.leak is not None and row.leak.value is not None:
        yield f"In {name} {percent(row.leak.value)} of it can be read."
    elif read is not None and read.state == "present":
        yield f"After {name} {percent(read.value)} of it can be read from the outputs alone."
    elif moved is not None and moved.state == "present":
        counts = "" if moved.margin is None else f" ({number(100 * moved.margin, 0)} or more count)"
        yield f"After {name} predictions move by {scale.told(moved.value)}{counts} when exchanged inside."


def training_sentence(view: AttributeView) -> str:
    """What training did to it inside, in plain words; where that was not measured, what can be read beside an untrained network."""
    inside = view.inside
    if inside is None:
        return _readable(view)
    if inside.lacking:
        return f"What training did to it inside is not known: {inside.lacking}."
    by, said = _by_word(view), list[str]()
    grown = [name for word in ("amplified", "suppressed") for name in by.get(word, ()) if name in inside.gains]
    parts = [f"{number(math.exp(inside.gains[name].value or 0.0), 1)} after {squeeze(name, _NAME)}" for name in grown]
    if parts:
        parts[0] = parts[0].replace(" after", " times as prominent inside after", 1)
        said.append(f"Training made it {join_words(at_most(parts, 4))}")
    for word, told in (("left_alone", "unchanged"), ("not_present", "not prominent"), ("unknown", "unclear")):
        if names := by.get(word):
            said.append(f"{told} after {_names(names)}" if said else f"Prominence inside: {told} after {_names(names)}")
    sentences = [f"{'; '.join(said)}."] if said else []
    if any(row.finding.training.singled_out for row in view.rows if row.finding is not None and row.finding.training is not None):
        sentences.append("It gained more than other things that go with the task.")
    return " ".join(sentences)


def _by_word(view: AttributeView) -> Mapping[str, list[str]]:
    by: dict[str, list[str]] = {}
    for row in view.rows:
        if row.finding is not None and row.finding.training is not None:
            by.setdefault(row.finding.training.word, []).append(row.regime)
    return by


def _readable(view: AttributeView) -> str:
    leaks = [row.leak.value for row in view.rows if row.leak is not None and row.leak.value is not None]
    before = next((row.leak.value for row in view.references if row.regime == "untrained" and row.leak is not None), None)
    if not leaks or before is None:
        return ""
    low, high = percent(min(leaks)).removesuffix(" %"), percent(max(leaks))
    between = high if f"{low} %" == high else f"{low} to {high}"
    return f"Inside, {between} of it can be read after training, {percent(before)} before."


def sure_line(view: AttributeView, summary: Summary) -> str:
    """In how many models the answer holds, and where it is open."""
    if not view.findings:
        return ""
    meant = targets(view.findings) if not summary.bare else view.findings
    open_ = [f.regime for f in view.findings if f.verdict == "inconclusive"]
    gap_rows = [row for row in view.rows if row.finding in meant and row.finding is not None and row.finding.verdict == "exposed"]
    held = [_held(row.gap, summary.margins.get("gap")) for row in gap_rows if row.gap is not None and row.gap.state == "present"]
    known = [one for one in held if one is not None and one[1] > 1]
    settled = len(view.findings) - len(open_)
    if known:
        every = all(row.gap is not None and row.gap.state == "present" for row in view.rows)
        first = f"{'' if every else 'settled '}gaps hold in {min(known)[0]} of {min(known)[1]} models"
    else:
        first = "settled for these rows" if summary.bare else f"{settled} of {len(view.findings)} answers firm in every model"
    if not settled:
        inside = [f.regime for f in view.findings if f.at_least]
        small = [row for row in view.rows if row.regime in open_ and row.gap is not None and row.gap.state == "absent"]
        told = (
            f"gaps that count are ruled out after {len(small)} of {len(view.findings)}; the rest is open."
            if small
            else "nothing is settled."
        )
        if inside:
            told = f"{len(inside)} of {len(view.findings)} at least hidden."
    else:
        where = "in" if summary.bare else "after"
        told = f"{first}; open {where} {_names(open_)}." if open_ else f"{first}."
    return " ".join([told, *_certain(view, open_)])


def _certain(view: AttributeView, open_: Sequence[str]) -> Iterable[str]:
    """How much can be read at most where that is open, as far as it is certified."""
    for row in [row for row in view.rows if row.regime in open_ and row.bounds][:_BOUNDS]:
        certain = (f"{share_at_most(bound)} of it can be read {_READERS[name]}" for name, bound in row.bounds.items())
        yield f"At most {' and '.join(certain)} in {squeeze(row.regime, _NAME)}."


def _held(e: Estimate | None, margin: float | None) -> tuple[int, int] | None:
    """In how many models the gap is as large as counts, on the side where most models have it."""
    if e is None or not e.seed_values or margin is None:
        return None
    return max(sum(sign * value >= margin for value in e.seed_values) for sign in (1, -1)), len(e.seed_values)


def checks_line(controls: Sequence[Control]) -> str:
    """How many instrument checks failed, and what that limits."""
    run = [c for c in controls if c.passed is not None]
    failed = [c for c in run if not c.passed]
    if not failed:
        return f"All {len(run)} instrument checks passed." if run else ""
    absence = sum(c.kind == "positive" for c in failed)
    barred = [(absence, "absent"), (len(failed) - absence, "present")]
    told = join_words([f"{count} bar{'s' if count == 1 else ''} “{word}”" for count, word in barred if count])
    return f"{len(failed)} of {len(run)} instrument checks failed: {told}."


def cure_words(row: Row) -> str:
    """The best cure of a kind of training with what it leaves and costs, or what trying them showed."""
    if not row.tried:
        return "not tried"
    best = best_cure(row.tried, row.gap)
    least = best or least_of([one for one in row.tried if one.helps(row.gap)], row.gap)
    if least is None:
        return NOT_HELPED
    name = least.words if len(least.words.split()) < 4 else least.name
    told = f"{number(100 * (least.left or 0.0), 0)}, {cost_words(least, in_full=best is None)}"
    told += ", still readable inside" if least.readable else ""
    told += f"; {words}" if (words := people_words(least)) else ""
    return f"{shorten(name, _NAME)}: {told}" if best is not None else f"{COSTLY}: {shorten(name, _NAME)} leaves {told}"


def people_words(one: TriedView) -> str:
    """How many rows of a mixture are those of real people; empty where none is, and of other cures, which alter the rows of a name."""
    return f"{one.people} of its rows are real people's" if one.mixes and one.people != "none" else ""


def cost_words(one: TriedView, *, in_full: bool) -> str:
    """What a cure costs; ``in_full``, where that matters most, and of what: the column is narrow."""
    value = one.cost.value if one.cost is not None else None
    if one.cost is None or value is None:
        return "cost unknown"
    word = next((by.word for by in YARDSTICKS.values() if by.cost == one.cost.measure), AUROC.word)
    return f"costs {number(value)}{f' {word}' if in_full else ''}" if value > 0.0005 else "costs nothing"


def reach_sentence(view: AttributeView, margin: float | None, scale: Scale) -> str:
    """Whether a cure that was tried brings the gap below what counts."""
    rows = [row for row in view.rows if row.gap is not None and abs(row.gap.value or 0.0) >= (margin or 0.0)]
    tried = [(row, one) for row in rows for one in row.tried if one.left is not None]
    if margin is None or not tried:
        return ""
    below = [(row, one) for row, one in tried if one.helps(row.gap) and one.within(margin)]
    gap = f"the gap of {named(view.name)} below {scale.told(margin)}"
    if not below:
        some = len(rows) < len(view.rows) or any(not row.tried for row in rows)
        where = f" after {_names(dict.fromkeys(row.regime for row, _ in tried))}" if some else ""
        return f"No cure tried surely brings {gap}{where}."
    cheap = [(row, one) for row, one in below if one.affordable]
    if cheap:
        row = cheap[0][0]
        one = least_of([one for of, one in cheap if of is row], row.gap) or cheap[0][1]
        left = list(dict.fromkeys(row.regime for row, _ in tried if row.regime not in {row.regime for row, _ in cheap}))
        rest = f"; no cheap one does after {_names(left)}" if left else ""
        name = squeeze(one.name, _NAME) if one.alters_rows else "an eraser"
        return f"After {squeeze(row.regime, _NAME)} {name} brings {gap} at next to no cost{rest}."
    cost = min((one.cost.value for _, one in below if one.cost is not None and one.cost.value is not None), default=None)
    names = list(dict.fromkeys(row.regime for row, _ in below))
    where = f" after {_names(names)}" if len(names) < len(view.rows) else ""
    # Rounded down: "or more" must be true of the cheapest.
    return (
        f"Only cures that cost {number(math.floor(100 * cost) / 100, 2)} of {scale.task.word} or more surely bring {gap}{where}."
        if cost
        else ""
    )


def odd_releases(listed: Iterable[NotTested]) -> Iterable[str]:
    """What a reader must know first of releases that hold the real rows, or whose columns no longer say anything together."""
    holds, loose = re.compile(_pattern(HOLDS_REAL)), re.compile(_pattern(LOOSE))
    for note in listed:
        if found := holds.match(note.what):
            share = shorten(note.why.split(", so ")[0], 60)
            yield f"Release {found[1]} holds real rows: {share}. What it shows is what training on real rows does."
        elif found := loose.match(note.what):
            columns = shorten(note.what.removeprefix(found[0]).lstrip(": "), 90)
            yield f"In release {found[1]} columns no longer go together ({columns}). Models cannot learn from it what these say together."


def _pattern(words: str) -> str:
    return re.escape(words).replace(r"\{\}", r"(\S+)")
