"""The imperative shell: prepare, run the stages, read the facts, estimate, decide, conclude, publish."""

from __future__ import annotations

import datetime
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from proxyaudit.channels.proxies.record import overlap_notes
from proxyaudit.consent import Consent
from proxyaudit.errors import InputError
from proxyaudit.estimates.channel import all_channels
from proxyaudit.estimates.conclude import evidence_of
from proxyaudit.estimates.facts import Facts
from proxyaudit.estimates.ledger import Drafts, Ledger, decide_ledger
from proxyaudit.estimates.row_sums import row_parts
from proxyaudit.estimates.scope import read_scope
from proxyaudit.evidence.manifest import is_complete
from proxyaudit.evidence.pack import EvidencePack, read_pack, write_pack, write_plan
from proxyaudit.pipeline.cache import CACHE_FOLDER, Cache
from proxyaudit.pipeline.facts import read_facts, signatures_of_run
from proxyaudit.pipeline.measure import SHARED
from proxyaudit.pipeline.plan import odds_of_absence, prepare_file
from proxyaudit.pipeline.prepared import Prepared
from proxyaudit.pipeline.stages import Progress, Workers, one_thread, run_stages
from proxyaudit.pipeline.tasks import task_digests
from proxyaudit.reporting.html import render_html
from proxyaudit.reporting.markdown import render_markdown
from proxyaudit.types import Evidence, NotTested

Failures = Mapping[str, Sequence[str]]
_NOT_TESTED = (
    NotTested(
        what="use through directions that no linear subspace holds, or at sites outside the verdict sites",
        why="subspaces are linear, fitted (LEACE) or learned (DAS), and swapped at the verdict sites only",
    ),
)


@dataclass(frozen=True)
class RunResult:
    """Where the run lies and what it found; ``reused`` where it had been complete before."""

    folder: Path
    status: str
    evidence: Evidence
    reused: bool


def plan_audit(recipe_path: Path, overrides: tuple[str, ...] = (), *, consent: Consent | None = None) -> dict[str, Any]:
    """Expand a recipe into its plan without measuring or writing anything.

    Its ``absence`` says how probable it is that absence could be proved. Arguments as in :func:`run_audit`.

    Raises:
        InputError: the recipe or a file it names cannot be used, or consent is missing.
    """
    with one_thread():
        prepared = prepare_file(recipe_path, overrides, consent)
        return {**prepared.plan.as_dict(), "absence": odds_of_absence(prepared)}


def run_audit(
    recipe_path: Path,
    *,
    overrides: tuple[str, ...] = (),
    out: Path = Path("reports"),
    jobs: int | None = None,
    backend: str = "loky",
    fresh: bool = False,
    progress: Progress | None = None,
    consent: Consent | None = None,
) -> RunResult:
    """Run an audit, or resume one that was interrupted; the run lies in ``<out>/<recipe name>/<run id>``.

    Args:
        recipe_path: The recipe file.
        overrides: ``dotted.key=value`` strings.
        out: Folder of all runs.
        jobs: Worker processes, one for each core if not given. Results do not depend on it.
        backend: ``loky`` or ``dask``.
        fresh: Forget what is done and measure again.
        progress: Called after every task.
        consent: What may be executed of the code that the recipe names; not asked for where it is left out.

    Raises:
        InputError: consent is missing, the recipe, its data, ``out`` or the backend cannot be used; nothing has been written then.
        TaskError: the inputs could not be measured.
    """
    started = time.time()
    workers = Workers(joblib.cpu_count() if jobs is None else jobs, backend)
    check_out(out)
    with one_thread():
        prepared = prepare_file(recipe_path, overrides, consent)
    folder, cache, tasks = out / prepared.recipe.name / prepared.plan.run_id, Cache(out / CACHE_FOLDER), task_digests(prepared)
    if fresh:
        cache.forget(SHARED)
        for task in (task for stage in tasks.values() for task in stage):
            cache.forget(task.kind, task.digest)
    elif is_complete(folder):
        evidence = read_pack(folder).evidence
        if evidence.run.status == "complete":
            return RunResult(folder, evidence.run.status, evidence, reused=True)
    write_plan(folder, prepared.plan.as_dict())
    cache.sweep()
    failures = run_stages(prepared, tasks, cache, workers, progress)
    with one_thread():
        facts = read_facts(prepared, tasks, cache, failures)
        drafts = Drafts().extend(channel.estimate(facts) for channel in all_channels() if channel.estimate)
        ledger = decide_ledger(drafts, facts.no_absence)
        for channel in all_channels():
            if channel.follow_up is not None:
                ledger.publish(channel.follow_up(facts, ledger))
        evidence = _conclude(prepared, facts, ledger, failures)
        signatures = signatures_of_run(prepared, tasks, cache, evidence) if prepared.recipe.signatures else {}
    failed = {
        "failures": [failure for found in failures.values() for failure in found],
        "failures_by_regime": {regime: list(found) for regime, found in failures.items()},
    }
    where = environment(started, workers.count, prepared.plan.versions, backend=workers.backend, **failed)
    arrays = {f"{e.id}.seed_values": np.array(e.seed_values) for e in evidence.estimates if len(e.seed_values) > 1} | row_parts(ledger)
    recipe = prepared.recipe.model_dump(mode="json", exclude_none=True)
    publish(EvidencePack(evidence, prepared.plan.as_dict(), recipe, where, arrays), folder, signatures)
    return RunResult(folder, evidence.run.status, evidence, reused=False)


def check_out(out: Path) -> None:
    """Refuse, before anything is computed, a folder that cannot be written."""
    try:
        there = next(path for path in (out, *out.absolute().parents) if path.exists())
    except OSError as error:
        raise InputError(f"the folder cannot be used ({error.strerror})", where=f"--out {out}"[:200], mend="name another folder") from None
    if not there.is_dir():
        raise InputError(f"'{there}' is a file, not a folder", where=f"--out {out}", mend="name another folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"'{there}' may not be written", where=f"--out {out}", mend="name another folder, or change its permissions")


def _conclude(prepared: Prepared, facts: Facts, ledger: Ledger, failures: Failures) -> Evidence:
    """Contrasts are published, then everything is concluded."""
    plan = prepared.plan.as_dict()
    not_tested = [*_NOT_TESTED, *(NotTested(**note) for note in prepared.plan.notes), *overlap_notes(facts.runs)]
    scope = read_scope(plan, {}, {"failures_by_regime": dict(failures)})
    return evidence_of(ledger, scope, plan, not_tested, status="partial" if failures else "complete", facts=facts)


def environment(started: float, jobs: int, versions: Mapping[str, str], **more: Any) -> dict[str, Any]:
    """When and where an audit ran: the only part of a pack that differs between two runs of one plan."""
    return {
        "started": datetime.datetime.fromtimestamp(started, datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(time.time() - started, 1),
        "jobs": jobs,
        "platform": platform.system(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "versions": versions,
        "failures": [],
        **more,
    }


def publish(pack: EvidencePack, folder: Path, more: Mapping[str, bytes] | None = None) -> None:
    """Write a run folder with both reports, and ``more`` files by their names."""
    write_pack(pack, folder, reports={"report.html": render_html(pack), "report.md": render_markdown(pack)}, more=more)
