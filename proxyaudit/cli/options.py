"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["RunCode"]

RunCode = Annotated[
    list[str] | None,
    typer.Option(
        "--run-code",
        metavar="FILE@sha256:HASH",
        envvar="PROXYAUDIT_RUN_CODE",
        help="Code that may be executed; may be given several times. 'any' for a recipe of one's own; of a pack only the hash counts.",
    ),
]
