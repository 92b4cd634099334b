"""Commands in processes of their own, which are copies of one that has imported what commands need: each costs a moment."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


def run_all(folder: Path, commands: Mapping[str, Sequence[str]], variables: Mapping[str, Mapping[str, str]]) -> dict[str, Ended]:
    """How each command line of proxyaudit ends that is called by its name, one after the other, with ``variables`` by the same names."""
    folder.mkdir(parents=True, exist_ok=True)
    asked = json.dumps([str(folder), {name: [list(given), dict(variables.get(name, {}))] for name, given in commands.items()}])
    # Code that comes with models is copied there before it is executed.
    own = {**os.environ, "HF_HOME": str(folder / "models")}
    done = subprocess.run([sys.executable, __file__, asked], env=own, capture_output=True, text=True, check=True)
    codes: dict[str, int] = json.loads(done.stdout)
    return {name: Ended(code, *((folder / f"{name}.{end}").read_text() for end in ("out", "err"))) for name, code in codes.items()}


def _serve(folder: str, commands: dict[str, tuple[list[str], dict[str, str]]]) -> dict[str, int]:
    import proxyaudit.audits.plan
    import proxyaudit.pipeline.measure  # noqa: F401
    from proxyaudit.cli.main import main

    with contextlib.suppress(ImportError):
        import transformers  # noqa: F401

    codes = {}
    for name, (given, variables) in commands.items():
        child = os.fork()
        if child == 0:
            for number, end in ((1, "out"), (2, "err")):
                os.dup2(os.open(f"{folder}/{name}.{end}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
            sys.argv = ["proxyaudit", *given]
            os.environ.update(variables)
            sys.path += [variables["PYTHONPATH"]] if "PYTHONPATH" in variables else []
            code = main()
            sys.stdout.flush()
            os._exit(code)
        codes[name] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return codes


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_serve(*json.loads(sys.argv[1]))))
