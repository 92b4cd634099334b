"""What follows from a pack alone, made again and compared: identity, numbers, controls, states, findings and sentences."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from proxyaudit.controls.claims import with_controls
from proxyaudit.digests import code_digest, digest_of
from proxyaudit.estimates.conclude import conclude
from proxyaudit.estimates.numbers import Numbers
from proxyaudit.estimates.questions import all_questions
from proxyaudit.estimates.rounding import is_rounded, step_of
from proxyaudit.estimates.scope import Scope, entries, read_scope
from proxyaudit.estimates.states import NO_ROLES, decide_states, deciding, figures_fit, knows, passes
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.stats.p_values import PRESENT_AT
from proxyaudit.types import SCHEMA_VERSION, Control, Estimate, Evidence, Finding, Role

# Written beside the digest, not part of it.
_BESIDE = ("digest", "run_id", "code", "estimated_minutes")
_WORDS = ("sentence", "would_settle")
_CLAUSES = "controls_supported"  # told by the frameworks, not by what is concluded
_MADE_1_0 = ("0.1.0",)  # versions of proxyaudit that wrote schema 1.0
# What every finding on models rests on, by channel and measure; at the sites that the plan names.
_AT_VERDICT_SITES = (("linear", "leak"), ("nonlinear", "leak_nonlinear"), ("beyond", "leak"), ("beyond", "leak_nonlinear"), ("used", None))
_IN_QUARTERS = (("linear", "leak_in_quarters"), ("nonlinear", "leak_in_quarters_nonlinear"))  # beside it, of attributes that are numbers
_OF_OUTPUTS = (("expressed", "gap"), ("expressed", "output_leak"), ("expressed", "output_leak_nonlinear"))


@dataclass(frozen=True)
class Check:
    """One thing that was checked."""

    name: str
    detail: str  # how much of it, or why it was skipped
    problems: Sequence[str] = ()  # one line per fault, each naming the file it lies in
    skipped: bool = False  # it could not be done here: another version wrote the file
    unsigned: Sequence[str] = ()  # those of the problems that say only that a named key did not sign, or expired

    @property
    def state(self) -> Literal["passed", "failed", "skipped"]:
        """The outcome in a word."""
        return "failed" if self.problems else "skipped" if self.skipped else "passed"

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"name": self.name, "state": self.state, "detail": self.detail, "problems": list(self.problems)}


@dataclass(frozen=True)
class Verification:
    """The outcome for one folder."""

    folder: Path
    kind: Literal["run", "mitigation", "cure", "receipt"]
    checks: tuple[Check, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """Every fault, in the order in which it was found."""
        return tuple(problem for check in self.checks for problem in check.problems)

    @property
    def skipped(self) -> tuple[str, ...]:
        """Names of the checks that could not be done here."""
        return tuple(check.name for check in self.checks if check.state == "skipped")

    @property
    def only_unsigned(self) -> bool:
        """Whether nothing is wrong but that who was named did not sign it: every file is as its manifest says."""
        return bool(self.problems) and all(set(check.problems) <= set(check.unsigned) for check in self.checks)

    @property
    def outcome(self) -> Literal["verified", "verified in part", "altered"]:
        """``verified`` only where everything was checked and nothing is wrong."""
        return "altered" if self.problems else "verified in part" if self.skipped else "verified"

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        checks, outcome = [check.as_dict() for check in self.checks], {"verified": self.outcome == "verified", "outcome": self.outcome}
        found = {"skipped": list(self.skipped), "checks": checks, "problems": list(self.problems)}
        return {"folder": str(self.folder), "kind": self.kind, **outcome, **found}


def identity_problems(pack: EvidencePack) -> list[str]:
    """What plan, recipe and evidence say differently."""
    run, plan, recipe = pack.evidence.run, pack.plan, pack.recipe
    names = {"id": "run_id", "name": "name", "plan_digest": "digest", "seed": "seed", "versions": "versions"}
    names["input_encoding"] = "input_encoding"
    differ = [key for key, planned in names.items() if getattr(run, key) != plan.get(planned)]
    problems = [f"evidence.json: {key} of the run is not that of plan.json" for key in differ]
    if plan.get("run_id") != str(plan.get("digest"))[:12]:
        problems.append("plan.json: the run id is not the head of the digest")
    version = pack.evidence.schema_version
    if version != plan.get("schema_version"):
        problems.append("evidence.json: the schema version is not that of plan.json")
    if version != SCHEMA_VERSION and (same_code(pack) or run.versions.get("proxyaudit") not in _MADE_1_0):
        problems.append(f"evidence.json: the version of proxyaudit that plan.json names does not write schema {version}")
    for key in ("name", "seed"):
        if key in recipe and recipe[key] != plan.get(key):
            problems.append(f"recipe.yaml: {key} is not that of plan.json")
    margins = recipe.get("margins")
    if isinstance(margins, dict) and margins != plan.get("margins"):
        problems.append("recipe.yaml: the margins are not those of plan.json")
    said = {(item.what, item.why) for item in pack.evidence.not_tested}
    for note in entries(plan, "notes"):
        if (note.get("what"), note.get("why")) not in said:
            problems.append(f"evidence.json: not_tested leaves out {str(note.get('what'))[:80]!r}, which plan.json notes")
    failures = pack.environment.get("failures") or []
    if (run.status == "partial") != bool(failures):
        problems.append(f"evidence.json: the run is {run.status}, environment.json lists {len(failures)} failures")
    by_regime = pack.environment.get("failures_by_regime", {})
    if "failures_by_regime" in pack.environment and failures != [line for lines in by_regime.values() for line in lines]:
        problems.append("environment.json: the failures are not those of its regimes")
    return problems


def digest_problems(pack: EvidencePack) -> list[str]:
    """Whether plan and recipe still have the digest that names the run."""
    plan = pack.plan
    if not isinstance(plan.get("code"), str):
        return ["plan.json: it does not say which code made it"]
    document = {"plan": {k: v for k, v in plan.items() if k not in _BESIDE}, "recipe": pack.recipe, "code": plan["code"]}
    same = digest_of(document, default=str) == plan.get("digest")
    return [] if same else ["plan.json: the digest is not that of plan.json and recipe.yaml"]


def state_problems(
    evidence: Evidence, margins: Mapping[str, Any], no_absence: Collection[str] = (), roles: Mapping[str, Role] = NO_ROLES
) -> list[str]:
    """States that do not follow from their numbers or margins; ``no_absence``: regimes where the plan bars "absent" (values unseen)."""
    problems: list[str] = []
    families = None if evidence.schema_version == "1.0" else roles  # schema 1.0 took all numbers of a regime together
    states, questions = decide_states(evidence.estimates, evidence.controls, families), all_questions()
    for e in deciding(evidence.estimates):
        wanted = [margins.get(name) for name in questions[e.channel].margins]
        if e.margin is not None and e.margin not in wanted:
            problems.append(f"evidence.json: {e.id} was decided against a margin of {e.margin}, plan.json has {wanted[0]}")
        if e.state == "absent" and e.regime in no_absence:
            problems.append(f"evidence.json: {e.id} is absent in {e.regime!r}, where plan.json bars absence (values that cannot be seen)")
        if e.state != states[e.id]:
            about = f"{e.id} ({e.channel}, {e.attribute}, {e.regime})"
            problems.append(f"evidence.json: {about} says {e.state}, its numbers say {states[e.id]}")
        if e.state != "unknown" and (e.remedy is not None or e.rows_needed is not None):
            problems.append(f"evidence.json: {e.id} is {e.state} and says what would settle it")
        if e.state == "unknown" and not e.reason:
            problems.append(f"evidence.json: {e.id} is unknown without a reason")
    return problems


def number_problems(evidence: Evidence, arrays: dict[str, Any], level: Any, *, paired: bool) -> list[str]:
    """Numbers that contradict one another: ids, means over repetitions, intervals, arrays (``paired``: of repetitions too)."""
    problems = []
    if [e.id for e in evidence.estimates] != [f"E{k + 1}" for k in range(len(evidence.estimates))]:
        problems.append("evidence.json: the estimates are not numbered one by one: some were removed, added or moved")
    if [c.id for c in evidence.controls] != [f"C{k + 1}" for k in range(len(evidence.controls))]:
        problems.append("evidence.json: the controls are not numbered one by one: some were removed, added or moved")
    for e in evidence.estimates:
        values = e.seed_values
        # Per-row effects are the root of a mean over repetitions, not the mean of roots.
        if values and e.value is not None and e.channel != "localisation_per_row":
            mean = sum(values) / len(values)
            slack = 2e-5 * max(abs(mean), *(abs(v) for v in values), 1e-300)
            if len(values) > 1 and is_rounded(e):
                slack = 2 * step_of(e.unit, e.margin)  # the mean and each repetition were rounded by themselves
            # A calibrated leak below zero is shown as zero.
            if abs(mean - e.value) > slack and not (e.value == 0 and mean < slack):
                problems.append(f"evidence.json: {e.id} is not the mean of its repetitions")
        if values and e.seeds is not None and not 1 <= e.seeds <= len(values):
            problems.append(f"evidence.json: {e.id} says {e.seeds} repetitions and lists {len(values)}")
        if e.low is not None and e.high is not None and e.low > e.high:
            problems.append(f"evidence.json: the interval of {e.id} is empty")
        if e.value is not None and e.low is not None and e.high is not None and not _inside(e.value, e.low, e.high):
            problems.append(f"evidence.json: {e.id} lies outside its own interval")
        problems += [f"evidence.json: {why} of {e.id}" for why in _bound_problems(e)]
        if any(p is not None and not 0 <= p <= 1 for p in (e.p_present, e.p_absent)):
            problems.append(f"evidence.json: a p-value of {e.id} is none")
        if level is not None and e.level != level:
            problems.append(f"evidence.json: {e.id} has another confidence level than plan.json")
        # The same numbers lie in the arrays: whoever changes one must change both.
        kept = arrays.get(f"{e.id}.seed_values")
        if paired and (kept is not None or len(values) > 1) and (kept is None or tuple(float(v) for v in kept) != values):
            problems.append(f"arrays.safetensors: the repetitions of {e.id} are not those of evidence.json")
    known = {f"{e.id}.seed_values" for e in evidence.estimates}
    strangers = sorted(name for name in arrays if name not in known and not name.startswith("row_parts."))
    return problems + [f"arrays.safetensors: nothing in evidence.json is named {name[:40]!r}" for name in strangers]


def rounding_problems(evidence: Evidence) -> list[str]:
    """Numbers that are finer than they may be published; only of packs that :func:`same_code` wrote."""
    return [f"evidence.json: {e.id} has more digits than are published" for e in evidence.estimates if not is_rounded(e)]


def _bound_problems(e: Estimate) -> list[str]:
    """What a bound contradicts: it is the upper end of the same test that state, p-values and interval come from."""
    if e.bound is None:
        return []
    said = [] if 0 <= e.bound <= 1 else ["the bound is no share"]
    if e.low is not None and e.bound < e.low * (1 - 1e-5):
        said.append("the bound lies below the interval")
    if e.shown_by is None and e.value is not None and e.bound < e.value * (1 - 1e-5):
        said.append("the bound lies below the value")
    if e.state == "unknown" and e.p_absent is None:
        said.append("the bound has no test of absence to rest on")
    if e.margin is not None:
        within = e.bound <= e.margin * (1 + 1e-5)
        if (e.state == "absent" and not within) or (e.state == "present" and within):
            said.append(f"the bound contradicts the state '{e.state}'")
        if within and e.p_absent is not None and e.p_absent > PRESENT_AT:
            said.append("the bound contradicts the p-value of absence")
    return said


def _inside(value: float, low: float, high: float) -> bool:
    slack = 1e-5 * max(abs(value), abs(low), abs(high))
    if value == 0 or (low == high == 0):
        return True  # a calibrated leak below zero is shown as zero
    if low >= -1 and high <= 1:
        value = min(max(value, -1.0), 1.0)  # the interval of a share is cut where a share ends
    return low - slack <= value <= high + slack


def control_problems(evidence: Evidence, margins: Mapping[str, Any], verdict_sites: Collection[str]) -> list[str]:
    """Controls that contradict their own figures, were dropped, or failed without consequence."""
    problems = [line for control in evidence.controls for line in _figure_problems(control, margins, evidence.schema_version)]
    places: dict[tuple[str, str | None, str, str | None], list[Estimate]] = defaultdict(list)
    for e in deciding(evidence.estimates):
        places[e.channel, e.attribute, e.regime, e.site].append(e)
    for c in evidence.controls:
        own = places[c.channel, c.attribute, c.regime, c.site]
        if c.kind == "positive" and c.passed is False and own and all(e.state == "absent" for e in own):
            problems.append(f"evidence.json: {c.id} failed, so {own[0].id} cannot be absent")
    there = {(c.kind, c.attribute, c.regime, c.site) for c in evidence.controls if c.channel == "linear"}
    for e in deciding(evidence.estimates):
        # A site that is constant has a measured zero and nothing to plant in: no probe gave a score there.
        if (e.channel, e.measure) == ("linear", "leak") and e.site in verdict_sites and e.raw is not None:
            missing = [kind for kind in ("negative", "positive") if (kind, e.attribute, e.regime, e.site) not in there]
            problems += [f"evidence.json: the {kind} control of {e.id} is missing" for kind in missing]
    return problems


def _figure_problems(c: Control, margins: Mapping[str, Any], version: str) -> list[str]:
    problems = []
    made = passes(c.kind, c.figures)
    # Schema 1.0 had figures in words alone; where their rounding leaves the outcome open, there are none.
    told = made is not None or version != "1.0"
    if version != "1.0" and knows(c.kind) and not (made is not None and figures_fit(c.kind, c.channel, c.figures)):
        problems.append(f"evidence.json: {c.id} lacks the figures that its outcome follows from, or has others beside them")
    if told and c.passed is not made:
        said = {None: "not run", True: "passed", False: "failed"}[c.passed]
        problems.append(f"evidence.json: {c.id} says {said}, its figures say otherwise")
    question = all_questions().get(c.channel)
    wanted = [margins.get(name) for name in question.margins] if question is not None else []
    if "margin" in c.figures and wanted and c.figures["margin"] not in wanted:
        problems.append(f"evidence.json: {c.id} is held against a margin of {c.figures['margin']}, plan.json has {wanted[0]}")
    return problems


def completeness_problems(pack: EvidencePack, scope: Scope) -> list[str]:
    """Findings and deciding estimates that the plan asks for and the evidence lacks."""
    wanted = [(name, regime) for name in (*scope.roles, *scope.unfit) for regime in scope.regimes]
    found = [(f.attribute, f.regime) for f in pack.evidence.findings]
    there, asked = set(found), set(wanted)
    problems = [f"evidence.json: the finding on {a!r} in {r!r} is missing" for a, r in wanted if (a, r) not in there]
    problems += [f"evidence.json: the plan asks for no finding on {a!r} in {r!r}" for a, r in found if (a, r) not in asked]
    if len(there) != len(found):
        problems.append("evidence.json: a finding is given twice")
    if same_code(pack) and scope.surface != "prompts" and pack.evidence.run.status == "complete":
        untold = [f for f in pack.evidence.findings if f.training is None and f.attribute in scope.roles and f.regime != scope.untrained]
        problems += [f"{_where(f)}: what training did is missing" for f in untold]
    numbers = Numbers(pack.evidence.estimates, scope)
    # Attributes that are numbers are also read in quarters; the first packs did not say so.
    described = entries(pack.plan, "attributes") if pack.evidence.schema_version != "1.0" else ()
    values = {str(entry.get("name")) for entry in described if entry.get("kind") == "continuous"}
    for attribute, regime in [(name, regime) for name in scope.roles for regime in scope.regimes]:
        # What every finding rests on always applies; only what is learnt again may not.
        own = [e for e in numbers.own(attribute, regime) if e.state != "not_applicable" or e.channel == "relearned"]
        for channel, site, measure in _needed(scope, in_quarters=attribute in values):
            if not any((e.channel, e.site) == (channel, site) and measure in (e.measure, None) for e in own):
                problems.append(f"evidence.json: no {channel} estimate of {attribute!r} in {regime!r} at {site or 'the outputs'}")
        if scope.surface == "outputs" and not any(e.channel == "relearned" for e in own):
            problems.append(f"evidence.json: no relearned estimate of {attribute!r} in {regime!r}")
        about = Counter((e.channel, e.measure, e.site, e.subject, e.group) for e in own)
        twice = sorted({channel for (channel, *_), count in about.items() if count > 1})
        problems += [f"evidence.json: a {channel} estimate of {attribute!r} in {regime!r} is given twice" for channel in twice]
    return problems


def _needed(scope: Scope, *, in_quarters: bool) -> list[tuple[str, str | None, str | None]]:
    """Channel, site and measure of the estimates that every finding rests on; of a number in quarters too, at every site."""
    if scope.surface == "prompts":
        return []
    here = (*_AT_VERDICT_SITES, *(_IN_QUARTERS if in_quarters else ()))
    asked = [(channel, site, measure) for site in scope.verdict_sites for channel, measure in here]
    if scope.surface == "activations":
        known = ("linear", "nonlinear", *(("beyond",) if scope.conditions else ()))
        return [one for one in asked if one[0] in known]
    others, read = [site for site in scope.profile if site not in scope.verdict_sites], ("linear", "nonlinear")
    elsewhere = [("elsewhere", site, measure) for site in others for channel, measure in here if channel in read]
    return [*asked, *elsewhere, *((channel, None, measure) for channel, measure in _OF_OUTPUTS)]


def finding_problems(pack: EvidencePack, scope: Scope) -> Iterator[str]:
    """What in the findings does not follow from the estimates, controls and plan."""
    made = _concluded(pack, scope)
    for finding in pack.evidence.findings:
        if (finding.attribute, finding.regime) not in made:
            continue
        said, concluded = _fields(finding), _fields(made[finding.attribute, finding.regime])
        for key in said.keys() - _untold(pack) - {_CLAUSES}:
            # Schema 1.0 called relayed what had nothing to be compared with.
            older = pack.evidence.schema_version != SCHEMA_VERSION and key.startswith("origin.")
            if older and (said[key], concluded[key]) == ("relayed", "unknown"):
                continue
            if said[key] != concluded[key] and key not in _WORDS:
                yield f"{_where(finding)}: {key} is {_shown(said[key])}, the evidence says {_shown(concluded[key])}"


def same_code(pack: EvidencePack) -> bool:
    """Whether the code that is running wrote the pack, so that its words can be written again."""
    return bool(pack.plan.get("code") == code_digest())


def sentence_problems(pack: EvidencePack, scope: Scope) -> Iterator[str]:
    """Findings whose sentence, or whose way to settle it, is not what their numbers give."""
    made = _concluded(pack, scope)
    for finding in pack.evidence.findings:
        concluded = made.get((finding.attribute, finding.regime), finding)
        if finding.sentence != concluded.sentence:
            yield f"{_where(finding)}: the sentence is not what its numbers give"
        if finding.would_settle != concluded.would_settle:
            yield f"{_where(finding)}: what would settle it is not what its numbers give"


def clause_problems(pack: EvidencePack) -> Iterator[str]:
    """Findings that name other clauses than they support evidence for, of packs that name any."""
    for told, made in zip(pack.evidence.findings, with_controls(pack).evidence.findings, strict=True):
        if told.controls_supported not in (None, made.controls_supported):
            yield f"{_where(told)}: the clauses that it names are not those that it supports evidence for"


def reworded(pack: EvidencePack) -> EvidencePack:
    """The pack with every sentence as this version words it, and the clauses that it names, if it names any."""
    made = _concluded(pack, read_scope(pack.plan, pack.recipe, pack.environment))
    findings = []
    for finding in pack.evidence.findings:
        fresh = made.get((finding.attribute, finding.regime), finding)
        findings.append(finding.model_copy(update={name: getattr(fresh, name) for name in _WORDS}))
    fresh_pack = replace(pack, evidence=pack.evidence.model_copy(update={"findings": tuple(findings)}))
    return fresh_pack if all(finding.controls_supported is None for finding in findings) else with_controls(fresh_pack)


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
    if isinstance(value, tuple) and value:
        return ", ".join(str(getattr(part, "name", part)) for part in value)  # a cure by its name
    return "nothing" if value in (None, ()) else str(value)
