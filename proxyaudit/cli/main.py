"""The command line: parse, call, print. Imports nothing heavy before a command needs it."""

import contextlib
import io
import os
import sys
import traceback
from collections.abc import Sequence
from functools import cache, partial
from typing import Annotated, Any

import typer

from proxyaudit import fence
from proxyaudit.cli import compare, console, controls, cure, gate, history, lists, mitigate, probe, prompts, report, run, scan, sign, verify
from proxyaudit.cli.keeping import ACCESS_EXAMPLE, PURGE_EXAMPLE, access, purge
from proxyaudit.cli.options import given
from proxyaudit.cli.signals import as_interrupts
from proxyaudit.errors import InputError, ProxyauditError, machine_error, safe_line
from proxyaudit.garbage import collect_rarely
from proxyaudit.limits import MOST_TIMES, raised
from proxyaudit.registry import own_version

INTERRUPTED = 130
_LIMITS = "Read files so many times larger, deeper and longer than the limits allow; may stand behind the command."

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; every failure is one line on standard error."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in words or os.environ.get("PROXYAUDIT_JSON", "").lower() in ("1", "true", "yes", "on")
    _open_standard_streams()
    if arguments is None:  # the process is the command's own
        fence.own_process = partial(_end, as_json)
        collect_rarely()
    with as_interrupts():
        return _answered(words, as_json)


def _limits_first(arguments: list[str]) -> list[str]:
    """Arguments with the one option that all commands share before the command, wherever it was given."""
    words, first = list(arguments), []
    for word in arguments[: arguments.index("--")] if "--" in arguments else arguments:
        if word.split("=")[0] == "--limits":
            place = words.index(word)
            count = 1 if "=" in word else 2
            first += words[place : place + count]
            del words[place : place + count]
    return first + words


def _open_standard_streams() -> None:
    """See that there is something to print to, and that any text can be printed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed by the caller: else the next file that is opened would take its place
            os.open(os.devnull, os.O_RDWR)
    # Both stay open as long as the program runs.
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # where a sign is lacking another one stands for it


def _answered(words: list[str], as_json: bool) -> int:
    """Run a command and return its exit code."""
    try:
        code = _command()(_limits_first(words), prog_name="proxyaudit", standalone_mode=False)
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
        lacking = machine_error(error)
        if lacking is not None:
            _show_trace(error)
            return _fail(str(lacking), lacking.exit_code, as_json)
        return _fail(_internal(error), ProxyauditError.exit_code, as_json)
    if code == INTERRUPTED:
        return _fail("interrupted; run the same command again to go on from there", INTERRUPTED, as_json)
    return code if isinstance(code, int) else 0


@cache
def _command() -> Any:
    """The commands as they are parsed: made once, since that takes longer than many a command."""
    return typer.main.get_command(app)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and leave.", is_eager=True)] = False,
    limits: Annotated[float, given(_LIMITS, "FACTOR", name="--limits", env="LIMITS", min=1, max=MOST_TIMES)] = 1.0,
) -> None:
    context.with_resource(raised(limits))
    if version:
        console.write_line(f"proxyaudit {own_version().get('proxyaudit', '(not installed)')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        for line in context.get_help().splitlines():
            console.write_line(line)
        raise typer.Exit


app.command(epilog=run.INIT_EXAMPLE)(run.init)
app.command(epilog=run.PLAN_EXAMPLE)(run.plan)
for _module in (run, probe, report, mitigate, cure, compare, gate, verify, sign, controls, history, scan, prompts):
    app.command(epilog=_module.EXAMPLE)(getattr(_module, _module.__name__.rpartition(".")[2]))
app.add_typer(sign.keys, name="keys", epilog=sign.KEYS_EXAMPLE)
app.command(epilog=ACCESS_EXAMPLE)(access)
app.command(epilog=PURGE_EXAMPLE)(purge)
app.command(epilog=lists.SELFTEST_EXAMPLE)(lists.selftest)
app.command(name="ls", epilog="Example:  proxyaudit ls reports")(lists.list_runs)
app.command(epilog="Example:  proxyaudit datasets --json")(lists.datasets)
app.command(epilog="Example:  proxyaudit schema > evidence-schema.json")(lists.schema)
app.command(epilog="Example:  proxyaudit doctor")(lists.doctor)


def _reader_left() -> int:
    """The reader of our output left (head, less): no error of ours."""
    _print_nothing_more()
    return 0


def _print_nothing_more() -> None:
    """Let what is still to be flushed at exit go nowhere."""
    if sys.__stdout__ is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno())


def _usage(error: Exception) -> str:
    message = " ".join(str(error.format_message()).split())  # type: ignore[attr-defined]
    message = message.replace("): Value error, ", "): ").replace("): Input should", "): it should")  # Python's own words
    context: Any = getattr(error, "ctx", None)
    command = getattr(context, "command_path", None) or "proxyaudit"
    return f"{message.rstrip('.')}; see '{command} --help'"


def _end(as_json: bool, line: str) -> None:
    """End the process at once, whatever it is doing."""
    sys.stdout = sys.__stdout__ or sys.stdout  # a command may have turned it away
    code = _fail(line, InputError.exit_code, as_json)
    sys.stdout.flush()
    os._exit(code)


def _show_trace(error: BaseException) -> None:
    if os.environ.get("PROXYAUDIT_DEBUG"):
        traceback.print_exception(error)


def _internal(error: BaseException) -> str:
    _show_trace(error)
    return f"internal error: {safe_line(error, first=True)}; run with PROXYAUDIT_DEBUG=1 for the traceback"


def _fail(line: str, code: int, as_json: bool) -> int:
    try:
        if as_json:
            console.emit_json({"error": line, "exit_code": code})
        sys.stdout.flush()
    except OSError:  # standard output is full, or nobody reads it
        _print_nothing_more()
    with contextlib.suppress(OSError):
        console.warn(f"proxyaudit: {line}")
    return code


if __name__ == "__main__":
    sys.exit(main())
