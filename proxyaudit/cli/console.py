"""What the command line shows: tables for people, one JSON document for machines, progress on a terminal. Imports rich only to draw."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proxyaudit.audits.selftest.run import SelfTest
    from proxyaudit.reporting.summary import Summary

_WIDE = 200


def emit_json(document: Any) -> None:
    """Write one JSON document to standard output."""
    from proxyaudit.evidence.canonical import canonical_json
    from proxyaudit.reporting.text import escaped

    _write(sys.stdout, escaped(canonical_json(document).decode("utf-8")))


def write_line(text: str = "") -> None:
    """Write one line to standard output; characters that could steer a terminal are shown as code points."""
    _write(sys.stdout, _safe(text) + "\n")


def warn(text: str) -> None:
    """Write one line to standard error."""
    _write(sys.stderr, _safe(text) + "\n")
    sys.stderr.flush()


def show_table(header: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = "") -> None:
    """Draw a table on standard output."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, title=Text(_safe(title)) if title else None, title_justify="left", pad_edge=False)
    for name in header:
        table.add_column(Text(name), overflow="fold")
    for row in rows:
        # Text, not markup: a column named "[red]" stays what it is.
        table.add_row(*(Text(_safe(str(cell))) for cell in row))
    # Into a file or pipe a table is as wide as it needs to be, without colour.
    (Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=_WIDE, no_color=True)).print(table)


def show_findings(summary: "Summary") -> None:
    """Draw the answer of a run, at most 100 columns wide: for each attribute and kind of training what training did, then a sentence."""
    from proxyaudit.reporting.terminal import found_lines, found_table

    header, rows = found_table(summary)
    show_table(header, rows, title=summary.question)
    for line in found_lines(summary):
        write_line(line)


def show_selftest(result: "SelfTest") -> None:
    """Draw the confusion matrix of a self-test and the rates that matter."""
    verdicts = ("exposed", "hidden", "removed", "inconclusive")
    words = {"present": "2 to 10 x the margin", "margin": "exactly the margin", "absent": "nothing there"}
    rows = [(words[part], expected, *(counts.get(verdict, 0) for verdict in verdicts)) for part, expected, counts in result.confusion()]
    show_table(("Truth", "Expected", *verdicts), rows, title=f"{len(result.cases)} planted worlds, seed {result.seed}")
    if result.models:
        from proxyaudit.audits.selftest.run import model_confusion

        rows = [(k.replace("_", " "), e, *(v.get(verdict, 0) for verdict in verdicts)) for k, e, v in model_confusion(result.models)]
        show_table(("Model", "Expected", *verdicts), rows, title=f"{len(result.models)} planted models")
    for name, rate in result.rates().items():
        if rate["of"]:
            write_line(f"{name}: {rate['count']} of {rate['of']} (at most {rate['upper_95']:.1%} with 95 % confidence)")
    write_line("passed" if result.passed else "FAILED")


@contextlib.contextmanager
def progress_bars(*, shown: bool) -> Iterator[Callable[[Any], None]]:
    """Give a callback for progress events, shown on standard error: a bar on a terminal, elsewhere lines that come on time."""
    from proxyaudit.cli.pace import Lines, Pace, alive

    if not shown or not sys.stderr.isatty():
        lines = Lines(lambda text: warn(f"proxyaudit: {text}"))
        with alive(lines):
            yield lines.take
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.text import Text

    pace = Pace()

    class Left(ProgressColumn):
        """Time left, by the pace of the work so far."""

        def render(self, task: Task) -> Text:
            return Text(pace.left_words())

    first, last = (TextColumn(what, markup=False) for what in ("{task.description}", "{task.fields[detail]}"))
    columns = first, BarColumn(bar_width=24), TaskProgressColumn(), TimeElapsedColumn(), Left(), last
    with Progress(*columns, console=Console(stderr=True)) as progress:
        # One bar for the whole run: it counts the work of all stages.
        bar = progress.add_task("prepare", total=None, detail="")

        def draw(event: Any) -> None:
            pace.take(event)
            stage, detail = _safe(event.stage), _safe(event.detail)
            progress.update(bar, description=stage, completed=event.done, total=event.total or None, detail=detail)

        yield draw


def _odds(power: float) -> str:
    return "over 99 %" if power > 0.99 else "under 1 %" if power < 0.01 else f"{power:.0%}"


NOTES = 6  # of a plan that are shown unasked


