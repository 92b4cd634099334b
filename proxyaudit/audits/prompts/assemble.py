"""Findings about a language model's behaviour: does it treat the groups' names differently, and does it use the group inside?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from proxyaudit.audits.prompts.estimate import expressed_drafts, swap_drafts
from proxyaudit.estimates.draft import Draft, decide_drafts
from proxyaudit.estimates.findings import compare
from proxyaudit.estimates.ledger import UNIT_PROMPTS, Drafts, Ledger, decide_ledger
from proxyaudit.estimates.methods import some_reasons
from proxyaudit.estimates.record import Measurement
from proxyaudit.estimates.verdicts import Decision, combine, decide
from proxyaudit.language.prompt_sets import PromptSet
from proxyaudit.stats.intervals import crossed_interval
from proxyaudit.types import CHANNELS, Change, ChangeWord, Estimate, Evidence, Finding, NotTested, Origin, RunInfo, State

__all__ = ["assemble_prompts", "prompt_decision", "sentence", "would_settle"]

# Prompts do not ask these, so they stay unknown and nothing is ever called removed.
_NOT_ASKED = {
    "linear": ("leak", "prompts read no activations"),
    "nonlinear": ("nonlinear", "prompts read no activations"),
    "beyond": ("leak", "prompts have no labels"),
    "relearned": ("relearned", "nothing was fine-tuned"),
}
_NOT_TESTED = (
    (
        "whether the group can be read from the model's activations",
        "prompts ask what a model does; 'proxyaudit probe' reads activations, and a verdict of 'removed' takes it",
    ),
    ("where a difference comes from (training data, or the base model)", "it takes the checkpoint before; give it as another --model"),
    (
        "what names carry beside the group",
        "age, origin, frequency and spelling go with names; the intervals cover how names within a group differ, not what all share",
    ),
    ("other prompts than these", "the intervals cover templates like those of the set, and of a single template that template alone"),
    (
        "use that changes direction from template to template, or lies at other positions",
        "one direction was swapped, at the name and at the last token",
    ),
)


def assemble_prompts(prompts: PromptSet, measured: Mapping[str, Measurement], plan: dict[str, Any], real: str | None) -> Evidence:
    """Evidence of all models."""
    out = Drafts()
    margins, notes = plan["margins"], []
    for regime, measurement in measured.items():
        cells = expressed_drafts(prompts, measurement, regime, margins["gap"], plan["seed"])
        swaps = swap_drafts(prompts, measurement, regime, margins["effect"])
        unasked = [Draft(c, prompts.attribute, regime, margin=margins[key], reason=why) for c, (key, why) in _NOT_ASKED.items()]
        for cell in decide_drafts([*cells, *(swaps or [_no_swaps(prompts, regime, margins["effect"])]), *unasked]):
            out.add(replace(cell, reason=_in_words_of_prompts(cell.reason)))
        for cell in swaps:
            _add_first_order(out, cell)
            _add_random(out, cell)
        left_out = measurement.numbers.get("swaps", {}).get("left out", [])
        if left_out:
            why = f"their continuations begin with one token, or the name's token cannot be told ({', '.join(left_out)})"
            notes.append(NotTested(what=f"swaps in {len(left_out)} templates of model {regime}", why=why))
    ledger = decide_ledger(out)
    findings = tuple(_find(ledger, prompts, regime, plan, real) for regime in measured)
    return Evidence(
        run=RunInfo(
            id=plan["run_id"],
            name=plan["name"],
            status="complete",
            plan_digest=plan["digest"],
            versions=plan["versions"],
            seed=plan["seed"],
        ),
        findings=findings,
        estimates=tuple(ledger.estimates),
        controls=tuple(ledger.controls),
        not_tested=(*(NotTested(what=what, why=why) for what, why in _NOT_TESTED), *notes),
    )


def _in_words_of_prompts(reason: str | None) -> str | None:
    """What would settle a number here: there are no rows and no seeds."""
    for rows in ("more seeds or audit rows", "more seeds or rows", "more rows"):
        reason = reason.replace(rows, "more names or templates") if reason else reason
    return reason


def _no_swaps(prompts: PromptSet, regime: str, margin: float) -> Draft:
    why = "no swap could be measured: it takes six names in each of two groups, and continuations that begin with different tokens"
    return Draft("used", prompts.attribute, regime, margin=margin, unit=UNIT_PROMPTS, reason=why)


def _add_first_order(out: Drafts, cell: Draft) -> None:
    beside = replace(cell, decides=False, measured=None, interval=None, state=None, reason=None)
    beside = replace(beside, measure="first_order_effect", subject=None, context="to first order")
    out.add(beside, value=abs(cell.extras["first order"]))


def _add_random(out: Drafts, cell: Draft) -> None:
    value, high = cell.measured.value if cell.measured is not None else 0.0, float(cell.null_high or 0.0)
    detail = f"effect {value:.4f}; 95th percentile of random subspaces of equal rank {high:.4f}"
    out.control(
        "random_subspace",
        "used",
        cell.attribute,
        cell.regime,
        cell.site,
        high < max(value, cell.margin),
        detail,
        effect=value,
        random_high=high,
    )


def prompt_decision(own: Sequence[Estimate]) -> Decision:
    """Channel states combined over cells, and what they amount to. What is inside was not read, so nothing is ever "removed"."""
    channels = {e.channel for e in own if e.channel in CHANNELS}
    found: dict[str, State] = {c: combine([e.state for e in own if e.channel == c and e.state is not None]) for c in sorted(channels)}
    return decide({channel: state for channel, state in found.items() if state != "not_applicable"})


def _find(ledger: Ledger, prompts: PromptSet, regime: str, plan: dict[str, Any], real: str | None) -> Finding:
    own = [e for e in ledger.estimates if e.regime == regime and e.state is not None]
    decision = prompt_decision(own)
    word = _change(ledger, prompts, regime, real)
    return Finding(
        attribute=prompts.attribute,
        role="protected",
        regime=regime,
        verdict=decision.verdict,
        at_least=decision.at_least,
        encoding=decision.encoding,
        use=decision.use,
        recoverable=decision.recoverable,
        mechanisms=decision.mechanisms,
        basis=None,
        origin=Origin(encoding="not_applicable", use="unknown"),
        change=Change(encoding="not_applicable", use=word),
        sentence=sentence(prompts.attribute, regime, decision, own, word, real),
        decided_by=tuple(e.id for e in own if e.channel in decision.mechanisms and e.state in ("present", "absent")),
        would_settle=would_settle(decision, own),
        control_refs=tuple(c.id for c in ledger.controls if c.regime == regime),
    )


def _change(ledger: Ledger, prompts: PromptSet, regime: str, real: str | None) -> ChangeWord:
    """How the gap that is strongest in either model differs between the two, on the same prompts."""
    if real is None or regime == real:
        return "not_applicable"
    gaps = [
        e
        for e in ledger.estimates
        if e.channel == "expressed" and e.regime in (regime, real) and e.state is not None and e.value is not None
    ]
    strongest = max(gaps, key=_weight, default=None)
    if strongest is None:
        return "unknown"
    pair = [
        ledger.draft_of(e)
        for name in (regime, real)
        for e in gaps
        if e.regime == name and e.context == strongest.context and _same_groups(e, strongest)
    ]
    if len(pair) != 2 or pair[0].measured is None or pair[1].measured is None:
        return "unknown"
    # Each gap was turned to be positive; compared, both must run the same way.
    mine, theirs = pair if pair[0].group == pair[1].group else (replace(pair[0], measured=-pair[0].measured), pair[1])
    word, _, difference = compare(mine, theirs)
    beside = replace(mine, channel="change", context=f"use: {mine.context}, difference to {real}", decides=False, state=None, reason=None)
    beside = replace(beside, measure="use_difference", subject=mine.context)
    ledger.add_one(replace(beside, group=theirs.group, measured=difference, interval=crossed_interval(difference), null_high=None))
    return word


def _weight(estimate: Estimate) -> tuple[bool, bool, bool, float]:
    """What is said of templates at large comes before what is said of one, probabilities before ranks, of equals the larger."""
    context = estimate.context or ""
    return estimate.state == "present", ", template " not in context, not context.startswith("ranking"), estimate.value or 0.0


def _same_groups(one: Estimate, other: Estimate) -> bool:
    return set((one.group or "").split(" minus ")) == set((other.group or "").split(" minus "))


def would_settle(decision: Decision, own: Sequence[Estimate]) -> str | None:
    """What would settle an inconclusive finding."""
    if decision.verdict != "inconclusive":
        return None
    reasons = sorted({e.reason for e in own if e.channel in ("expressed", "used") and e.state == "unknown" and e.reason})
    return some_reasons(["what is inside was not read ('proxyaudit probe' does)", *reasons])


_CHANGES = {
    "amplified": ", more than in '{real}'",
    "reduced": ", less than in '{real}'",
    "unchanged": ", about as much as in '{real}'",
}


def sentence(attribute: str, regime: str, decision: Decision, own: Sequence[Estimate], word: str, real: str | None) -> str:
    """One plain sentence or two for people who do no machine learning."""
    shown = max((e for e in own if e.channel == "expressed" and e.state == "present"), key=_weight, default=None)
    used = max((e for e in own if e.channel == "used" and e.state == "present"), key=lambda e: e.value or 0.0, default=None)
    beside = _CHANGES.get(word, "").format(real=real) if real else ""
    parts = []
    if shown is not None:
        parts.append(
            f"With nothing but the name changed, '{regime}' answers differently for groups of '{attribute}': {shown.group} {_span(shown)} "
            f"in {shown.context}{beside}."
        )
    if used is not None:
        start = "It uses the group inside" if parts else f"'{regime}' uses the group of '{attribute}' inside"
        parts.append(f"{start}: moving names to the other group's place at {used.site} moves the continuation by {_span(used)}.")
    if parts:
        return " ".join(parts)
    gaps = [e for e in own if e.channel == "expressed"]
    if gaps and all(e.state == "absent" for e in gaps):
        return f"No prompt of this set showed a difference between groups of '{attribute}' in '{regime}'; what is inside was not read."
    return f"These prompts cannot tell whether '{regime}' treats groups of '{attribute}' differently."


def _span(estimate: Estimate) -> str:
    parts = [f"{v:.3f}" if v is not None else "?" for v in (estimate.value, estimate.low, estimate.high)]
    return f"{parts[0]} ({parts[1]} to {parts[2]})"
