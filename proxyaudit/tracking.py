"""A finished run in a tracking folder of MLflow: verdicts as tags, numbers as metrics, public files as artefacts."""

import contextlib
import datetime
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxyaudit.digests import file_digest
from proxyaudit.errors import InputError
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.evidence.tiers import tier_of
from proxyaudit.types import Estimate

_OPTION = "--mlflow"
_LONGEST, _LONGEST_VALUE = 200, 500  # characters of a name, and of a value, which MLflow takes in every version
_EVIDENCE = "proxyaudit.evidence_sha256"
# Nothing is told to anybody, and a folder will do, which newer versions take only where they are told so.
_SETTINGS = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_ALLOW_FILE_STORE": "true"}
_FORBIDDEN = re.compile(r"[^\w\-. ]|\.\.+")


@dataclass(frozen=True)
class Tracked:
    """Where a run lies in the tracking folder; ``new`` unless it lay there already."""

    experiment: str
    run: str
    new: bool


def tracking_client(folder: Path) -> Any:
    """The client of a tracking folder. Raises ``InputError``: MLflow is not installed, or this can be no folder."""
    if "://" in str(folder) or re.match(r"\w+:/", str(folder)):
        mend = "name a folder; 'mlflow' itself copies from there to a server or a database"
        raise InputError("only a folder is written to", where=f"{_OPTION} {folder}", mend=mend)
    if folder.exists() and not folder.is_dir():
        raise InputError("this is a file, not a folder", where=f"{_OPTION} {folder}", mend="name another folder")
    os.environ.update(_SETTINGS)
    try:
        from mlflow.tracking import MlflowClient
    except ImportError:
        raise InputError("MLflow is not installed", where=_OPTION, mend="pip install '.[mlflow]' in your clone") from None
    with _told():
        return MlflowClient(tracking_uri=folder.absolute().as_uri())


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Tell what MLflow raises, which is of any kind, in one line."""
    try:
        yield
    except Exception as error:
        what = f"the tracking folder cannot be written ({type(error).__name__})"
        raise InputError(what, where=_OPTION, mend="check its permissions, or name another one") from None


def track(pack: EvidencePack, folder: Path, client: Any) -> Tracked:
    """Write the run that lies in ``folder``, once: the same evidence is not written again. Raises ``InputError``: it cannot be written."""
    from mlflow.entities import Metric, Param, RunTag

    run, digest, begun = pack.evidence.run, file_digest(folder / "evidence.json"), _milliseconds(pack)
    metrics = [Metric(name, value, begun, 0) for name, value in metrics_of(pack)]
    params = [Param(name, value) for name, value in _params(pack)]
    tags = [RunTag(name, value) for name, value in (*tags_of(pack), (_EVIDENCE, digest))]
    end = begun + int(1000 * float(pack.environment.get("seconds", 0.0)))
    with _told():
        known = client.get_experiment_by_name(run.name)
        experiment = client.create_experiment(run.name) if known is None else known.experiment_id
        whole = f"tags.`{_EVIDENCE}` = '{digest}' and attributes.status != 'RUNNING'"  # one that was interrupted is written again
        if there := client.search_runs([experiment], filter_string=whole):
            return Tracked(run.name, there[0].info.run_id, new=False)
        made = client.create_run(experiment, start_time=begun, run_name=run.id).info.run_id
        for start in range(0, max(len(metrics), len(params), len(tags)), 100):  # as many as MLflow takes at once
            part = slice(start, start + 100)
            client.log_batch(made, metrics=metrics[part], params=params[part], tags=tags[part])
        for path in sorted(folder.iterdir()):
            if path.is_file() and tier_of(path.name) == "public":
                client.log_artifact(made, str(path))
        client.set_terminated(made, "FINISHED" if run.status == "complete" else "FAILED", end_time=end)
    return Tracked(run.name, made, new=True)


def _milliseconds(pack: EvidencePack) -> int:
    text = str(pack.environment.get("started", "")).replace("Z", "+00:00")
    try:
        return int(1000 * datetime.datetime.fromisoformat(text).timestamp())
    except ValueError:
        return 0


def tags_of(pack: EvidencePack) -> Iterator[tuple[str, str]]:
    """Names and values: the verdicts, what training did, and what the run is."""
    evidence = pack.evidence
    for finding in evidence.findings:
        about = _name(finding.attribute, finding.regime)
        yield f"verdict/{about}", finding.verdict + (f", at least {finding.at_least}" if finding.at_least else "")
        if finding.training is not None:
            yield f"training/{about}", finding.training.word
    yield "proxyaudit.run_id", evidence.run.id
    yield "proxyaudit.plan_digest", evidence.run.plan_digest
    yield "proxyaudit.status", evidence.run.status
    yield "proxyaudit.schema_version", evidence.schema_version
    yield "mlflow.note.content", "\n\n".join(finding.sentence for finding in evidence.findings)[: 8 * _LONGEST_VALUE]


def metrics_of(pack: EvidencePack) -> Iterator[tuple[str, float]]:
    """Names and values: what verdicts rest on, prominence and the task, each with its interval and what may be left at most."""
    asked = {ref for finding in pack.evidence.findings for ref in finding.decided_by}
    named = {(finding.attribute, finding.regime) for finding in pack.evidence.findings}
    told = set[str]()
    for one in pack.evidence.estimates:
        prominent = one.channel == "prominence" and (one.attribute, one.regime) in named
        if one.id not in asked and one.channel != "task" and not prominent:
            continue
        name, number = _metric(one), 1
        while name in told:
            number += 1
            name = f"{_metric(one)} {number}"
        told.add(name)
        numbers = {"": one.value, ".low": one.low, ".high": one.high, ".bound": one.bound}
        yield from ((f"{name}{suffix}", value) for suffix, value in numbers.items() if value is not None)


def _metric(one: Estimate) -> str:
    # Always three parts: one name may not be the folder of another.
    about = " ".join(part for part in (one.regime, one.site, one.group, one.subject) if part)
    return _name(".".join(filter(None, (one.channel, one.measure))), one.attribute or "model", about)


def _params(pack: EvidencePack) -> Iterator[tuple[str, str]]:
    plan, recipe = pack.plan, pack.recipe
    model = recipe.get("model")
    found = {
        "model": model.get("kind") if isinstance(model, dict) else None,
        "target": plan["target"].get("name") if isinstance(plan.get("target"), dict) else None,
        "seeds": plan.get("seeds"),
        "seed": plan.get("seed"),
        "effort": recipe.get("effort"),
        "regimes": ", ".join(dict.fromkeys(finding.regime for finding in pack.evidence.findings)),
        "attributes": ", ".join(dict.fromkeys(finding.attribute for finding in pack.evidence.findings)),
    }
    yield from ((name, str(value)[:_LONGEST_VALUE]) for name, value in found.items() if value not in (None, ""))
    margins = plan.get("margins")
    yield from ((f"margin.{name}", str(value)) for name, value in (margins if isinstance(margins, dict) else {}).items())


def _name(*parts: str) -> str:
    """A name that MLflow takes, which is also the name of a file: other signs become ``_``."""
    clean = (_FORBIDDEN.sub("_", part).strip(". ") or "_" for part in parts)
    return "/".join(part[: _LONGEST // len(parts)].strip(". ") for part in clean)
