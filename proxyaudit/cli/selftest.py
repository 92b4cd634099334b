"""The command ``selftest``: parse, call, print."""

from __future__ import annotations

from typing import Annotated

import typer

from proxyaudit.cli import console
from proxyaudit.cli.options import Jobs, Json, Seed, quiet_stdout

EXAMPLE = "Example:  proxyaudit selftest --quick"


def selftest(
    quick: Annotated[
        bool, typer.Option("--quick", envvar="PROXYAUDIT_QUICK", help="A dozen small worlds and ten models, minutes.")
    ] = False,
    worlds: Annotated[
        int, typer.Option(min=1, envvar="PROXYAUDIT_WORLDS", help="Present and absent worlds each (half as many at the margin).")
    ] = 200,
    models: Annotated[int, typer.Option(min=0, envvar="PROXYAUDIT_MODELS", help="Planted models of each of ten kinds.")] = 20,
    seed: Seed = 0,
    jobs: Jobs = None,
    json: Json = False,
) -> None:
    """Audit planted worlds and models with known truth: confusion matrix and rate of false "removed"; exit code 1 if it fails."""
    with quiet_stdout(), console.progress_bars(shown=not json) as progress:
        from proxyaudit.audits.selftest.run import run_selftest

        counts = {"present": worlds, "margin": worlds // 2, "absent": worlds, "models": models}
        result = run_selftest(quick=quick, **counts, seed=seed, jobs=jobs, progress=progress)
    if json:
        console.emit_json(result.as_dict())
    else:
        console.show_selftest(result)
    if not result.passed:
        raise typer.Exit(1)
