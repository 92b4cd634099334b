"""Findings about a language model's behaviour: does it treat the groups' names differently, and does it use the group inside?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from proxyaudit.audits.prompts.estimate import expressed_drafts, swap_drafts
from proxyaudit.estimates.conclude import evidence_of
from proxyaudit.estimates.draft import Draft
from proxyaudit.estimates.ledger import UNIT_PROMPTS, Drafts, decide_ledger
from proxyaudit.estimates.record import Measurement
from proxyaudit.estimates.scope import read_scope
from proxyaudit.language.prompt_sets import PromptSet
from proxyaudit.types import Evidence, NotTested

__all__ = ["assemble_prompts"]

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
        for cell in (*cells, *(swaps or [_no_swaps(prompts, regime, margins["effect"])]), *unasked):
            # There are no rows and no seeds.
            out.add(replace(cell, more="more names or templates"))
        for cell in swaps:
            _add_first_order(out, cell)
            _add_random(out, cell)
        left_out = measurement.numbers.get("swaps", {}).get("left out", [])
        if left_out:
            why = f"their continuations begin with one token, or the name's token cannot be told ({', '.join(left_out)})"
            notes.append(NotTested(what=f"swaps in {len(left_out)} templates of model {regime}", why=why))
    general = [NotTested(what=what, why=why) for what, why in _NOT_TESTED]
    return evidence_of(decide_ledger(out), read_scope(plan, {"real": real}, {}), plan, [*general, *notes])


def _no_swaps(prompts: PromptSet, regime: str, margin: float) -> Draft:
    why = "no swap could be measured: it takes six names in each of two groups, and continuations that begin with different tokens"
    return Draft("used", prompts.attribute, regime, margin=margin, unit=UNIT_PROMPTS, reason=why)


def _add_first_order(out: Drafts, cell: Draft) -> None:
    beside = replace(cell, measure="first_order_effect", subject=None, context="to first order", decides=False, reason=None)
    out.add(replace(beside, measured=None, interval=None), value=abs(cell.extras["first order"]))


def _add_random(out: Drafts, cell: Draft) -> None:
    value, high = cell.measured.value if cell.measured is not None else 0.0, float(cell.null_high or 0.0)
    detail = f"effect {value:.4f}; 95th percentile of random subspaces of equal rank {high:.4f}"
    figures = {"effect": value, "random_high": high, "margin": cell.margin}
    out.control("random_subspace", "used", cell.attribute, cell.regime, cell.site, detail, **figures)
