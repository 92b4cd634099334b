"""The command ``probe``: parse, call, print."""

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from proxyaudit.cli import console
from proxyaudit.cli.options import (
    CacheRoot,
    Jobs,
    Json,
    Many,
    MaybePath,
    Name,
    Out,
    Seed,
    check_margins,
    given,
    kept_results,
    quiet_stdout,
    show_audit,
)
from proxyaudit.errors import InputError, check_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxyaudit.activations.stored import Stored
    from proxyaudit.audits.probe.stored import Found

EXAMPLE = "Example:  proxyaudit probe --activations real=acts.safetensors --labels people.csv --attribute sex"


class Pool(StrEnum):
    """Ways to make one vector of a row's tokens."""

    mean = "mean"
    last = "last"
    first = "first"


_WHAT = "Activations of one regime: safetensors or numpy, a list of shards, or a folder with a file for each layer, batch or prompt."


def probe(
    activations: Annotated[list[str], given(_WHAT, "NAME=FILE")],
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
    pool: Annotated[Pool | None, given("How the vectors of a row's tokens become one.")] = None,
    mask: Annotated[MaybePath, given("Which tokens are tokens: a (rows, tokens) array of 0 and 1.", "FILE")] = None,
    memory: Annotated[
        float | None, given("Memory that the audit may take; rows beyond it are left out at random (default: 3).", "GB", env="MEMORY")
    ] = None,
    plan: Annotated[bool, given("Show rows, memory and time, whatever the size; measure nothing.", name="--plan")] = False,
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
    if memory is not None and not 1 <= memory < 1e6:
        raise InputError(f"{memory:g} GB are too little memory, or no number", where="--memory", mend="give 1 or more")
    with kept_results(cache), quiet_stdout(), console.progress_bars(shown=not json) as progress:
        from proxyaudit.audits.probe.inputs import ProbeRequest
        from proxyaudit.audits.probe.run import plan_files, probe_files
        from proxyaudit.recipe.recipe import Margins

        margins = Margins(leak=leak_margin, nonlinear=nonlinear_margin)
        crossed = tuple(tuple(name.strip() for name in one.split(",")) for one in intersection or ())
        request = ProbeRequest(
            tuple(attribute), real, group, tuple(condition_on or ()), margins, seed, name, untrained, crossed, tuple(recipient or ())
        )
        request = replace(request, pool=None if pool is None else pool.value, mask=None if mask is None else str(mask), memory=memory)
        if not plan:
            folder, pack, reused = probe_files(activations, labels, request, out=out, jobs=jobs, progress=progress, cache_root=cache)
        else:
            found = plan_files(activations, labels, request)
    if plan:
        _show_plan(found, json=json)
    else:
        show_audit(folder, pack, reused=reused, json=json)


def _show_plan(found: "Found", *, json: bool) -> None:
    size = found.size
    if json:
        notes = [note.model_dump(mode="json") for note in found.remarks]
        console.emit_json({"size": size.as_dict(), "sites": {name: list(one.sites) for name, one in found.layouts.items()}, "notes": notes})
        return
    console.write_line("Plan of a probe: nothing was measured and nothing was written.")
    rows = [(name, f"{len(one.sites)}", *_shape(one.sites)) for name, one in found.layouts.items()]
    console.show_table(("Activations", "Sites", "Shape of the first", "On disk"), rows)
    some = "all of them" if size.rows == size.stored_rows else f"{size.rows:,} drawn at random, with --memory {size.budget:g}"
    facts = [
        ("Rows", f"{size.stored_rows:,}; {some}"),
        ("Linear tests", "on these rows"),
        ("All other tests", "on these rows" if size.fewer is None else f"on {size.fewer:,} of them, drawn at random"),
        ("Memory", f"about {size.memory:.1f} GB for each process that measures; {size.workers} of them at a time in {size.budget:g} GB"),
        ("Time", f"about {size.minutes:,.0f} minutes on one core" if size.minutes >= 1.5 else "about a minute on one core"),
    ]
    console.show_table(("What", "Value"), facts)
    for note in found.remarks:
        console.write_line(f"{note.what}: {note.why}")


def _shape(sites: "Mapping[str, Stored]") -> tuple[str, str]:
    first, size = next(iter(sites.values())), sum(site.bytes for site in sites.values())
    shape = " x ".join(f"{length:,}" for length in first.parts[0].shape)
    return shape, f"{size / 1e9:,.1f} GB" if size > 1e8 else f"{size / 1e6:,.1f} MB"
