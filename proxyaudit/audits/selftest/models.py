"""Audits of planted models: the whole of ``proxyaudit run`` held against modules whose every weight is known.

What is counted: a wrong verdict, above all "removed"; a channel whose state contradicts the construction; use, or controls above the
margin, where a model provably ignores the attribute. Verdicts left open are counted apart.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy import stats

from proxyaudit.estimates.questions import deciding_names, names_of
from proxyaudit.estimates.states import combine
from proxyaudit.evidence.pack import read_pack
from proxyaudit.pipeline.run import run_audit
from proxyaudit.planted.model_worlds import MODELS, UNUSED, make_planted_model
from proxyaudit.planted.models import ATTRIBUTE, REGIME, ROWS
from proxyaudit.recipe.recipe import Margins
from proxyaudit.types import Evidence, State

QUICK_ROWS = 3200
# To show that a feature is not used takes some 12,000 audited rows; that it is used shows in far fewer.
ABSENCE_ROWS = 16_000
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
    with tempfile.TemporaryDirectory(prefix="proxyaudit-planted-") as folder:
        recipe = model.write(Path(folder) / "project", seed=seed)
        result = run_audit(recipe, out=Path(folder) / "out", jobs=1)
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
    rows = []
    for kind in MODELS:
        own = [case for case in cases if case.kind == kind]
        if own:
            rows.append((kind, own[0].expected, dict(Counter(case.verdict for case in own))))
    return rows


def models_passed(cases: Sequence[ModelCase]) -> bool:
    """No wrong "removed", and at most one in fifty verdicts wrong or with a channel that contradicts the construction."""
    rates = model_rates(cases)
    false = sum(case.wrong or bool(case.contradicted) for case in cases)
    return bool(rates["models: false removed"]["count"] == 0 and false <= MOST_WRONG * len(cases))


def model_tasks(count: int, *, quick: bool, seed: int) -> Iterable[tuple[str, int, int, int]]:
    """Arguments (kind, seed, rows, checkpoints) of the audits of a self-test, kinds mixed."""
    seeds = range(seed * SEEDS_APART, seed * SEEDS_APART + (1 if quick else count))
    return [(kind, own, QUICK_ROWS if quick else ABSENCE_ROWS if kind in UNUSED else ROWS, 1) for own in seeds for kind in MODELS]
