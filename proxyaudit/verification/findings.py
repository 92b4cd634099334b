"""Findings concluded again from estimates, controls and plan, and compared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from proxyaudit.digests import code_digest
from proxyaudit.estimates.conclude import conclude
from proxyaudit.estimates.numbers import Numbers
from proxyaudit.estimates.scope import Scope
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.types import Finding

_WORDS = ("sentence", "would_settle")
# What every finding on models rests on, by channel and measure; at the sites that the plan names.
_AT_VERDICT_SITES = (("linear", "leak"), ("nonlinear", "leak_nonlinear"), ("beyond", "leak"), ("beyond", "leak_nonlinear"), ("used", None))
_AT_OTHER_SITES = (("elsewhere", "leak"), ("elsewhere", "leak_nonlinear"))
_OF_OUTPUTS = (("expressed", "gap"), ("expressed", "output_leak"), ("expressed", "output_leak_nonlinear"))


def completeness_problems(pack: EvidencePack, scope: Scope) -> list[str]:
    """Findings and deciding estimates that the plan asks for and the evidence lacks."""
    wanted = [(name, regime) for name in (*scope.roles, *scope.unfit) for regime in scope.regimes]
    found = [(f.attribute, f.regime) for f in pack.evidence.findings]
    problems = [f"evidence.json: the finding on {a!r} in {r!r} is missing" for a, r in wanted if (a, r) not in found]
    problems += [f"evidence.json: the plan asks for no finding on {a!r} in {r!r}" for a, r in found if (a, r) not in wanted]
    if len(set(found)) != len(found):
        problems.append("evidence.json: a finding is given twice")
    numbers = Numbers(pack.evidence.estimates, scope)
    for attribute, regime in [(name, regime) for name in scope.roles for regime in scope.regimes]:
        own = numbers.own(attribute, regime)
        for channel, site, measure in _needed(scope):
            if not any((e.channel, e.site) == (channel, site) and measure in (e.measure, None) for e in own):
                problems.append(f"evidence.json: no {channel} estimate of {attribute!r} in {regime!r} at {site or 'the outputs'}")
        if scope.surface == "outputs" and not any(e.channel == "relearned" for e in own):
            problems.append(f"evidence.json: no relearned estimate of {attribute!r} in {regime!r}")
    return problems


def _needed(scope: Scope) -> list[tuple[str, str | None, str | None]]:
    """Channel, site and measure of the estimates that every finding rests on."""
    if scope.surface == "prompts":
        return []
    asked = [(channel, site, measure) for site in scope.verdict_sites for channel, measure in _AT_VERDICT_SITES]
    if scope.surface == "activations":
        known = ("linear", "nonlinear", *(("beyond",) if scope.conditions else ()))
        return [one for one in asked if one[0] in known]
    others = [site for site in scope.profile if site not in scope.verdict_sites]
    outputs = [(channel, None, measure) for channel, measure in _OF_OUTPUTS]
    return [*asked, *((channel, site, measure) for site in others for channel, measure in _AT_OTHER_SITES), *outputs]


def finding_problems(pack: EvidencePack, scope: Scope) -> Iterator[str]:
    """What in the findings does not follow from the estimates, controls and plan."""
    made = _concluded(pack, scope)
    for finding in pack.evidence.findings:
        if (finding.attribute, finding.regime) not in made:
            continue
        said, concluded = _fields(finding), _fields(made[finding.attribute, finding.regime])
        for key in said.keys() - _untold(pack):
            if said[key] != concluded[key] and key not in _WORDS:
                yield f"{_where(finding)}: {key} is {_shown(said[key])}, the evidence says {_shown(concluded[key])}"


def same_code(pack: EvidencePack) -> bool:
    """Whether the code that is running wrote the pack, so that its words can be written again."""
    return bool(pack.plan.get("code") == code_digest())


def sentence_problems(pack: EvidencePack, scope: Scope) -> Iterator[str]:
    """Findings whose sentence, or whose way to settle it, is not what their numbers give; only where :func:`same_code`."""
    made = _concluded(pack, scope)
    for finding in pack.evidence.findings:
        concluded = made.get((finding.attribute, finding.regime), finding)
        if finding.sentence != concluded.sentence:
            yield f"{_where(finding)}: the sentence is not what its numbers give"
        if finding.would_settle != concluded.would_settle:
            yield f"{_where(finding)}: what would settle it is not what its numbers give"


def _concluded(pack: EvidencePack, scope: Scope) -> dict[tuple[str, str], Finding]:
    evidence = pack.evidence
    return {(f.attribute, f.regime): f for f in conclude(evidence.estimates, evidence.controls, scope)}


def _where(finding: Finding) -> str:
    return f"evidence.json: finding {finding.attribute!r} in {finding.regime!r}"


def _fields(finding: Finding) -> dict[str, Any]:
    """Every field, those of ``origin`` and ``change`` by their own names."""
    fields = {name: getattr(finding, name) for name in type(finding).model_fields}
    for name in ("origin", "change"):
        inner = fields.pop(name)
        fields |= {f"{name}.{part}": getattr(inner, part) for part in type(inner).model_fields}
    return fields


def _untold(pack: EvidencePack) -> set[str]:
    """Fields that the first packs of schema 1.0 do not give the numbers for."""
    if pack.evidence.schema_version != "1.0":
        return set()
    told = any(e.channel == "origin" for e in pack.evidence.estimates)
    within = any(e.measure == "gap_within_label" and e.p_present is not None for e in pack.evidence.estimates)
    return (set() if told else {"origin.encoding", "origin.use"}) | (set() if within else {"basis"})


def _shown(value: Any) -> str:
    return "nothing" if value in (None, ()) else ", ".join(value) if isinstance(value, tuple) else str(value)
