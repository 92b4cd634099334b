"""The command ``probe``: parse, call, print."""

from pathlib import Path
from typing import Annotated

from proxyaudit.cli import console
from proxyaudit.cli.options import (
    CacheRoot,
    Jobs,
    Json,
    Many,
    Name,
    Out,
    Seed,
    check_margins,
    given,
    kept_results,
    quiet_stdout,
    show_audit,
)
from proxyaudit.errors import check_name

EXAMPLE = "Example:  proxyaudit probe --activations real=acts.safetensors --labels people.csv --attribute sex"


def probe(
    activations: Annotated[list[str], given("Activations of one regime: safetensors with one (n, d) tensor per site.", "NAME=FILE")],
    labels: Annotated[Path, given("CSV or parquet of the same rows in the same order.", "FILE")],
    attribute: Annotated[list[str], given("Sensitive column; may be given several times.", "COL")],
    real: Annotated[str | None, given("Regime that the others are compared with.", "NAME")] = None,
    untrained: Annotated[str | None, given("Regime of the same network before training.", "NAME")] = None,
    group: Annotated[str | None, given("Rows that belong together: person, author.", "COL")] = None,
    intersection: Annotated[Many, given("Attributes asked together, e.g. sex,race; may be given several times.", "COL,COL")] = None,
    condition_on: Annotated[Many, given("Column that legitimately explains the attribute.", "COL")] = None,
    leak_margin: Annotated[float, given("Linear leak that matters.", env="LEAK_MARGIN")] = 0.02,
    nonlinear_margin: Annotated[float, given("Non-linear leak that matters.", env="NONLINEAR_MARGIN")] = 0.10,
    recipient: Annotated[
        Many, given("Age recipient who may open the restricted files (age1...); may be given several times.", "AGE")
    ] = None,
    seed: Seed = 0,
    name: Name = "probe",
    out: Out = Path("reports"),
    cache: CacheRoot = None,
    jobs: Jobs = None,
    json: Json = False,
) -> None:
    """Audit bare activations of your own model: is the attribute still in them?"""
    check_margins(leak_margin=leak_margin, nonlinear_margin=nonlinear_margin)
    check_name(name)
    with kept_results(cache), quiet_stdout(), console.progress_bars(shown=not json) as progress:
        from proxyaudit.audits.probe.inputs import ProbeRequest
        from proxyaudit.audits.probe.run import probe_files
        from proxyaudit.recipe.recipe import Margins

        margins = Margins(leak=leak_margin, nonlinear=nonlinear_margin)
        crossed = tuple(tuple(name.strip() for name in one.split(",")) for one in intersection or ())
        request = ProbeRequest(
            tuple(attribute), real, group, tuple(condition_on or ()), margins, seed, name, untrained, crossed, tuple(recipient or ())
        )
        folder, pack, reused = probe_files(activations, labels, request, out=out, jobs=jobs, progress=progress, cache_root=cache)
    show_audit(folder, pack, reused=reused, json=json)