def plan_tables(plan: Mapping[str, Any], *, sealed: bool = False, all_notes: bool = False) -> None:
    """Draw a plan: what would be trained and measured, what it costs, and its digest."""
    from proxyaudit.cli.speed import slowness
    from proxyaudit.names import in_short
    from proxyaudit.reporting.facts import look_words, margin_words, repetition_words

    slow = slowness()
    time = f"{_minutes(slow * plan['estimated_minutes'])} on two cores of this machine that do nothing else"
    rows, target, sites = plan["rows"], plan["target"], plan["sites"]
    write_line(f"Plan of {plan['name']}: nothing was run and nothing was written{' but the seal' if sealed else ''}.")
    saw = {r["name"]: {True: "yes", False: "no"}.get(r.get("sees_protected"), "-") for r in plan["regimes"]}
    regimes = [(r["name"], r["kind"], r.get("training_rows") or "-", saw.get(r.get("of") or r["name"], "-")) for r in plan["regimes"]]
    show_table(("Training data", "Kind", "Rows", "Synthesizer sees protected"), regimes)
    write_line(f"References: {', '.join(map(str, plan['references']))}")
    levels = [", ".join(map(str, a.get("levels", ()))) or "-" for a in plan["attributes"]]
    attributes = [(a["name"], a["role"], a["kind"], shown) for a, shown in zip(plan["attributes"], levels, strict=True)]
    show_table(("Attribute", "Role", "Kind", "Levels"), attributes)
    facts = [
        ("Target", f"{target['name']}: {_predicted(target)}"),
        ("Rows", f"{rows['train']} real for training, {rows['audit']} real for the audit; {rows['training_size']} per model"),
        ("Model inputs", f"{len(plan['columns'])} encoded columns"),
        ("Verdict read at", ", ".join(map(str, sites["verdict"]))),
        ("Places read", in_short(sites["profile"], len(sites["profile"]))),
        ("Margins", margin_words(plan)),
        ("Repetitions", f"{repetition_words(plan)}, root seed {plan['seed']}"),
        *([("Looks", looks)] if (looks := look_words(plan)) else []),
        ("Cost", f"{plan['tasks']} tasks{_trials(plan)}, {plan['cells']} measurements per kind of training"),
        ("Time", f"{time}{_at_most(plan, slow) if looks else ''}"),
    ]
    show_table(("What", "Value"), facts)
    if plan.get("odds"):
        write_line("How probable is each verdict, over all checks, where it is the right one? Else the answer stays open.")
        header = ("Attribute", "Removed: it is gone", "Hidden: inside at twice the margin, unused", "Exposed: acts at twice the margin")
        odds = [(o["attribute"], *(_odds(o[verdict]) for verdict in ("removed", "hidden", "exposed")), o["weakest"]) for o in plan["odds"]]
        show_table((*header, "Stays open most often by"), odds)
        write_line("Where the inputs carry an attribute, the first layers pass it on: then do not expect 'removed'.")
    notes = plan["notes"] if all_notes else plan["notes"][:NOTES]
    for note in notes:
        write_line(f"Note: {note['what']}: {note['why']}")
    if more := len(plan["notes"]) - len(notes):
        write_line(
            f"And {more} more note{'' if more == 1 else 's'}: --all-notes shows {'it' if more == 1 else 'them'}, and so does --json."
        )
    write_line(f"Run id: {plan['run_id']}")
    write_line(f"Plan digest: {plan['digest']}")


def _predicted(target: Mapping[str, Any]) -> str:
    """What is predicted; of two classes, which one the scores speak for: the last."""
    classes = [str(name) for name in target["classes"]]
    if "task" in target:
        return "the number itself ('data.target_threshold' cuts it into two classes)"
    if "labels" in target or len(classes) != 2:
        return ", ".join(classes)
    return f"{', '.join(classes)}; scores and gaps are for '{classes[-1]}' ('data.target_positive' can name the other)"


def _trials(plan: Mapping[str, Any]) -> str:
    return f", then about {plan['trials']} models to try cures ('cures: false' leaves them out)" if plan.get("trials") else ""


def _minutes(number: float) -> str:
    # What starts and ends a run takes half a minute by itself.
    return "about a minute" if number < 1.1 else f"about {round(number, 1 if number < 10 else None):g} minutes"


def _at_most(plan: Mapping[str, Any], slow: float) -> str:
    return f", {_minutes(slow * plan['repetitions']['minutes_at_most'])} if every kind of training goes on to its last look"


def _safe(text: str) -> str:
    from proxyaudit.reporting.text import visible

    return visible(text)


def _write(stream: Any, text: str) -> None:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "replace").decode(encoding))
