"""The evidence pack: everything that one audit leaves behind, on disk and in memory."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import safetensors.numpy
import yaml
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError

from proxyaudit.errors import InputError, IntegrityError, ProxyauditError, StaleError, located, reason_of
from proxyaudit.evidence.canonical import canonical_json, parse_json
from proxyaudit.evidence.manifest import MANIFEST, check_manifest, is_complete, rendered_here, replace_files, write_files
from proxyaudit.evidence.receipts import last_purge
from proxyaudit.evidence.row_store import keep_row_sums, read_row_sums
from proxyaudit.evidence.schema import brought_up, later_fields
from proxyaudit.evidence.shapes import misshapen
from proxyaudit.files import read_file, write_file
from proxyaudit.limits import MOST_ARRAYS, MOST_JSON, MOST_PAGE, MOST_YAML
from proxyaudit.recipe.yaml import dump_yaml, parse_plain_yaml
from proxyaudit.types import SCHEMAS, Evidence, Verdict

PACK_FILES = ("arrays.safetensors", "environment.json", "evidence.json", "plan.json", "recipe.yaml")
REPORT_FILES = ("report.html", "report.md")
MITIGATION_FILE, CURE_FILE = "mitigation.json", "cure.json"
_DATES = ("finished", "finished_at", "ended", "ended_at", "started", "started_at", "date")
_RUN_MARKS = (MANIFEST, "plan.json", "evidence.json")


@dataclass(frozen=True)
class EvidencePack:
    """One audit: what was asked (recipe, plan), what was found (evidence, arrays), and where it ran (environment)."""

    evidence: Evidence
    plan: dict[str, Any]  # as fixed before measuring, with its digest
    recipe: dict[str, Any]  # as resolved
    environment: dict[str, Any]  # times and host facts: the only part that differs between two runs of one plan
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)  # too large for JSON, by name; no row-level data; read-only copies
    row_sums: dict[str, NDArray[Any]] = field(default_factory=dict)  # what only its auditor may have: never part of a written run

    def __post_init__(self) -> None:
        """Take copies of the arrays that nobody can change."""
        for name in ("arrays", "row_sums"):
            copies = {key: np.array(array, order="C", copy=True) for key, array in getattr(self, name).items()}
            for array in copies.values():
                array.setflags(write=False)
            object.__setattr__(self, name, copies)


def write_pack(
    pack: EvidencePack, folder: Path, *, reports: Mapping[str, str] | None = None, more: Mapping[str, bytes] | None = None
) -> None:
    """Write a run folder with rendered ``reports`` and ``more`` files by name; its manifest comes last and makes it complete."""
    files = {
        "arrays.safetensors": safetensors.numpy.save({name: pack.arrays[name] for name in sorted(pack.arrays)}),
        "environment.json": canonical_json(pack.environment),
        "evidence.json": canonical_json(pack.evidence.model_dump(mode="json")),
        "plan.json": canonical_json(pack.plan),
        "recipe.yaml": dump_yaml(pack.recipe).encode("utf-8", "backslashreplace"),
    }
    files.update({name: text.encode("utf-8", "replace") for name, text in (reports or {}).items()} | dict(more or {}))
    write_files(folder, files)
    if pack.row_sums:
        keep_row_sums(files["evidence.json"], pack.row_sums)


def write_plan(folder: Path, plan: dict[str, Any]) -> None:
    """Fix the plan before anything is measured; the run counts as incomplete until its manifest is there."""
    if not is_complete(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_file(folder / "plan.json", canonical_json(plan))


def replace_reports(folder: Path, reports: Mapping[str, str]) -> bool:
    """Put freshly rendered reports into a run folder; True if any byte changed, or another version had rendered them."""
    new = {name: text.encode("utf-8", "replace") for name, text in reports.items()}
    same = all((folder / name).is_file() and read_file(folder / name, MOST_PAGE) == data for name, data in new.items())
    if same and not check_manifest(folder) and rendered_here(folder):
        return False
    replace_files(folder, new)
    return True


def read_pack(folder: Path, *, skip: tuple[str, ...] = ()) -> EvidencePack:
    """Read a run folder after checking every file against the manifest, but for those whose hashes do not matter to the caller (``skip``).

    ``InputError`` if there is no such run, it did not end, or a newer version wrote it; ``IntegrityError`` if a file is missing, was
    changed, was added, or is not what it says.
    """
    if not folder.is_dir():
        raise InputError("no such run folder", where=str(folder), mend="'proxyaudit ls' lists the runs")
    if not is_complete(folder):
        what = f"the run is not complete: {MANIFEST} is missing"
        raise InputError(what, where=str(folder), mend="run the same recipe again to resume it")
    problems = check_manifest(folder, required=PACK_FILES, skip=skip)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise IntegrityError(f"{located(problems[0] + more, folder)}; the run was changed after it was written: use an untouched copy")
    plan = _read_object(folder / "plan.json")
    evidence = _read_evidence(folder / "evidence.json", plan)
    recipe, environment = _read_object(folder / "recipe.yaml", parse_plain_yaml, MOST_YAML), _read_object(folder / "environment.json")
    arrays, row_sums = _read_arrays(folder / "arrays.safetensors"), read_row_sums(folder / "evidence.json")
    return EvidencePack(evidence, plan, recipe, environment, arrays, row_sums)


def find_run(path: Path) -> Path:
    """The run folder that ``path`` means: itself, or the one complete run below it.

    ``InputError`` if there is none, or more than one; ``StaleError`` if a run below it was begun after the complete one had ended.
    """
    try:
        check_is_no_recipe(path)
        path = path.parent if path.is_file() else path
        there = path.is_dir()
    except OSError:  # a name that no folder can have
        there = False
    if not there:
        raise InputError("no such run folder", where=str(path)[-200:], mend="'proxyaudit ls' lists the runs")
    if is_run(path):
        return path
    found = list_runs(path)
    complete = [run for run in found if is_complete(run)]
    if len(complete) == 1:
        ended = (complete[0] / MANIFEST).stat().st_mtime_ns
        newer = [run for run in found if run != complete[0] and _touched(run) >= ended]
        if newer:
            what = f"the complete run below this folder ({complete[0].name}) is older than one that did not end ({newer[0].name})"
            raise StaleError(f"{what} [{path}]; end that one by the same command, or name the run that you mean")
        return complete[0]
    if not complete:
        state = "only runs that did not end" if found else "no run"
        raise InputError(f"{state} below this folder", where=str(path), mend="name a run folder; 'proxyaudit ls' lists the runs")
    raise InputError(
        f"{len(complete)} runs below this folder", where=str(path), mend=f"name one of them, e.g. {complete[0].relative_to(path)} in it"
    )


def check_is_no_recipe(path: Path) -> None:
    """Refuse (``InputError``) a file that is none of a run's where a run is meant: one of the folder around it would be taken silently."""
    if not path.is_file() or is_run(path.parent):
        return
    if path.suffix.lower() in (".yaml", ".yml"):
        mend = "a recipe is run first ('proxyaudit run RECIPE'), a policy is named with --policy; name the folder that the run wrote"
        raise InputError("this is a YAML file, not a run", where=str(path), mend=mend)
    raise InputError("this is a file, not a run folder", where=str(path), mend="name the folder of the run; 'proxyaudit ls' lists the runs")


