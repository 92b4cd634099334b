"""Options and answers that several commands share."""

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

from typer import Argument, Option

from proxyaudit.cli import console
from proxyaudit.errors import InputError

if TYPE_CHECKING:
    from proxyaudit.evidence.pack import EvidencePack


def given(help: str, metavar: str | None = None, *, name: str | None = None, env: str | None = None, **more: Any) -> Any:
    """An option of a command; ``name`` where it is not the parameter's, ``PROXYAUDIT_<env>`` the variable that can stand in for it."""
    names = () if name is None else (name,)
    return Option(*names, metavar=metavar, envvar=env and f"PROXYAUDIT_{env}", help=help, **more)


MaybePath = Path | None
Many = list[str] | None  # given several times, or not at all
Json = Annotated[bool, given("One JSON document on standard output, nothing else.", name="--json", env="JSON")]
Out = Annotated[Path, given("Folder of the results.", env="OUT")]
CacheRoot = Annotated[
    Path | None, given("Folder of kept results, which hold rows (default: the user's cache).", "DIR", name="--cache", env="CACHE")
]
Jobs = Annotated[int | None, given("Tasks at a time (default: one per core).", env="JOBS", min=1)]
Seed = Annotated[int, given("Root seed.", env="SEED", min=0)]
Name = Annotated[str, given("Name of the audit: its folder below --out.")]
Overrides = Annotated[Many, given("Override a key of the recipe, e.g. --set seeds=2.", "KEY=VALUE", name="--set")]
RecipeFile = Annotated[Path, Argument(metavar="RECIPE", help="The recipe (YAML).")]
RunFolder = Annotated[Path, Argument(metavar="RUN", help="A run folder, or a folder with one complete run below it.")]
Base = Annotated[MaybePath, given("Folder of the run's recipe, if its paths do not start from the current one.", "DIR")]
Root = Annotated[MaybePath, given("Root certificate of the authority that stamped the seal.", "FILE", name="--tsa-root", env="TSA_ROOT")]
_CODE = "Code that may be executed; may be given several times. 'any' for a recipe of one's own; of a pack only the hash counts."
Mlflow = Annotated[MaybePath, given("Put the run into this MLflow tracking folder, too.", "DIR", name="--mlflow", env="MLFLOW")]
RunCode = Annotated[Many, given(_CODE, "FILE@sha256:HASH", env="RUN_CODE")]


def check_margins(**margins: float) -> None:
    """Refuse a margin outside 0 to 1, naming its option."""
    for name, margin in margins.items():
        if not 0 < margin < 1:
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"{margin:g} is no margin", where=option, mend="give a number between 0 and 1")


def quiet_stdout() -> contextlib.redirect_stdout[TextIO]:
    """Send what libraries print to standard error: standard output is for results."""
    return contextlib.redirect_stdout(sys.stderr)


@contextlib.contextmanager
def kept_results(root: Path | None) -> Iterator[None]:
    """See that the folder of kept results can be used, and, however the command ends, that it does not grow without end."""
    from proxyaudit.cache import Cache, cache_folder
    from proxyaudit.keeping.room import make_room, most_bytes

    cache, _ = Cache(cache_folder(root)), most_bytes()
    try:
        yield
    finally:
        if removed := make_room(cache):
            console.warn(f"proxyaudit: {removed.words(cache.root)}")


def write_results(files: Mapping[Path, bytes], *, where: str, what: str, inside: str) -> None:
    """Write files of one folder, which no run may hold; ``inside`` says what to do where one does, ``what`` is a file or a folder."""
    from proxyaudit.evidence.manifest import MANIFEST
    from proxyaudit.files import write_file

    if any((parent / MANIFEST).exists() for path in files for parent in path.resolve().parents):
        raise InputError("a run folder takes no further files", where=where, mend=inside)
    try:
        for path, data in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, data)
    except OSError as error:
        raise InputError(f"the {what} cannot be written ({error.strerror})", where=where, mend=f"name another {what}") from None


def track_run(folder: Path, pack: "EvidencePack", client: Any) -> dict[str, str]:
    """Put a run into a tracking folder and say so; what the JSON of the command tells of it."""
    from proxyaudit.tracking import track

    found = track(pack, folder, client)
    what = "MLflow:" if found.new else "It was in MLflow already:"
    console.warn(f"proxyaudit: {what} experiment {found.experiment}, run {found.run}")
    return {"mlflow": found.run}


def show_audit(folder: Path, pack: "EvidencePack", *, reused: bool, json: bool, sentences: bool = True) -> None:
    """Print what an audit found and where it lies; a run that lay there already is verified first."""
    if reused:
        from proxyaudit.verification.run import read_verified

        notes: list[str] = []
        pack = read_verified(folder, notes, strict=False)
        for line in notes:
            console.warn(f"proxyaudit: {line}")
    evidence, report = pack.evidence, folder / "report.html"
    if json:
        findings = [finding.model_dump(mode="json") for finding in evidence.findings]
        head = {"folder": str(folder), "report": str(report), "status": evidence.run.status, "reused": reused}
        console.emit_json({**head, "run": evidence.run.model_dump(mode="json"), "findings": findings})
        return
    from proxyaudit.reporting.first import next_commands
    from proxyaudit.reporting.summary import summarize

    console.show_findings(summary := summarize(pack))
    for finding in evidence.findings if sentences else ():
        console.write_line(finding.sentence + (f" To settle it: {finding.would_settle}." if finding.would_settle else ""))
    console.write_line(f"Run:    {folder}" + ("  (nothing changed since it was made)" if reused else ""))
    console.write_line(f"Report: {report}")
    for index, (what, command) in enumerate(next_commands(summary, str(folder)) if evidence.run.status == "complete" else ()):
        console.write_line(f"{'Next:' if not index else '':8}{command}  ({what})")
