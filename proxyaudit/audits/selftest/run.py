"""The self-test: audits of planted worlds and planted models on this machine, and how often the verdict, above all "removed", is wrong.

Of planted models the whole of ``proxyaudit run`` is held against weights that are all known. Counted are wrong verdicts, channels whose
state contradicts the construction, use or controls above the margin where none can be, and, apart, verdicts left open.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import joblib
import pandas as pd
from scipy import stats

from proxyaudit.audits.probe.inputs import ProbeRequest
from proxyaudit.audits.probe.run import probe_arrays
from proxyaudit.clusters.calls import Lost
from proxyaudit.errors import InputError, TaskError
from proxyaudit.estimates.questions import deciding_names, names_of
from proxyaudit.estimates.states import combine
from proxyaudit.evidence.pack import read_pack
from proxyaudit.files import temporary_folder
from proxyaudit.pipeline.run import run_audit
from proxyaudit.planted import World, draw_world, make_world
from proxyaudit.planted.model_worlds import MODELS, make_planted_model
from proxyaudit.planted.models import ATTRIBUTE, REGIME, ROWS
from proxyaudit.progress import Progress, ProgressEvent
from proxyaudit.recipe.recipe import Margins
from proxyaudit.seeding import stream
from proxyaudit.types import Evidence, State
from proxyaudit.workers import Workers

VERDICTS = ("exposed", "hidden", "removed", "inconclusive")
QUICK = (
    ("linear", 2000, 16, 0.08),
    ("multiclass", 2000, 16, 0.08),
    ("sparse_unit", 3000, 16, 0.08),
    ("xor", 3000, 16, 0.4),
    ("variance", 3000, 16, 0.4),
    ("conditional_xor", 2000, 16, 0.2),
    ("grouped", 2000, 16, 0.2),
    ("absent", 3000, 16, 0.0),
    ("absent_grouped", 1500, 16, 0.0),
    ("absent_rare", 2000, 32, 0.0),
    ("absent_multiclass", 2500, 16, 0.0),
    ("few_rows", 400, 128, 0.0),
)
QUICK_ROWS = 3200
MOST_WRONG = 0.02
SEEDS_APART = 10_000  # of neighbouring self-tests: their seeds do not overlap
_PAIR = " + "


@dataclass(frozen=True)
class ModelCase:
    """One audited planted model: what a perfect audit says (``expected``, ``truth``, ``expected_proxy``) and what this one says."""

    kind: str
    seed: int
    n: int
    expected: str
    verdict: str
    at_least: str | None
    encoding: str
    use: tuple[str, ...]
    recoverable: tuple[str, ...]
    states: Mapping[str, str]
    truth: Mapping[str, str]
    expected_proxy: str | None
    first_proxy: str | None
    quiet_controls: bool  # whether random subspaces and the untrained model stay below the effect margin

    @property
    def wrong(self) -> bool:
        """Whether something false is said: another verdict, or an inconclusive one that claims presence where nothing is."""
        return self.verdict not in (self.expected, "inconclusive") or (self.expected == "removed" and self.at_least is not None)

    @property
    def contradicted(self) -> tuple[str, ...]:
        """Channels called present where the attribute is absent, or absent where it is present."""
        opposite = {"present": "absent", "absent": "present"}
        return tuple(channel for channel, state in self.truth.items() if self.states.get(channel) == opposite.get(state, ""))

    @property
    def unused(self) -> bool:
        """Whether the model provably does not act on the attribute."""
        return all(self.truth.get(channel) == "absent" for channel in names_of("use"))


def audit_planted_model(kind: str, seed: int, *, n: int = ROWS, checkpoints: int = 2) -> ModelCase:
    """Make a planted model, audit it as ``proxyaudit run`` would (``RuntimeError`` if a task fails), and hold it beside the truth."""
    model = make_planted_model(kind, seed=seed, n=n, checkpoints=checkpoints)
    with temporary_folder() as folder:
        recipe = model.write(folder / "project", seed=seed)
        # Every channel is held against the truth, those too that no verdict needs.
        more: dict[str, Any] = {"overrides": ("effort=everything",), "cache_root": folder / "cache"}
        result = run_audit(recipe, out=folder / "out", jobs=1, **more)
        if result.status != "complete":
            failures = read_pack(result.folder).environment["failures"]
            raise RuntimeError(f"the audit of planted model {kind}, seed {seed}, failed: {failures[0]}")
        evidence = result.evidence
    finding = next(f for f in evidence.findings if (f.attribute, f.regime) == (ATTRIBUTE, REGIME))
    said: dict[str, Any] = finding.model_dump(include={"verdict", "at_least", "encoding", "use", "recoverable"})
    truth: dict[str, Any] = {"expected": model.truth.verdict, "truth": dict(model.truth.states), "expected_proxy": model.truth.proxy}
    found: dict[str, Any] = {"states": channel_states(evidence), "first_proxy": first_proxy(evidence)}
    return ModelCase(kind=kind, seed=seed, n=n, quiet_controls=_quiet_controls(evidence), **said, **truth, **found)


def channel_states(evidence: Evidence) -> dict[str, str]:
    """State of each channel of the planted attribute, over its cells; channels without a cell are left out."""
    found: dict[str, list[State]] = {}
    for estimate in evidence.estimates:
        ours = (estimate.attribute, estimate.regime) == (ATTRIBUTE, REGIME) and estimate.channel in deciding_names()
        if ours and estimate.state is not None:
            found.setdefault(estimate.channel, []).append(estimate.state)
    return {channel: combine(states) for channel, states in found.items()}


def first_proxy(evidence: Evidence) -> str | None:
    """The single column of largest proxy use, those called present first; ``None`` where none was measured."""
    cells = [e for e in evidence.estimates if (e.channel, e.attribute, e.regime) == ("proxy_use", ATTRIBUTE, REGIME)]
    named = [(e.state == "present", e.value, e.subject) for e in cells if e.value is not None and e.subject and _PAIR not in e.subject]
    return max(named)[2] if named else None


def _quiet_controls(evidence: Evidence) -> bool:
    """Random subspaces do less than the margin (or than the attribute's own effect), and so does the untrained model."""
    random = [c.passed for c in evidence.controls if (c.kind, c.attribute, c.regime) == ("random_subspace", ATTRIBUTE, REGIME)]
    untrained = [e.value for e in evidence.estimates if (e.channel, e.attribute, e.regime) == ("used", ATTRIBUTE, "untrained")]
    return all(random) and all(value is None or value < Margins().effect for value in untrained)


def rate(cases: Sequence[Any], wrong: Callable[[Any], bool]) -> dict[str, Any]:
    """Count of cases, with the one-sided 95 % bound of their share (Clopper & Pearson 1934)."""
    count, of = sum(map(wrong, cases)), len(cases)
    upper = 1.0 if count == of else float(stats.beta.ppf(0.95, count + 1, of - count))
    return {"count": count, "of": of, "share": count / of if of else None, "upper_95": upper}


def model_rates(cases: Sequence[ModelCase]) -> dict[str, dict[str, Any]]:
    """Counts that matter, with exact bounds."""
    unused = [case for case in cases if case.unused]
    ranked = [case for case in cases if case.expected_proxy is not None and case.first_proxy is not None]
    return {
        "models: false removed": rate([c for c in cases if c.expected != "removed"], lambda c: c.verdict == "removed"),
        "models: wrong verdict": rate(cases, lambda c: c.wrong),
        "models: a channel contradicts the construction": rate(cases, lambda c: bool(c.contradicted)),
        "models: use claimed where there is none": rate(unused, lambda c: any(channel in c.use for channel in names_of("use"))),
        "models: controls of effects above the margin": rate(unused, lambda c: not c.quiet_controls),
        "models: another proxy named first": rate(ranked, lambda c: c.first_proxy != c.expected_proxy),
        "models: left open": rate(cases, lambda c: c.verdict == "inconclusive"),
    }


def model_confusion(cases: Sequence[ModelCase]) -> list[tuple[str, str, dict[str, int]]]:
    """(kind, expected, counts of verdicts), in the order of the registry."""
    by_kind = {kind: [case for case in cases if case.kind == kind] for kind in MODELS}
    return [(kind, own[0].expected, dict(Counter(case.verdict for case in own))) for kind, own in by_kind.items() if own]


def models_passed(cases: Sequence[ModelCase]) -> bool:
    """No wrong "removed", and at most one in fifty verdicts wrong or with a channel that contradicts the construction."""
    rates = model_rates(cases)
    false = sum(case.wrong or bool(case.contradicted) for case in cases)
    return bool(rates["models: false removed"]["count"] == 0 and false <= MOST_WRONG * len(cases))


def model_tasks(count: int, *, quick: bool, seed: int) -> Iterable[tuple[str, int, int, int]]:
    """Arguments (kind, seed, rows, checkpoints) of the audits of a self-test, kinds mixed."""
    seeds = range(seed * SEEDS_APART, seed * SEEDS_APART + (1 if quick else count))
    return [(kind, own, QUICK_ROWS if quick else ROWS, 1) for own in seeds for kind in MODELS]


@dataclass(frozen=True)
class Case:
    """One audited world."""

    kind: str
    part: str  # present, margin (a leak of exactly the margin) or absent
    n: int
    d: int
    leak: float
    expected: str
    verdict: str
    at_least: str | None
    powered: bool  # whether the rows suffice to tell: every detection limit lies below half its margin


@dataclass(frozen=True)
class SelfTest:
    """All cases and their counts."""

    cases: tuple[Case, ...]
    seed: int
    models: tuple[ModelCase, ...] = ()

    def confusion(self) -> list[tuple[str, str, dict[str, int]]]:
        """(part, expected, counts of verdicts)."""
        keys = sorted({(case.part, case.expected) for case in self.cases}, key=lambda key: (key[0] != "present", key))
        return [
            (part, expected, dict(Counter(c.verdict for c in self.cases if (c.part, c.expected) == (part, expected))))
            for part, expected in keys
        ]

    def rates(self) -> dict[str, dict[str, Any]]:
        """Counts that matter with one-sided 95 % Clopper-Pearson bounds."""
        present, margin, absent = ([c for c in self.cases if c.part == part] for part in ("present", "margin", "absent"))
        told = [c for c in self.cases if c.powered and c.part != "margin"]
        return {
            "false removed": rate(present, lambda c: c.verdict == "removed"),
            "false removed at the margin": rate(margin, lambda c: c.verdict == "removed"),
            "false presence": rate(absent, lambda c: c.verdict in ("exposed", "hidden") or c.at_least is not None),
            "wrong where the rows suffice": rate(told, lambda c: c.verdict != c.expected),
            **(model_rates(self.models) if self.models else {}),
        }

    @property
    def passed(self) -> bool:
        """No false "removed", and no more false presence than allowed for by chance at 5 %; the planted models hold as well."""
        rates = self.rates()
        presence = rates["false presence"]
        worlds = bool(rates["false removed"]["count"] == 0 and presence["count"] <= stats.binom.ppf(0.99, presence["of"], 0.05))
        return worlds and models_passed(self.models)

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {
            "passed": self.passed,
            "seed": self.seed,
            "rates": self.rates(),
            "confusion": [{"part": p, "expected": e, "verdicts": v} for p, e, v in self.confusion()],
            "cases": [asdict(case) for case in self.cases],
            "models": {
                "confusion": [{"kind": k, "expected": e, "verdicts": v} for k, e, v in model_confusion(self.models)],
                "cases": [{**asdict(case), "contradicted": case.contradicted} for case in self.models],
            },
        }


def run_selftest(
    *, quick: bool, worlds: int = 200, models: int = 20, seed: int = 0, jobs: int | None = None, progress: Progress | None = None
) -> SelfTest:
    """Audit planted worlds and planted models; results do not depend on ``jobs``, the number of worker processes.

    So many random ``worlds`` leak at least twice the margin, as many nothing, half as many exactly the margin; ``models`` are of each kind.
    ``quick``: a dozen fixed small worlds and one small model of each kind. ``progress`` is told of every one.
    """
    parts = [("present", worlds), ("margin", worlds // 2), ("absent", worlds)]
    todo = [("quick", index) for index in range(len(QUICK))]
    if not quick:  # mixed, so that a run that is stopped early has seen all kinds
        todo = sorted(((part, index) for part, count in parts for index in range(count)), key=lambda item: (item[1], item[0]))
    planted = list(model_tasks(models, quick=quick, seed=seed))
    total = len(todo) + len(planted)
    calls = [*(("world", (part, index, seed)) for part, index in todo), *(("model", one) for one in planted)]
    cases: dict[int, Case | ModelCase] = {}
    with Workers(max(1, min(jobs or joblib.cpu_count(), total))) as workers:
        for place, case in workers.run(f"{__name__}:audit_one", calls):
            if isinstance(case, Lost):
                raise TaskError(f"a planted world could not be audited: {case.why}")
            cases[place] = case
            if progress is not None:
                progress(ProgressEvent("selftest", len(cases), total, f"{case.kind}: {case.verdict}"))
    found = [cases[place] for place in range(total)]
    return SelfTest(tuple(c for c in found if isinstance(c, Case)), seed, tuple(c for c in found if isinstance(c, ModelCase)))


def audit_one(what: str, asked: tuple[Any, ...]) -> Case | ModelCase:
    """A planted ``world``, or a planted ``model``."""
    if what == "world":
        return audit_world(*asked)
    kind, seed, n, checkpoints = asked
    return audit_planted_model(kind, seed, n=n, checkpoints=checkpoints)


def audit_world(part: str, index: int, seed: int) -> Case:
    """Draw one world and audit it as ``pa.probe`` would."""
    rng = stream(seed, "selftest", part, index)
    if part == "quick":
        kind, n, d, leak = QUICK[index]
        world = make_world(kind, n=n, d=d, leak=leak, rng=rng)
        part = "absent" if world.channel == "none" else "present"
    else:
        world = draw_world(rng, present=part != "absent", at_margin=part == "margin")
    return audit_drawn(world, part, index)


def audit_drawn(world: World, part: str, seed: int) -> Case:
    """Audit a world and hold the verdict beside the truth."""
    about = (world.kind, part, len(world.acts_nd), world.acts_nd.shape[1], world.leak, world.expected)
    beside = {"group": world.groups_n, "label": world.condition_n}
    table = pd.DataFrame({"attribute": world.labels_n, **{name: values for name, values in beside.items() if values is not None}})
    group, condition_on = "group" if "group" in table else None, ("label",) if "label" in table else ()
    request = ProbeRequest(("attribute",), group=group, condition_on=condition_on, seed=seed)
    try:
        evidence = probe_arrays({"world": {"site": world.acts_nd}}, table, request, jobs=1).evidence
    except InputError:  # too few rows: refused with a clear line, which claims nothing
        return Case(*about, "inconclusive", None, False)
    finding = evidence.findings[0]
    return Case(*about, finding.verdict, finding.at_least, _powered(evidence))


def _powered(evidence: Evidence) -> bool:
    """Whether the rows suffice, by the audit's own word."""
    told = [e for e in evidence.estimates if e.state is not None]
    limits = all(e.detection_limit is not None and e.margin is not None and 2 * e.detection_limit <= e.margin for e in told)
    return bool(told) and limits
