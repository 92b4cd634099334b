"""Change records that lie beside runs: found, checked, and told with the runs that audit what they made."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from proxyaudit.attestation.signing import signers_of
from proxyaudit.comparison.records import cited, reads_change
from proxyaudit.errors import InputError, IntegrityError
from proxyaudit.evidence.changes import CHANGE_FILE, is_change, list_changes
from proxyaudit.evidence.pack import EvidencePack, find_run
from proxyaudit.reporting.change import change_words, signed_words
from proxyaudit.reporting.history import RecordedChange
from proxyaudit.verification.changes import read_verified_change

_MADE = ("-mitigated", "-cured")  # what 'mitigate' and 'cure' add to the name of an audit, whose folder lies beside theirs


def recorded_changes(folder: Path, packs: Sequence[EvidencePack]) -> tuple[list[RecordedChange], list[tuple[str, str]]]:
    """The records below a folder, and those that were altered, each with the reason; ``packs`` are the runs there."""
    found, altered = [], []
    for path in list_changes(folder):
        name = path.relative_to(folder).as_posix() if path != folder else path.name
        try:
            record = read_verified_change(path)
        except IntegrityError as error:
            altered.append((name, str(error).replace(str(path), name)))
            continue
        audits = tuple(pack.evidence.run.id for pack in packs if reads_change(pack, record))
        found.append(RecordedChange(name, record, signers_of(path), audits))
    return found, altered


def cited_changes(after: EvidencePack, runs: Iterable[Path], named: Sequence[Path] = ()) -> tuple[tuple[dict[str, Any], ...], list[str]]:
    """The recorded changes whose outcome the run ``after`` audits, as JSON and as lines.

    Looked for beside both runs, where ``mitigate`` and ``cure`` write; ``named`` are folders that the caller gave. ``InputError``: one of
    these is no change. ``IntegrityError``: it was altered; one that was found by itself is told and not cited then.
    """
    told: dict[str, dict[str, Any]] = {}
    lines: list[str] = []
    for path in named:
        if not is_change(path):
            what = "no such folder" if not path.exists() else "this is no folder of 'mitigate' or 'cure'"
            raise InputError(what, where=f"--change {path}", mend="name the folder that one of them wrote: it holds change.json")
    given = [path.resolve() for path in named]
    for path in dict.fromkeys([*given, *(found for run in runs for found in _near(find_run(run).resolve()))]):
        try:
            record = read_verified_change(path)
        except IntegrityError as error:
            if path in given:
                raise
            lines.append(
                f"the change record in '{path.parent.name}/{path.name}' was altered and is not cited: {error}".replace(str(path), path.name)
            )
            continue
        if not reads_change(after, record):
            if path in given:
                lines.append(f"run B does not audit what {record.kind} {record.id[-12:]} made, so its record is not cited")
            continue
        signers = signers_of(path)
        told[record.id] = cited(record, signers)
        lines.append(f"run B audits a recorded change ({record.kind} {record.id[-12:]}): {change_words(record)}; {signed_words(signers)}")
    return tuple(told.values()), list(dict.fromkeys(lines))


def _near(run: Path) -> list[Path]:
    """Folders with a record beside a run, and beside the folder of its audit."""
    audit = run.parent
    folders = [audit, *(audit.with_name(audit.name + end) for end in _MADE)]
    return [path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir()) if (path / CHANGE_FILE).is_file()]
