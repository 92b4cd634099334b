"""The command ``probe``: parse, call, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from proxyaudit.cli import console
from proxyaudit.cli.options import Jobs, Json, Many, Name, Out, Seed, check_margins, check_name, quiet_stdout, show_audit

EXAMPLE = "Example:  proxyaudit probe --activations real=acts.safetensors --labels people.csv --attribute sex"


def probe(
    activations: Annotated[
        list[str], Option(metavar="NAME=FILE", help="Activations of one regime: safetensors with one (n, d) tensor per site.")
    ],
    labels: Annotated[Path, Option(metavar="FILE", help="CSV or parquet of the same rows in the same order.")],
    attribute: Annotated[list[str], Option(metavar="COL", help="Sensitive column; may be given several times.")],
    real: Annotated[str | None, Option(metavar="NAME", help="Regime that the others are compared with.")] = None,
    group: Annotated[str | None, Option(metavar="COL", help="Rows that belong together: person, author.")] = None,
    condition_on: Annotated[Many, Option(metavar="COL", help="Column that legitimately explains the attribute.")] = None,
    leak_margin: Annotated[float, Option(envvar="PROXYAUDIT_LEAK_MARGIN", help="Linear leak that matters.")] = 0.02,
    nonlinear_margin: Annotated[float, Option(envvar="PROXYAUDIT_NONLINEAR_MARGIN", help="Non-linear leak that matters.")] = 0.10,
    seed: Seed = 0,
    name: Name = "probe",
    out: Out = Path("reports"),
    jobs: Jobs = None,
    json: Json = False,
) -> None:
    """Audit bare activations of your own model: is the attribute still in them?"""
    check_margins(leak_margin=leak_margin, nonlinear_margin=nonlinear_margin)
    check_name(name)
    with quiet_stdout(), console.progress_bars(shown=not json) as progress:
        from proxyaudit.audits.probe.inputs import ProbeRequest
        from proxyaudit.audits.probe.run import probe_files
        from proxyaudit.recipe.recipe import Margins

        margins = Margins(leak=leak_margin, nonlinear=nonlinear_margin)
        request = ProbeRequest(tuple(attribute), real, group, tuple(condition_on or ()), margins, seed, name)
        folder, pack, reused = probe_files(activations, labels, request, out=out, jobs=jobs, progress=progress)
    show_audit(folder, pack, reused=reused, json=json)