def _touched(folder: Path) -> int:
    """When a file of a folder was last written, in nanoseconds."""
    return max((entry.lstat().st_mtime_ns for entry in folder.iterdir()), default=0)


def is_run(folder: Path) -> bool:
    """Whether a folder is a run directory, complete or not; one of ``mitigate`` or ``cure`` has a manifest too, but is none."""
    marks = [mark for mark in _RUN_MARKS if (folder / mark).is_file()]
    return bool(marks) and not (marks == [MANIFEST] and any((folder / name).is_file() for name in (MITIGATION_FILE, CURE_FILE)))


def list_runs(folder: Path, *, depth: int = 3) -> list[Path]:
    """Run folders at or below ``folder``, complete or not, sorted; hidden folders and links are left out."""
    if is_run(folder):
        return [folder]
    if depth == 0:
        return []
    try:
        inside = sorted(p for p in folder.iterdir() if p.is_dir() and not p.is_symlink() and not p.name.startswith("."))
    except OSError:
        return []
    return [run for child in inside for run in list_runs(child, depth=depth - 1)]


def _read_object(path: Path, parse: Callable[[bytes], Any] = parse_json, most: int = MOST_JSON) -> dict[str, Any]:
    try:
        document = parse(read_file(path, most))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise IntegrityError(f"{path.name} cannot be read ({reason_of(error)[:200]}) [{path.parent}]") from None
    if not isinstance(document, dict):
        raise IntegrityError(f"{path.name} is not a mapping of keys to values [{path.parent}]")
    fault = misshapen(path.name, document)
    if fault is not None:
        raise IntegrityError(f"{path.name} holds what it cannot ({fault}) [{path.parent}]")
    return document


