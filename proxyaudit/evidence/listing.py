"""One line about each run on disk, whatever its state."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from proxyaudit.errors import ProxyauditError
from proxyaudit.evidence.canonical import parse_json
from proxyaudit.evidence.manifest import is_complete
from proxyaudit.evidence.pack import REPORT_FILES, read_pack
from proxyaudit.types import Verdict

_DATES = ("finished", "finished_at", "ended", "ended_at", "started", "started_at", "date")


@dataclass(frozen=True)
class RunLine:
    """What ``ls`` shows of a run. ``status``: complete, partial (a task failed), incomplete (did not end) or damaged."""

    folder: Path
    name: str
    id: str
    status: str
    date: str
    verdicts: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {**self.__dict__, "folder": str(self.folder)}


def describe_run(folder: Path) -> RunLine:
    """Describe a run folder; never raises for what lies in it."""
    if not is_complete(folder):
        return _fallback(folder, "incomplete")
    try:
        pack = read_pack(folder, skip=REPORT_FILES)
    except ProxyauditError:
        return _fallback(folder, "damaged")
    run, counts = pack.evidence.run, Counter(finding.verdict for finding in pack.evidence.findings)
    verdicts = {word: counts[word] for word in get_args(Verdict) if counts[word]}
    return RunLine(folder, run.name, run.id, run.status, run_date(pack.environment), verdicts)


def run_date(environment: dict[str, Any]) -> str:
    """Return when a run ended, or else began, as it is written in ``environment.json``."""
    return next((environment[key] for key in _DATES if isinstance(environment.get(key), str)), "")


def _fallback(folder: Path, status: str) -> RunLine:
    try:
        plan = parse_json((folder / "plan.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        plan = None
    plan = plan if isinstance(plan, dict) else {}
    return RunLine(folder, str(plan.get("name", folder.parent.name)), str(plan.get("run_id", folder.name)), status, "", {})
