"""The command ``verify``: parse, call, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from proxyaudit.cli import console
from proxyaudit.errors import IntegrityError

EXAMPLE = "Example:  proxyaudit verify reports/my-audit"
_MARKS = {"passed": "ok", "failed": "FAILED", "skipped": "skipped"}
_SHOWN = 8


def verify(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder (or one with a single run below it), or one of 'mitigate'.")],
    json: Annotated[
        bool, typer.Option("--json", envvar="PROXYAUDIT_JSON", help="One JSON document on standard output, nothing else.")
    ] = False,
) -> None:
    """Recompute hashes and verdicts from the pack alone; exit code 4 if a byte or a verdict was changed."""
    from proxyaudit.verification.run import find_folder, verify_folder

    found = verify_folder(find_folder(run))
    if json:
        console.emit_json({**found.as_dict(), "exit_code": 0 if found.verified else IntegrityError.exit_code})
    else:
        for check in found.checks:
            console.write_line(f"{_MARKS[check.state]:<7}  {check.name}: {check.detail}")
        console.write_line(f"{found.folder}: {'verified' if found.verified else 'NOT as it was written'}")
    for check in found.checks:
        for problem in check.problems[:_SHOWN]:
            console.warn(f"proxyaudit: {problem}")
        if len(check.problems) > _SHOWN:
            console.warn(f"proxyaudit: and {len(check.problems) - _SHOWN} more about {check.name} (--json has all)")
    if not found.verified:
        raise typer.Exit(IntegrityError.exit_code)
