"""Hold a run against a policy. Pure: pack, policy and comparison in, answer out."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from proxyaudit.comparison import Comparison, compare_packs
from proxyaudit.errors import InputError, did_you_mean
from proxyaudit.estimates.numbers import Numbers
from proxyaudit.estimates.questions import all_questions, names_of, word_of
from proxyaudit.estimates.scope import has_kind, mapping, read_scope
from proxyaudit.estimates.states import decide, deciding
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.gating.binding import other_policy, unexpected, unsealed
from proxyaudit.gating.policy import Baseline, Policy, Treatment
from proxyaudit.gating.selection import judge_selection
from proxyaudit.names import doubt, twins
from proxyaudit.recipe.recipe import Margins
from proxyaudit.types import AUDITED, Estimate, Finding, State

EVERYTHING = "all"
_RUN = "(the run)"
Outcome = Literal["pass", "fail", "undecided"]
_TREATED: dict[Treatment, Outcome] = {"undecided": "undecided", "fail": "fail", "allow": "pass"}


@dataclass(frozen=True)
class GateCase:
    """The answer for one attribute in one regime, or for one attribute against the baseline."""

    kind: Literal["verdict", "training", "selection", "baseline", "expected", "name"]
    attribute: str
    regime: str  # for what is expected: plan, data, model or seal
    verdict: str  # for training what it did, for the baseline the outcome of the comparison
    at_least: str | None  # what is certain of an inconclusive verdict
    allowed: tuple[str, ...]  # verdicts, or what training may have done
    outcome: Outcome
    reason: str
    detail: str = ""  # the finding's own sentence, or the comparison's reasons
    measure: str = ""  # of rates, which


@dataclass(frozen=True)
class NotJudged:
    """A finding that the policy does not ask for."""

    attribute: str
    role: str
    regime: str
    verdict: str


@dataclass(frozen=True)
class GateResult:
    """What a gate decided of a run."""

    run: str
    run_id: str
    plan_digest: str
    status: str
    cases: tuple[GateCase, ...]
    notes: tuple[str, ...] = ()
    not_judged: tuple[NotJudged, ...] = ()

    @property
    def exit_code(self) -> int:
        """5 where a task of the run failed, 1 where the policy is not met, 3 where that cannot be told, else 0."""
        if self.status != "complete":
            return 5
        found = {case.outcome for case in self.cases}
        return 1 if "fail" in found else 3 if "undecided" in found or not self.cases else 0

    @property
    def outcome(self) -> str:
        """The same as a word."""
        return {0: "pass", 1: "fail", 3: "undecided", 5: "partial"}[self.exit_code]

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"outcome": self.outcome, "exit_code": self.exit_code, **asdict(self)}


def gate(
    pack: EvidencePack,
    policy: Policy,
    read: Callable[[str], EvidencePack] | None = None,
    *,
    where: str = "policy",
    digest: str | None = None,
) -> GateResult:
    """Decide whether a run meets a policy.

    ``read`` reads the policy's baseline, which is checked as the run itself was; ``where`` names the policy in messages and ``digest`` is
    that of its file, which a seal may fix. ``InputError`` if the policy names an attribute or a regime that the run lacks, or a baseline
    that cannot be compared.
    """
    evidence = pack.evidence
    findings = {(finding.attribute, finding.regime): finding for finding in evidence.findings}
    roles, names = {f.attribute: f.role for f in evidence.findings}, list(dict.fromkeys(f.regime for f in evidence.findings))
    protected, others = [name for name, role in roles.items() if role in AUDITED], [name for name in names if name != _real(pack)]
    attributes = _named(policy.attributes, roles, "attribute", f"{where}: attributes", protected)
    regimes = _named(policy.regimes, names, "regime", f"{where}: regimes", others)
    for index, rule in enumerate(policy.rules):
        _named(rule.attributes, roles, "attribute", f"{where}: rules.{index}.attributes")
        _named(rule.regimes, names, "regime", f"{where}: rules.{index}.regimes")
    lax = _laxer(pack, policy)
    asked = [(attribute, regime) for attribute in attributes for regime in regimes]
    cases = [*_expected_cases(pack, policy, digest), *_name_cases(roles, names)]
    cases += [_case(pack, policy, *pair, findings.get(pair), lax) for pair in asked]
    cases += [case for pair in asked if (case := _training_case(policy, *pair, findings.get(pair))) is not None]
    cases += [case for pair in asked for case in _selection_cases(pack, policy, *pair, roles.get(pair[0]))]
    left = tuple(NotJudged(*key) for f in evidence.findings if (key := (f.attribute, f.role, f.regime, f.verdict))[::2] not in asked)
    notes = _notes(pack, policy, left, attributes, regimes)
    notes += (other,) if (other := other_policy(pack, digest)) is not None else ()
    if policy.baseline is not None:
        if read is None:
            raise ValueError("a baseline needs a reader")
        before = read(policy.baseline.run)
        if before.evidence == pack.evidence:
            notes += ("the baseline is this very run: nothing can be worse than itself",)
        cases += _baseline_plan(before, policy.baseline)
        if policy.sealed is True and policy.baseline.plan is None:
            notes += (
                "the seal fixes what the policy says, not the run that lies in the folder of its baseline; 'plan' in 'baseline' does",
            )
        comparison = compare_packs(before, pack, [f"{old}={new}" for old, new in policy.baseline.regimes.items()])
        cases += _baseline_cases(comparison, policy, attributes, regimes, _real(pack), where)
        notes += tuple(f"baseline: {note}" for note in comparison.notes)
    run = evidence.run
    return GateResult(run.name, run.id, run.plan_digest, run.status, tuple(cases), notes, left)


def _named(names: Sequence[str] | None, known: Iterable[str], what: str, where: str, default: Sequence[str] = ()) -> list[str]:
    """What a policy asks for: by name, everything, or the default, which is everything where there is nothing else."""
    if names is None or names == (EVERYTHING,):
        return list(default if names is None and default else known)
    return _known(names, known, what, where)


def _real(pack: EvidencePack) -> str | None:
    """The regime that the others are compared with, which is not judged unless a policy names it; of a probe where it named that one so.

    What bears another name is judged: whoever made the run chose what to compare with, and may have chosen what is exposed.
    """
    if not (has_kind(pack.plan, "activations") or has_kind(pack.plan, "prompts")):
        return "real"
    return "real" if pack.recipe.get("real") == "real" else None


def _expected_cases(pack: EvidencePack, policy: Policy, digest: str | None) -> list[GateCase]:
    cases = []
    for what, other in unexpected(pack.plan, policy.expect).items():
        answer: tuple[str, Outcome, str] = (f"this very {what}", "pass", f"the {what} that the policy expects")
        if other is not None:
            answer = (f"another {what}", "fail", f"not the {what} that the policy expects: {other}")
        verdict, outcome, reason = answer
        cases.append(GateCase("expected", _RUN, what, verdict, None, (), outcome, reason))
    return [*cases, *([_sealed_case(unsealed(pack, policy.sealed, digest), policy)] if policy.sealed else [])]


def _sealed_case(other: str | None, policy: Policy) -> GateCase:
    """Whether what the policy wants was fixed before the run."""
    what = "the plan was" if policy.sealed == "plan" else "plan and policy were"
    if other is None:
        return GateCase("expected", _RUN, "seal", "sealed", None, (), "pass", f"{what} fixed before the run, as the policy asks")
    return GateCase(
        "expected", _RUN, "seal", "not sealed so", None, (), "fail", f"the policy asks that {what} fixed before the run: {other}"
    )


def _baseline_plan(before: EvidencePack, baseline: Baseline) -> list[GateCase]:
    """Whether the baseline is the run that the policy means, where it says so."""
    if baseline.plan is None:
        return []
    own = before.evidence.run.plan_digest
    same = own.startswith(baseline.plan)
    reason = "the baseline that the policy expects" if same else f"not the baseline that the policy expects: its plan is {own}"
    verdict = "this very baseline" if same else "another baseline"
    return [GateCase("expected", _RUN, "baseline", verdict, None, (), "pass" if same else "fail", reason)]


def _name_cases(attributes: Iterable[str], regimes: Iterable[str]) -> list[GateCase]:
    """Names of a run by which nobody can decide: one of them may stand for another."""
    cases = []
    for what, names in (("attribute", list(attributes)), ("regime", list(regimes))):
        told = [(name, f"the name of the {what} {why}") for name in names if (why := doubt(name)) is not None]
        alike = twins(names)
        told += [(alike[0], f"the {what} looks like '{alike[1]}'")] if alike is not None and not told else []
        pairs = [((name, EVERYTHING) if what == "attribute" else (EVERYTHING, name), why) for name, why in told]
        cases += [GateCase("name", *pair, "doubtful name", None, (), "undecided", why) for pair, why in pairs]
    return cases


def _known(names: Sequence[str], known: Iterable[str], what: str, where: str) -> list[str]:
    known = list(known)
    for name in names:
        if name not in known:
            mend = did_you_mean(name, known, f"it has {', '.join(sorted(known)[:12]) or 'none'}")
            raise InputError(f"the run has no {what} '{name[:80]}'", where=where, mend=mend)
    return list(dict.fromkeys(names))


def _case(pack: EvidencePack, policy: Policy, attribute: str, regime: str, finding: Finding | None, lax: Sequence[str]) -> GateCase:
    if finding is None:
        return GateCase("verdict", attribute, regime, "missing", None, policy.allow, "undecided", "the run has no finding for it")
    allow, inconclusive, bounds, *_ = policy.for_pair(attribute, regime)
    own = [e for e in deciding(pack.evidence.estimates) if (e.attribute, e.regime) == (attribute, regime) and e.state != "not_applicable"]
    uncertified = _uncertified(own, bounds)
    settled = bool(bounds) and "removed" in allow and not uncertified and _only_bounded_open(pack, finding, bounds)
    outcome, reason = _judged(finding, allow, inconclusive)
    if settled:
        told = ", ".join(f"{word_of(name)} {limit:g}" for name, limit in bounds.items())
        outcome, reason = "pass", f"inconclusive, but no more than the policy accepts can be there ({told})"
    if outcome == "pass" and (settled or uncertified or finding.verdict != "inconclusive"):
        # A pass must rest on sound ground; a fail at a laxer margin, or with a failed control of absence, stays a fail.
        doubts = [*uncertified, *lax, *_failed_controls(pack, finding, everything=settled)]
        if doubts:
            outcome, reason = "undecided", f"{reason}, but {doubts[0]}"
    detail = finding.sentence + (f" To settle it: {finding.would_settle}." if finding.would_settle else "")
    return GateCase("verdict", attribute, regime, finding.verdict, finding.at_least, allow, outcome, reason, detail)


def _training_case(policy: Policy, attribute: str, regime: str, finding: Finding | None) -> GateCase | None:
    """Whether training did no more to an attribute than the policy allows; ``None`` where it does not ask."""
    demand = policy.for_pair(attribute, regime)
    if demand.training is None:
        return None
    word = finding.training.word if finding is not None and finding.training is not None else "unknown"
    said, listed = word.replace("_", " "), ", ".join(demand.training).replace("_", " ") or "nothing"
    outcome: Outcome = "pass" if word == "not_present" or word in demand.training else "fail"
    reason = f"training: {said} is allowed" if outcome == "pass" else f"training: {said}, allowed: {listed}"
    if word == "unknown":
        outcome, reason = _TREATED[demand.inconclusive], "what training did cannot be told"
    detail = finding.sentence if finding is not None else ""
    return GateCase("training", attribute, regime, word, None, demand.training, outcome, reason, detail)


def _selection_cases(pack: EvidencePack, policy: Policy, attribute: str, regime: str, role: str | None) -> list[GateCase]:
    """Whether rates at the declared threshold are what the policy asks for; none where it does not ask."""
    asked = policy.for_pair(attribute, regime).selection
    found = [] if asked is None else judge_selection(pack, asked, attribute, role, regime)
    return [GateCase("selection", attribute, regime, o.said, None, (o.asked,), o.outcome, o.reason, measure=o.measure) for o in found]


def _uncertified(own: Sequence[Estimate], bounds: Mapping[str, float]) -> list[str]:
    """Checks that do not certify what the policy demands: each of their numbers must."""
    said = []
    for name, limit in bounds.items():
        mine = [e for e in own if e.channel == name]
        # What is absent at a margin is certified at it.
        certified = [e.bound if e.bound is not None else e.margin if e.state == "absent" else None for e in mine]
        if not mine or any(bound is None for bound in certified):
            said.append(f"the {word_of(name)} check certifies no bound, the policy asks for {limit:g}")
        elif (most := max(bound for bound in certified if bound is not None)) > limit:
            said.append(f"the {word_of(name)} check certifies at most {most:.3g}, the policy asks for {limit:g}")
    return said


def _only_bounded_open(pack: EvidencePack, finding: Finding, bounds: Mapping[str, float]) -> bool:
    """Whether an inconclusive finding would be "removed", were the checks that the policy bounds absent."""
    scope = read_scope(pack.plan, pack.recipe, pack.environment)
    if finding.verdict != "inconclusive" or finding.at_least is not None or finding.attribute not in scope.roles:
        return False
    states = Numbers(pack.evidence.estimates, scope).states(finding.attribute, finding.regime)
    settled: dict[str, State] = {name: "absent" if name in bounds and state == "unknown" else state for name, state in states.items()}
    return decide(settled, surface=scope.surface).verdict == "removed"


def _judged(finding: Finding, allowed: Sequence[str], treatment: Treatment) -> tuple[Outcome, str]:
    listed = ", ".join(allowed) or "nothing"
    if finding.verdict in allowed:
        return "pass", f"{finding.verdict} is allowed"
    if finding.verdict != "inconclusive":
        return "fail", f"{finding.verdict}, allowed: {listed}"
    # What is certain of an undecided verdict may be enough: at least hidden is hidden or exposed, whichever it is.
    possible = ("hidden", "exposed") if finding.at_least else ("removed", "hidden", "exposed")
    if all(verdict in allowed for verdict in possible):
        return "pass", f"inconclusive, but whichever it is ({' or '.join(possible)}), it is allowed"
    if not any(verdict in allowed for verdict in possible):
        # Whatever the policy does with what is inconclusive: this much is certain.
        return "fail", f"{' or '.join(possible)}, whichever it is; allowed: {listed}"
    words = {"undecided": "these data cannot tell", "fail": "the policy fails what is inconclusive", "allow": "the policy lets it pass"}
    return _TREATED[treatment], f"inconclusive{f', at least {finding.at_least}' if finding.at_least else ''}: {words[treatment]}"


def _laxer(pack: EvidencePack, policy: Policy) -> list[str]:
    """Margins of the run that are laxer than the policy accepts, or unknown."""
    margins, bare = mapping(pack.plan, "margins"), has_kind(pack.plan, "activations")
    said = []
    asked = policy.margins.model_dump(exclude_none=True)
    # A run of bare activations is decided at none of the others.
    of_activations = {key for question in all_questions().values() if question.of_activations for key in question.margins}
    for key, most in {**Margins().model_dump(), **asked}.items():
        own = margins.get(key)
        if (bare and key not in of_activations) or (own is None and key not in asked):
            continue
        if not isinstance(own, int | float) or own > most:
            known = f"{own:g}" if isinstance(own, int | float) else "unknown"
            said.append(f"the run's margin for {key} is {known}, the policy asks for {most:g} or less")
    return said


def _failed_controls(pack: EvidencePack, finding: Finding, *, everything: bool) -> list[str]:
    """Absences that an allowed verdict needs and whose positive control failed; presences whose negative one did; copied repetitions.

    Where ``everything`` is to be absent or bounded, bounds rest on positive controls as absence does.
    """
    own = [e for e in pack.evidence.estimates if (e.attribute, e.regime) == (finding.attribute, finding.regime) and e.state is not None]
    needed = None if finding.verdict == "removed" or everything else names_of("use") if finding.verdict == "hidden" else ()
    rests = {(e.channel, e.site) for e in own if (e.state == "absent" or everything) and (needed is None or e.channel in needed)}
    shown = {(e.channel, e.site) for e in own if e.state == "present" and e.id in finding.decided_by}
    said = []
    for control in pack.evidence.controls:
        if control.passed is not False or control.regime != finding.regime:
            continue
        if control.kind == "repetition":
            said.append(f"the models are copies of one another ({control.detail})")
        if control.attribute != finding.attribute:
            continue
        place = (control.channel, control.site)
        counts = place in rests if control.kind == "positive" else finding.verdict == "hidden" and place in shown
        if control.kind in ("positive", "negative") and counts:
            what = f"the {control.kind} control of the {word_of(control.channel)} check at '{control.site or 'outputs'}'"
            said.append(f"{what} failed ({control.detail})")
    return said


def _baseline_cases(
    comparison: Comparison, policy: Policy, attributes: Sequence[str], regimes: Sequence[str], real: str | None, where: str
) -> list[GateCase]:
    assert policy.baseline is not None
    allowed = _known(policy.baseline.allow, [pair.attribute for pair in comparison.outcomes], "attribute", f"{where}: baseline.allow")
    cases = []
    for pair in comparison.outcomes:
        # A regime that only the baseline has counts where the policy asks for every regime.
        every = policy.regimes in (None, (EVERYTHING,))
        asked = pair.regime_b in regimes if pair.regime_b else every and pair.regime_a != real
        # So does a protected attribute that only the baseline has, where the policy names none.
        lost = policy.attributes in (None, (EVERYTHING,)) and pair.role in AUDITED
        if not asked or not (pair.attribute in attributes or lost):
            continue
        outcome, reason = _against(pair.outcome, policy.baseline, waived=pair.attribute in allowed)
        regime, why = pair.regime_b or pair.regime_a, "; ".join(pair.reasons)
        cases.append(GateCase("baseline", pair.attribute, regime, pair.outcome, None, (), outcome, reason, why))
    compared = {pair.attribute for pair in comparison.outcomes}
    for attribute in attributes:
        if attribute not in compared:
            outcome, reason = _against("cannot_tell", policy.baseline, waived=False)
            why = "the baseline has no such attribute"
            cases += [GateCase("baseline", attribute, regime, "cannot_tell", None, (), outcome, reason, why) for regime in regimes]
    return cases


def _against(found: str, baseline: Baseline, *, waived: bool) -> tuple[Outcome, str]:
    if found == "worse":
        if waived or baseline.worse == "allow":
            return "pass", "worse than the baseline, which the policy allows"
        return "fail", "worse than the baseline"
    if found == "cannot_tell":
        return _TREATED[baseline.cannot_tell], "whether it is worse than the baseline cannot be told"
    return "pass", "better than the baseline" if found == "better" else "no worse than the baseline"


def _notes(
    pack: EvidencePack, policy: Policy, left: Sequence[NotJudged], attributes: Sequence[str], regimes: Sequence[str]
) -> tuple[str, ...]:
    notes = []
    found = {finding.regime for finding in pack.evidence.findings}
    if policy.regimes is None and found == {_real(pack)}:
        only = "real" if has_kind(pack.plan, "activations") else "models of real rows"
        notes.append(f"the run holds {only} alone, which is judged only where nothing else is: this says nothing of synthetic data")
    for role, word, key in (
        ("protected", "protected attributes", "attributes"),
        ("intersection", "intersections", "attributes"),
        ("proxy", "proxies", "attributes"),
        ("", "regimes", "regimes"),
    ):
        told: dict[str, set[str]] = {}
        for one in left:
            if role and one.role == role and one.attribute not in attributes:
                told.setdefault(one.attribute, set()).add(one.verdict)
            elif not role and one.regime not in regimes:
                told.setdefault(one.regime, set()).add(one.verdict)
        if told:
            listed = ", ".join(f"{name} ({', '.join(sorted(verdicts))})" for name, verdicts in told.items())
            notes.append(f"{word} that were not judged: {listed}; '{key}: all' in a policy judges them too")
    if pack.evidence.run.status != "complete":
        notes.append("the run is partial: a task failed; run the same recipe again, then decide")
    return tuple(notes)
