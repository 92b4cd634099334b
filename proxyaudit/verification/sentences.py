"""Sentences made again by the code that wrote them."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

from proxyaudit.verification.findings import PackView

__all__ = ["sentence_problems"]


def sentence_problems(view: PackView) -> Iterator[str]:
    """Findings whose sentence, or whose way to settle it, is not what their numbers give.

    Only meaningful where this code is the one that wrote the pack.
    """
    failures = [str(line) for line in view.pack.environment.get("failures") or ()]
    for finding in view.evidence.findings:
        where = f"evidence.json: finding {finding.attribute!r} in {finding.regime!r}"
        if finding.attribute not in view.attributes:
            continue
        if view.prompts:
            sentences, ways = _of_prompts(view, finding)
        else:
            sentences, ways = _of_activations(view, finding) if view.bare else _of_models(view, finding, failures)
        if not any(finding.sentence == made or (made.endswith("...") and finding.sentence.startswith(made[:-3])) for made in sentences):
            yield f"{where}: the sentence is not what its numbers give"
        if finding.would_settle not in ways:
            yield f"{where}: what would settle it is not what its numbers give"


def _of_models(view: PackView, finding: Any, failures: list[str]) -> tuple[list[str], list[str | None]]:
    from proxyaudit.estimates import findings as made
    from proxyaudit.estimates.facts import Run
    from proxyaudit.estimates.ledger import Ledger

    name, regime = finding.attribute, finding.regime
    _, decision = view.decision(name, regime)
    own = view.own(name, regime)
    task = next((e for e in view.evidence.estimates if (e.channel, e.regime) == ("task", regime)), None)
    models = len(task.seed_values) if task is not None else 0
    settled = [f"run the failed repetitions again: {line}" for line in failures] if view.evidence.run.status == "partial" else []
    if models == 0:
        return [f"'{name}' could not be audited for '{regime}': every model failed (..."], [*settled]
    run = Run(regime, cast("Any", (None,) * models))
    linear, gap = view.strongest_linear(name, regime), view.find("expressed", name, regime, context="gap")
    difference = view.find("change", name, regime, context="use: difference to real training")
    # Of single models the pack has no difference, so the direction of a gap cannot be told from it.
    turns = (difference.reason is not None,) if difference is not None else (False, True)
    ledger = Ledger(estimates=list(view.evidence.estimates))
    little = made._learnt_little(ledger, regime)
    sentences = [
        made.sentence(name, regime, decision, linear, gap, own, run, finding.change, finding.origin, turned) + little for turned in turns
    ]
    return sentences, [*settled, made._would_settle(decision, own, run)]


def _of_activations(view: PackView, finding: Any) -> tuple[list[str], list[str | None]]:
    from proxyaudit.audits.probe import assemble as made

    name, regime = finding.attribute, finding.regime
    _, decision = view.decision(name, regime)
    own = view.own(name, regime)
    inputs = cast("Any", SimpleNamespace(acts={regime: dict.fromkeys(view.verdict_sites)}, conditions=dict.fromkeys(view.conditions)))
    sentence = made.sentence(name, regime, decision, own, inputs, finding.basis, finding.change.encoding, view.real)
    return [sentence], [made.would_settle(decision, own)]


def _of_prompts(view: PackView, finding: Any) -> tuple[list[str], list[str | None]]:
    from proxyaudit.audits.prompts import assemble as made

    name, regime, real = finding.attribute, finding.regime, view.pack.recipe.get("real")
    own = view.own(name, regime)
    decision = made.prompt_decision(own)
    return [made.sentence(name, regime, decision, own, finding.change.use, real)], [made.would_settle(decision, own)]
