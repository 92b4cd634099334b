"""The command ``mitigate``: parse, call, print. Kept apart from ``cli`` so that both stay short."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from proxyaudit.cli import console
from proxyaudit.cli.options import RunCode
from proxyaudit.consent import Consent
from proxyaudit.errors import ProxyauditError

EXAMPLE = "Example:  proxyaudit mitigate reports/my-audit --attribute sex --regime real --method splince"


def mitigate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a folder with one complete run below it.")],
    attribute: Annotated[str, typer.Option("--attribute", metavar="A", help="Attribute or proxy to erase.")],
    regime: Annotated[str, typer.Option("--regime", metavar="G", help="Regime whose models are changed.")],
    site: Annotated[
        list[str] | None,
        typer.Option("--site", metavar="SITE", help="Where to erase; may be given several times (default: verdict sites)."),
    ] = None,
    method: Annotated[
        str, typer.Option(envvar="PROXYAUDIT_METHOD", help="leace changes least; splince keeps the covariance with the label.")
    ] = "leace",
    base: Annotated[
        Path | None,
        typer.Option("--base", metavar="DIR", help="Folder of the run's recipe, if its paths do not start from the current one."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", envvar="PROXYAUDIT_OUT", help="Folder of the results.")] = Path("reports"),
    jobs: Annotated[int | None, typer.Option(min=1, envvar="PROXYAUDIT_JOBS", help="Tasks at a time (default: one per core).")] = None,
    run_code: RunCode = None,
    json: Annotated[
        bool, typer.Option("--json", envvar="PROXYAUDIT_JSON", help="One JSON document on standard output, nothing else.")
    ] = False,
) -> None:
    """Erase an attribute from a run's models, save them as checkpoints, audit them again, and say what remains."""
    with contextlib.redirect_stdout(sys.stderr), console.progress_bars(shown=not json) as progress:
        from proxyaudit.audits.mitigation.run import MitigationRequest, mitigate_run
        from proxyaudit.verification.trusted import read_verified

        # Before anything in the pack is prepared or executed: is it what its maker wrote?
        consent, pack = Consent.of(run_code or ()), read_verified(run)
        request = MitigationRequest(attribute, regime, tuple(site or ()), method)
        result = mitigate_run(run, pack, request, consent=consent, base=base, out=out, jobs=jobs, progress=progress)
    if json:
        head = {"folder": str(result.folder), "audit_folder": str(result.audit.folder), "report": str(result.audit.folder / "report.html")}
        console.emit_json({**head, **result.document})
    else:
        from proxyaudit.reporting.mitigation import summary_lines

        for line in summary_lines(result.document):
            console.write_line(line)
        console.write_line(f"Mitigation: {result.folder / 'mitigation.md'}")
        console.write_line(f"Audit:      {result.audit.folder / 'report.html'}")
    if result.audit.status != "complete":
        console.warn("proxyaudit: the new audit is partial; run the same command again to try what failed once more")
        raise typer.Exit(ProxyauditError.exit_code)
