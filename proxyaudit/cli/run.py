"""The commands ``plan`` and ``run``: parse, call, print."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from proxyaudit.cli import console
from proxyaudit.cli.options import Jobs, Json, Out, Overrides, RecipeFile, RunCode, quiet_stdout, show_audit
from proxyaudit.consent import Consent
from proxyaudit.errors import ProxyauditError

PLAN_EXAMPLE = "Example:  proxyaudit plan recipe.yaml --set seeds=2"
EXAMPLE = "Example:  proxyaudit run recipe.yaml --out reports --jobs 2 --set seeds=3"


class Backend(StrEnum):
    """Engines that tasks run on."""

    loky = "loky"
    dask = "dask"


def plan(recipe: RecipeFile, overrides: Overrides = None, run_code: RunCode = None, json: Json = False) -> None:
    """Show what a run would do and cost; run nothing, write nothing."""
    with quiet_stdout():
        from proxyaudit.pipeline import plan_audit

        found = plan_audit(recipe, tuple(overrides or ()), consent=Consent.of(run_code or ()))
    if json:
        console.emit_json(found)
    else:
        console.plan_tables(found)


def run(
    recipe: RecipeFile,
    out: Out = Path("reports"),
    jobs: Jobs = None,
    backend: Annotated[Backend, typer.Option(envvar="PROXYAUDIT_BACKEND", help="Engine that tasks run on.")] = Backend.loky,
    overrides: Overrides = None,
    fresh: Annotated[bool, typer.Option("--fresh", envvar="PROXYAUDIT_FRESH", help="Compute everything again, whatever was kept.")] = False,
    signatures: Annotated[
        bool, typer.Option("--signatures", envvar="PROXYAUDIT_SIGNATURES", help="Save signatures for 'scan' (tools of inference: opt-in).")
    ] = False,
    run_code: RunCode = None,
    json: Json = False,
) -> None:
    """Run an audit and write its report; an interrupted run goes on where it stopped."""
    with quiet_stdout(), console.progress_bars(shown=not json) as progress:
        from proxyaudit.evidence.pack import read_pack
        from proxyaudit.pipeline import run_audit

        given = (*(overrides or ()), *(("signatures=true",) if signatures else ()))
        more: dict[str, Any] = {"jobs": jobs, "backend": backend.value, "fresh": fresh, "consent": Consent.of(run_code or ())}
        result = run_audit(recipe, overrides=given, out=out, progress=progress, **more)
        pack = read_pack(result.folder)
    show_audit(result.folder, pack, reused=result.reused, json=json, sentences=False)
    if result.status != "complete":
        for failure in pack.environment.get("failures", ()):
            console.warn(f"proxyaudit: failed: {failure}")
        console.warn("proxyaudit: the run is partial; run the same command again to try what failed once more")
        raise typer.Exit(ProxyauditError.exit_code)
