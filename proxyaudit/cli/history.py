"""The command ``history``: parse, call, print."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument

from proxyaudit.cli import console
from proxyaudit.cli.options import Json, MaybePath, given, write_results
from proxyaudit.errors import InputError, IntegrityError, ProxyauditError

if TYPE_CHECKING:
    from proxyaudit.reporting.history import History

EXAMPLE = "Example:  proxyaudit history reports/my-audit --out history.html"


def history(
    folder: Annotated[Path, Argument(metavar="DIR", help="A folder with runs below it.")],
    out: Annotated[MaybePath, given("Write one page (HTML) that needs no network.", "FILE", env="HISTORY_OUT")] = None,
    json: Json = False,
) -> int:
    """Show runs over time: verdicts, prominence, bounds, recorded changes; exit code 4 if a run or record was altered, else 0."""
    from proxyaudit.evidence.manifest import is_complete
    from proxyaudit.evidence.pack import list_runs
    from proxyaudit.keeping.changes import recorded_changes
    from proxyaudit.reporting.history import Left, history_of
    from proxyaudit.verification.run import read_verified

    runs = list_runs(folder)
    if not runs:
        raise InputError("no run below this folder", where=str(folder), mend="name the folder of an audit; 'proxyaudit ls' lists the runs")
    packs, left, notes, altered = [], [], list[str](), False
    for run in runs:
        name = run.relative_to(folder).as_posix() if run != folder else run.name
        if not is_complete(run) and not (run / "evidence.json").exists():
            left.append(Left(name, "it did not end"))
            continue
        try:
            packs.append(read_verified(run, notes, strict=False, pages=False))
        except ProxyauditError as error:
            altered = altered or isinstance(error, IntegrityError)
            left.append(Left(name, str(error).replace(str(run), name)))
    recorded, unread = recorded_changes(folder, packs)
    altered = altered or bool(unread)
    found = history_of(packs, [*left, *(Left(*one) for one in unread)], dict.fromkeys(notes), recorded)
    if out is not None:
        from proxyaudit.reporting.history_page import history_page
        from proxyaudit.reporting.html import page_html

        page = page_html(history_page(found)).encode("utf-8", "replace")
        write_results({out: page}, where=f"--out {out}", what="file", inside="write it elsewhere")
    if json:
        console.emit_json({**found.as_dict(), "file": None if out is None else str(out)})
    else:
        _show(found)
        if out is not None:
            console.write_line(f"Written: {out}")
    return IntegrityError.exit_code if altered else 0


def _show(found: "History") -> None:
    from proxyaudit.reporting.history import worsenings
    from proxyaudit.reporting.history_page import answer
    from proxyaudit.reporting.words import verdict_text

    for name, points in found.audits.items():
        worse: dict[int, list[str]] = {}
        for point, pair, words in worsenings(points):
            worse.setdefault(point.number, []).append(f"{pair[0]} in {pair[1]}: {words}")
        rows = []
        for point in points:
            verdicts = [f"{a} in {r}: {verdict_text(one.finding.verdict, one.finding.at_least)}" for (a, r), one in point.readings.items()]
            changed = ", ".join(point.changes.words) if point.changes else ""
            told = ("; ".join(verdicts), "; ".join(worse.get(point.number, [])))
            rows.append((point.number, point.date[:10], point.id, changed, *told))
        console.show_table(("Run", "Date", "Run id", "Changed", "Verdicts", "May be worse"), rows, title=name)
    if found.changes:
        recorded = [one.row() for one in found.changes]
        console.show_table(
            ("Change", "Of run", "What", "Gap", "Task", "Verdict", "Audited as", "Signed"), recorded, title="Recorded changes"
        )
    console.write_line(answer(found))
    for one in found.left:
        console.write_line(f"Left out: {one.folder}: {one.why}")
    for note in found.notes:
        console.write_line(f"Note: {note}")
