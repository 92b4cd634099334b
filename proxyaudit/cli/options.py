"""Options and answers that several commands share."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

from typer import Argument, Option

from proxyaudit.cli import console
from proxyaudit.errors import InputError

if TYPE_CHECKING:
    from proxyaudit.evidence.pack import EvidencePack

MaybePath = Path | None
Many = list[str] | None  # given several times, or not at all
Json = Annotated[bool, Option("--json", envvar="PROXYAUDIT_JSON", help="One JSON document on standard output, nothing else.")]
Out = Annotated[Path, Option("--out", envvar="PROXYAUDIT_OUT", help="Folder of the results.")]
Jobs = Annotated[int | None, Option(min=1, envvar="PROXYAUDIT_JOBS", help="Tasks at a time (default: one per core).")]
Seed = Annotated[int, Option("--seed", min=0, envvar="PROXYAUDIT_SEED", help="Root seed.")]
Name = Annotated[str, Option("--name", help="Name of the audit: its folder below --out.")]
Overrides = Annotated[Many, Option("--set", metavar="KEY=VALUE", help="Override a key of the recipe, e.g. --set seeds=2.")]
RecipeFile = Annotated[Path, Argument(metavar="RECIPE", help="The recipe (YAML).")]
RunFolder = Annotated[Path, Argument(metavar="RUN", help="A run folder, or a folder with one complete run below it.")]
Base = Annotated[
    MaybePath, Option("--base", metavar="DIR", help="Folder of the run's recipe, if its paths do not start from the current one.")
]
RunCode = Annotated[
    Many,
    Option(
        "--run-code",
        metavar="FILE@sha256:HASH",
        envvar="PROXYAUDIT_RUN_CODE",
        help="Code that may be executed; may be given several times. 'any' for a recipe of one's own; of a pack only the hash counts.",
    ),
]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


def check_margins(**margins: float) -> None:
    """Refuse a margin outside 0 to 1, naming its option."""
    for name, margin in margins.items():
        if not 0 < margin < 1:
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"{margin:g} is no margin", where=option, mend="give a number between 0 and 1")


def check_name(name: str) -> None:
    """Refuse a name that cannot be a folder's."""
    if not NAME.fullmatch(name):
        raise InputError(f"'{name[:40]}' cannot name a folder", where="--name", mend="use letters, digits, '.', '_' and '-'")


def quiet_stdout() -> contextlib.redirect_stdout[TextIO]:
    """Send what libraries print to standard error: standard output is for results."""
    return contextlib.redirect_stdout(sys.stderr)


def write_results(files: Mapping[Path, bytes], *, where: str, what: str, inside: str) -> None:
    """Write files of one folder, which no run may hold; ``inside`` says what to do where one does, ``what`` is a file or a folder."""
    from proxyaudit.evidence.manifest import MANIFEST, write_file

    if any((parent / MANIFEST).exists() for path in files for parent in path.resolve().parents):
        raise InputError("a run folder takes no further files", where=where, mend=inside)
    try:
        for path, data in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, data)
    except OSError as error:
        raise InputError(f"the {what} cannot be written ({error.strerror})", where=where, mend=f"name another {what}") from None


def show_audit(folder: Path, pack: EvidencePack, *, reused: bool, json: bool, sentences: bool = True) -> None:
    """Print what an audit found and where it lies."""
    evidence, report = pack.evidence, folder / "report.html"
    if json:
        findings = [finding.model_dump(mode="json") for finding in evidence.findings]
        head = {"folder": str(folder), "report": str(report), "status": evidence.run.status, "reused": reused}
        console.emit_json({**head, "run": evidence.run.model_dump(mode="json"), "findings": findings})
        return
    from proxyaudit.reporting.summary import summarize

    console.show_findings(summarize(pack))
    for finding in evidence.findings if sentences else ():
        console.write_line(finding.sentence + (f" To settle it: {finding.would_settle}." if finding.would_settle else ""))
    console.write_line(f"Run:    {folder}" + ("  (nothing changed since it was made)" if reused else ""))
    console.write_line(f"Report: {report}")
