"""What the findings of a run support evidence for, clause by clause. Pure: pack and frameworks in, answers out; no law is decided here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple

from proxyaudit.controls.framework import (
    CheckNeed,
    Clause,
    Condition,
    EstimateNeed,
    FindingNeed,
    Framework,
    Support,
    comes_along,
    shipped_frameworks,
)
from proxyaudit.estimates.scope import entries, mapping, read_scope
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.evidence.seal import deviations, named_seal
from proxyaudit.types import Control, Estimate, Finding, Verdict

Answer = Literal["supported", "in_part", "not_supported"]
_PARTIAL = "a task of the run failed, and nothing is claimed of a partial run"
_NOTHING = "the run has no findings"


class About(NamedTuple):
    """A finding that something is said of."""

    attribute: str
    regime: str
    verdict: Verdict
    at_least: str | None


@dataclass(frozen=True)
class Left:
    """A finding that is asked for and does not support what others do."""

    attribute: str
    regime: str
    why: str


@dataclass(frozen=True)
class Supported:
    """What the run supports evidence for: which findings do, by which numbers and checks, and which findings do not."""

    evidence_for: str
    findings: tuple[About, ...]
    ids: tuple[str, ...]  # of estimates and controls that the rules chose
    left: tuple[Left, ...]


@dataclass(frozen=True)
class Unsupported:
    """What the run does not support evidence for, and why."""

    evidence_for: str
    why: str


@dataclass(frozen=True)
class ClauseClaim:
    """A clause, what supports evidence for it, what does not, and what no audit of ours covers."""

    id: str
    clause: str
    asks: str
    supported: tuple[Supported, ...]
    unsupported: tuple[Unsupported, ...]
    not_covered: str

    @property
    def answer(self) -> Answer:
        """How much of what the clause lists is there; never that the clause is met."""
        return "not_supported" if not self.supported else "in_part" if self.unsupported else "supported"


@dataclass(frozen=True)
class FrameworkClaims:
    """The clauses of a framework against one run."""

    framework: Framework
    applies: bool
    why_not: str  # empty where it applies
    clauses: tuple[ClauseClaim, ...]

    @property
    def told(self) -> tuple[ClauseClaim, ...]:
        """The clauses that something supports evidence for."""
        return tuple(clause for clause in self.clauses if clause.supported)

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        head = self.framework.model_dump(mode="json", exclude={"clauses", "applies"}, exclude_none=True)
        clauses = [{**asdict(c), "answer": c.answer, "supported": [_supported_dict(s) for s in c.supported]} for c in self.clauses]
        return {**head, "comes_along": comes_along(self.framework), "applies": self.applies, "why_not": self.why_not, "clauses": clauses}


def _supported_dict(one: Supported) -> dict[str, Any]:
    return {**asdict(one), "findings": [about._asdict() for about in one.findings]}


class _Facts:
    """What the rules look at."""

    def __init__(self, pack: EvidencePack, *, seals: bool) -> None:
        scope = read_scope(pack.plan, pack.recipe, pack.environment)
        self.evidence = pack.evidence
        self.kinds = {str(one.get("name")): str(one.get("kind")) for one in entries(pack.plan, "regimes")}
        if scope.real is not None:
            self.kinds[scope.real] = "real"
        self.surface = scope.surface
        # Of bare activations nobody knows what the model read.
        reads = "text" if mapping(pack.recipe, "data").get("text") else "table"
        self.reads = {"outputs": reads, "prompts": "text"}.get(scope.surface, "")
        named = named_seal(pack.environment)
        self.sealed = seals and named is not None and not deviations(named, pack.plan, pack.environment.get("started"))
        # Both go into the digest that names the run; what else environment.json says, nothing vouches for.
        self.documents: dict[str, Mapping[str, Any]] = {"plan": pack.plan, "recipe": pack.recipe}
        # What belongs to a reference (placebos, the untrained network) says nothing by itself.
        self.numbers = _by_pair((e.attribute, e.regime, e) for e in pack.evidence.estimates if e.reference_for is None)
        self.checks = _by_pair((c.attribute, c.regime, c) for c in pack.evidence.controls)

    def holds(self, path: str) -> bool:
        """Whether a key of a document of the pack holds something; the first part of ``path`` names the document."""
        name, *keys = path.split(".")
        found: Any = self.documents.get(name)
        for key in keys:
            found = found.get(key) if isinstance(found, Mapping) else None
        return bool(found) and bool(keys)


def _by_pair(found: Iterable[tuple[str | None, str, Any]]) -> dict[tuple[str | None, str], list[Any]]:
    pairs: dict[tuple[str | None, str], list[Any]] = {}
    for attribute, regime, one in found:
        pairs.setdefault((attribute, regime), []).append(one)
    return pairs


def claims(pack: EvidencePack, frameworks: Sequence[Framework], *, seals: bool = True) -> tuple[FrameworkClaims, ...]:
    """What a run supports evidence for, of each framework; without ``seals`` as if nothing had been sealed."""
    facts = _Facts(pack, seals=seals)
    return tuple(_of_framework(framework, facts) for framework in frameworks)


def controls_supported(pack: EvidencePack, found: Sequence[FrameworkClaims]) -> list[dict[str, Any]]:
    """For each finding the clauses that it supports evidence for, as ``framework.clause``."""
    told: dict[tuple[str, str], dict[str, None]] = {(f.attribute, f.regime): {} for f in pack.evidence.findings}
    for one in found:
        for clause in one.told:
            for about in (about for supported in clause.supported for about in supported.findings):
                told[about.attribute, about.regime][f"{one.framework.name}.{clause.id}"] = None
    about_all = ((f, told[f.attribute, f.regime]) for f in pack.evidence.findings)
    return [{**_about(f)._asdict(), "controls_supported": list(clauses)} for f, clauses in about_all]


def with_controls(pack: EvidencePack) -> EvidencePack:
    """The pack with the clauses of the frameworks that come along in its findings.

    A seal is named in environment.json, on which no byte of evidence.json may hang: what rests on one is left to ``controls``.
    """
    told = controls_supported(pack, claims(pack, shipped_frameworks(), seals=False))
    findings = (
        f.model_copy(update={"controls_supported": tuple(one["controls_supported"])})
        for f, one in zip(pack.evidence.findings, told, strict=True)
    )
    return replace(pack, evidence=pack.evidence.model_copy(update={"findings": tuple(findings)}))


def _of_framework(framework: Framework, facts: _Facts) -> FrameworkClaims:
    barred = _PARTIAL if facts.evidence.run.status != "complete" else "" if facts.evidence.findings else _NOTHING
    why_not = next((c.otherwise for c in framework.applies if not _run_level(c, facts)), "")
    clauses = tuple(_of_clause(clause, facts, barred or why_not) for clause in framework.clauses)
    return FrameworkClaims(framework, not why_not, why_not, clauses)


def _of_clause(clause: Clause, facts: _Facts, barred: str) -> ClauseClaim:
    found = [Unsupported(one.evidence_for, barred) if barred else _of_support(one, facts) for one in clause.supports]
    supported = tuple(one for one in found if isinstance(one, Supported))
    unsupported = tuple(one for one in found if isinstance(one, Unsupported))
    return ClauseClaim(clause.id, clause.clause, clause.asks, supported, unsupported, clause.not_covered)


def _of_support(support: Support, facts: _Facts) -> Supported | Unsupported:
    told: list[About] = []
    left: list[Left] = []
    ids: dict[str, None] = {}
    farthest = (-1, "")
    for finding in facts.evidence.findings:
        reached, why, chosen = _tried(support.needs, finding, facts)
        if not why:
            told.append(_about(finding))
            ids |= dict.fromkeys(chosen)
            continue
        # Of several reasons the one of the finding that came nearest says most.
        farthest = max(farthest, (reached, why), key=lambda one: one[0])
        if all(need.finding is None or _fits(need.finding, finding, facts) for need in support.needs):
            left.append(Left(finding.attribute, finding.regime, why))  # others were never asked for
    if not told:
        return Unsupported(support.evidence_for, farthest[1])
    return Supported(support.evidence_for, tuple(told), tuple(ids), tuple(left))


def _about(finding: Finding) -> About:
    return About(finding.attribute, finding.regime, finding.verdict, finding.at_least)


def _tried(needs: Sequence[Condition], finding: Finding, facts: _Facts) -> tuple[int, str, list[str]]:
    """How many conditions a finding meets before one that it does not, what that one says (empty if there is none), and the ids chosen."""
    chosen: list[str] = []
    for index, condition in enumerate(needs):
        if not _run_level(condition, facts) or (condition.finding is not None and not _fits(condition.finding, finding, facts)):
            return index, condition.otherwise, []
        places = ((finding.attribute, finding.regime), (None, finding.regime))
        if condition.estimate is not None:
            numbers = [e.id for place in places for e in facts.numbers.get(place, ()) if _is_number(condition.estimate, e)]
            if not numbers:
                return index, condition.otherwise, []
            chosen += numbers
        if condition.check is not None:
            checks = [c.id for place in places for c in facts.checks.get(place, ()) if _is_check(condition.check, c)]
            if not checks:
                return index, condition.otherwise, []
            chosen += checks
    return len(needs), "", chosen


def _run_level(condition: Condition, facts: _Facts) -> bool:
    """Whether what a condition asks of the run as a whole holds."""
    return (
        (condition.surface is None or facts.surface in condition.surface)
        and (condition.reads is None or facts.reads in condition.reads)
        and (condition.regimes is None or bool(set(condition.regimes) & set(facts.kinds.values())))
        and (condition.document is None or any(facts.holds(path) for path in condition.document))
        and (not condition.not_tested or bool(facts.evidence.not_tested))
        and (not condition.sealed or facts.sealed)
    )


def _fits(need: FindingNeed, finding: Finding, facts: _Facts) -> bool:
    training = finding.training.word if finding.training is not None else None
    return (
        (need.verdict is None or finding.verdict in need.verdict)
        and (need.role is None or finding.role in need.role)
        and (need.trained_on is None or facts.kinds.get(finding.regime) in need.trained_on)
        and (need.training is None or training in need.training)
    )


def _is_number(need: EstimateNeed, e: Estimate) -> bool:
    return (
        (need.channel is None or e.channel in need.channel)
        and (need.measure is None or e.measure in need.measure)
        and (need.state is None or e.state in need.state)
        and (not need.measured or e.value is not None)
        and (not need.repeated or (e.seeds or 0) > 1)
        and (not need.bounded or e.bound is not None)
    )


def _is_check(need: CheckNeed, c: Control) -> bool:
    return bool(c.passed) and c.kind in need.kind and (need.channel is None or c.channel in need.channel)
