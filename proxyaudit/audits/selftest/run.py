"""The self-test: audits of planted worlds and planted models on this machine, and how often the verdict, above all "removed", is wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

import joblib
import pandas as pd
from scipy import stats

from proxyaudit.audits.probe.inputs import ProbeRequest
from proxyaudit.audits.probe.run import probe_arrays
from proxyaudit.audits.selftest.models import ModelCase, audit_planted_model, model_confusion, model_rates, model_tasks, models_passed, rate
from proxyaudit.errors import InputError
from proxyaudit.pipeline.stages import Progress, ProgressEvent
from proxyaudit.planted import World, draw_world, make_world
from proxyaudit.seeding import stream
from proxyaudit.types import Evidence

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
    *,
    quick: bool = False,
    present: int = 200,
    margin: int = 100,
    absent: int = 200,
    models: int = 20,
    seed: int = 0,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> SelfTest:
    """Audit planted worlds and planted models; results do not depend on ``jobs``, the number of worker processes.

    So many random worlds leak at least twice the margin (``present``), exactly the ``margin``, or nothing (``absent``), and there are so
    many ``models`` of each kind; ``quick``: a dozen fixed small worlds and one small model of each kind. ``progress`` is told of every one.
    """
    parts = [("present", present), ("margin", margin), ("absent", absent)]
    todo = [("quick", index) for index in range(len(QUICK))]
    if not quick:  # mixed, so that a run that is stopped early has seen all kinds
        todo = sorted(((part, index) for part, count in parts for index in range(count)), key=lambda item: (item[1], item[0]))
    planted = list(model_tasks(models, quick=quick, seed=seed))
    total = len(todo) + len(planted)
    workers = max(1, min(jobs or joblib.cpu_count(), total))
    calls = chain(
        (joblib.delayed(audit_world)(part, index, seed) for part, index in todo),
        (joblib.delayed(audit_planted_model)(kind, own, n=n, checkpoints=checkpoints) for kind, own, n, checkpoints in planted),
    )
    cases: list[Case | ModelCase] = []
    for case in joblib.Parallel(n_jobs=workers, backend="loky", return_as="generator", batch_size=1)(calls):
        cases.append(case)
        if progress is not None:
            progress(ProgressEvent("selftest", len(cases), total, f"{case.kind}: {case.verdict}"))
    return SelfTest(tuple(c for c in cases if isinstance(c, Case)), seed, tuple(c for c in cases if isinstance(c, ModelCase)))


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