def _read_evidence(path: Path, plan: dict[str, Any]) -> Evidence:
    document = _read_object(path)
    version = str(document.get("schema_version", ""))
    if version not in SCHEMAS:
        what = f"the evidence has schema version {version[:20]!r}, this proxyaudit reads {' and '.join(SCHEMAS)}"
        raise InputError(what, where=str(path), mend="use the version of proxyaudit that wrote it")
    if version == SCHEMAS[0] and (later := later_fields(document)):
        raise IntegrityError(f"{path.name} says schema {version}, which has no '{later[0][:40]}' [{path.parent}]")
    try:
        # Strictly, and as JSON: "off" would else be a control that failed here, and one that passed to whoever reads the file.
        evidence = Evidence.model_validate_json(canonical_json(document), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise IntegrityError(f"{path.name} does not follow its schema at {place}: {first['msg']} [{path.parent}]") from None
    margins = plan.get("margins")
    return brought_up(evidence, margins if isinstance(margins, dict) else {}) if version == "1.0" else evidence


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        loaded: dict[str, NDArray[Any]] = safetensors.numpy.load(read_file(path, MOST_ARRAYS))
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise IntegrityError(f"{path.name} cannot be read ({reason_of(error)}) [{path.parent}]") from None
    return dict(sorted(loaded.items()))


@dataclass(frozen=True)
class RunLine:
    """What ``ls`` shows of a run. ``status``: complete, partial (a task failed), incomplete (did not end) or damaged."""

    folder: Path
    name: str
    id: str
    status: str
    date: str
    verdicts: dict[str, int]
    retain_until: str | None = None  # day after which what holds rows is to be purged
    purged: str | None = None  # day of the last purge


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
    more = {"retain_until": _day_of(pack.recipe), "purged": last_purge(folder)}
    return RunLine(folder, run.name, run.id, run.status, run_date(pack.environment), verdicts, **more)


def run_date(environment: dict[str, Any]) -> str:
    """Return when a run ended, or else began, as it is written in ``environment.json``."""
    return next((environment[key] for key in _DATES if isinstance(environment.get(key), str)), "")


def _fallback(folder: Path, status: str) -> RunLine:
    try:
        plan = parse_json(read_file(folder / "plan.json"))
    except (OSError, ValueError, RecursionError):
        plan = None
    plan = plan if isinstance(plan, dict) else {}
    # Until when it is kept is no less true of a run that is damaged.
    more = {"retain_until": kept_until(folder / "recipe.yaml"), "purged": last_purge(folder)}
    return RunLine(folder, str(plan.get("name", folder.parent.name)), str(plan.get("run_id", folder.name)), status, "", {}, **more)


def kept_until(recipe: Path) -> str | None:
    """The day that a recipe beside results names, as far as it can be read."""
    try:
        document = parse_plain_yaml(read_file(recipe, MOST_YAML))
    except (OSError, ValueError, RecursionError):
        return None
    return _day_of(document) if isinstance(document, dict) else None


def _day_of(recipe: Mapping[str, Any]) -> str | None:
    day = recipe.get("retain_until")
    return None if day is None else str(day)
