"""A comparison as a page: the answer first, every number below. Pure: the same comparison gives the same text."""

from collections.abc import Sequence

from proxyaudit.comparison import Comparison, NumberChange, PairOutcome
from proxyaudit.estimates.questions import word_of
from proxyaudit.reporting.blocks import Cell, Chip, Page, Section, Table, Terms, bullets, para, table
from proxyaudit.reporting.text import DASH, beside, capital, join_words, number, shorten, span, visible
from proxyaudit.reporting.words import STATES, verdict_text

# Symbols differ in shape (print, colour blindness); what got worse has the colour of "exposed", what got better that of "removed".
OUTCOMES: dict[str, Chip] = {
    "worse": Chip("▲", "worse", "exposed"),
    "better": Chip("▼", "better", "removed"),
    "no_change": Chip("=", "no worse", "inconclusive"),
    "cannot_tell": Chip("?", "cannot be told", "hidden-inside"),
}
_WORDS: dict[str, str] = {
    "worse": "▲ more than before",
    "better": "▼ less than before",
    "unchanged": "= unchanged",
    "not_seen": "· no difference beyond noise; none is ruled out",
    "cannot_tell": "? cannot be told",
}
_MEANING = {
    "worse": "a check surely shows more of the attribute than before, beyond noise and by an amount that matters",
    "better": "a check surely shows less of it, and none shows more",
    "no_change": "no check surely differs, and the verdicts leave nothing open. The intervals say how small a change may have been missed",
    "cannot_tell": "it may have got worse as far as these numbers say, or run B lacks something that run A measured",
}
_METHOD = (
    "Only calibrated values are compared, never the raw score of a reader. A number counts as changed if two things hold. Its difference "
    "is beyond noise after Holm's correction over all numbers of this comparison (5 %). And it is larger than half of its margin and than "
    "a twentieth of the value before (for a decrease: a fifth). Models that the audit trained stand for a way of training, so how much "
    "repetitions differ is noise. Models that were given are compared as they are."
)
_READ = (
    "Values are calibrated; below each what it says of the attribute at its margin. Intervals are 95 %, one number at a time; what can be "
    "said is corrected for all of them."
)
_MOST_REASONS = 12


def answer(comparison: Comparison) -> str:
    """The whole comparison in one plain sentence."""
    named: dict[str, str] = {}
    for word in ("worse", "cannot_tell", "better"):
        names = dict.fromkeys(f"'{shorten(visible(p.attribute), 40)}'" for p in comparison.outcomes if p.outcome == word)
        named[word] = join_words(list(names))
    if named["worse"]:
        return f"Run B is worse than run A for {named['worse']}."
    if named["cannot_tell"]:
        return f"It cannot be told whether run B is worse than run A for {named['cannot_tell']}."
    if named["better"]:
        return f"Run B is better than run A for {named['better']}, and no worse for the rest."
    return "No change for the worse was found between run A and run B."


def comparison_page(comparison: Comparison) -> Page:
    """The comparison as a page of blocks."""
    a, b = comparison.a, comparison.b
    changed = [n for n in comparison.numbers if n.word in ("worse", "better")]
    surely = _numbers("Numbers that surely changed", changed)
    nothing = para("No number changed by more than noise and by an amount that matters.")
    meanings = Terms(tuple((f"{OUTCOMES[word].symbol} {OUTCOMES[word].word}", f"{capital(text)}.") for word, text in _MEANING.items()))
    every = _numbers("Every number of run B beside its counterpart in run A", comparison.numbers)
    prominent = [bullets([f"{change.text}." for change in comparison.prominence])] if comparison.prominence else []
    return Page(
        title=answer(comparison),
        name=f"{a.name} and {b.name}: {answer(comparison)}",
        about=("proxyaudit comparison", f"A (before): {a.name}, run {a.id}", f"B (after): {b.name}, run {b.id}"),
        first=(_outcomes(comparison.outcomes) if comparison.outcomes else para("No attribute was compared."),),
        sections=(
            Section("changed", "What changed", (surely if changed else nothing, *prominent)),
            Section("how", "How they were compared", (para(_METHOD), bullets(comparison.notes), meanings)),
            Section("numbers", "Every number", (para(_READ), every)),
        ),
        partial=" and ".join(f"Run {side}" for side, run in (("A", a), ("B", b)) if run.status != "complete"),
        foot=f"Made from the two evidence packs alone. A: plan {a.plan_digest}. B: plan {b.plan_digest}.",
    )


def _outcomes(pairs: Sequence[PairOutcome]) -> Table:
    rows = []
    for pair in pairs:
        more = len(pair.reasons) - _MOST_REASONS
        reasons = (*pair.reasons[:_MOST_REASONS], *([f"and {more} more, in the table below"] if more > 0 else []))
        after = verdict_text(pair.verdict_b, pair.at_least_b) if pair.verdict_b else "not in run B"
        verdicts = (Cell(text, look="name") for text in (verdict_text(pair.verdict_a, pair.at_least_a), after))
        name, outcome = Cell(pair.attribute, lines=(pair.role,)), Cell("", chip=OUTCOMES[pair.outcome])
        why = Cell("" if reasons else DASH, lines=reasons, look="text")
        rows.append([name, Cell(_regimes(pair), look="name"), outcome, *verdicts, why])
    return table("Outcome for each attribute", ("Attribute", "Regime", "Outcome", "Verdict in A", "Verdict in B", "Why"), rows)


def _numbers(label: str, numbers: Sequence[NumberChange]) -> Table:
    rows = []
    for n in numbers:
        places = (Cell(_regimes(n), look="name"), Cell(word_of(n.channel), n.kind, look="name"), Cell(_place(n), look="name"))
        sides = ((n.value_a, n.state_a, n.bound_a), (n.value_b, n.state_b, n.bound_b))
        values = []
        for value, state, bound in sides:
            word = " ".join(STATES[state]) if state in STATES else DASH
            values.append(Cell(number(value), lines=(word, *([f"at most {number(bound)}"] if bound is not None else [])), look="num"))
        paired = (("paired" if n.paired else "unpaired"),) if n.low is not None else ()
        figures = (*values, Cell(number(n.difference), span(n.low, n.high), paired, "num"), Cell(number(n.margin), look="num"))
        said = Cell(_WORDS[n.word], lines=tuple(filter(None, (n.note, n.bound_words))), look="text")
        rows.append([Cell(n.attribute), *places, *figures, said])
    header = ("Attribute", "Regime", "What", "Where", "A, before", "B, after", "B minus A", "Margin", "What can be said")
    return table(label, header, rows)


def _regimes(pair: PairOutcome | NumberChange) -> str:
    return f"{pair.regime_a} → {pair.regime_b}" if pair.regime_b and pair.regime_a != pair.regime_b else pair.regime_a


def _place(n: NumberChange) -> str:
    if n.site_a is None and n.site_b is None:
        return "outputs" if n.channel == "expressed" else DASH
    if n.site_a == n.site_b or n.site_a is None or n.site_b is None:
        return str(n.site_b or n.site_a)
    return beside(f"{n.site_a} → {n.site_b}", f"by {n.matched_by}")
