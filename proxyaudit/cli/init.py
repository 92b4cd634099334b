"""The command ``init``: a commented recipe to start from."""

from __future__ import annotations

from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from proxyaudit.cli import console
from proxyaudit.cli.options import Json
from proxyaudit.errors import InputError

EXAMPLE = "Example:  proxyaudit init recipe.yaml --template tabular"


class Template(StrEnum):
    """What ``init`` can write: recipes, and a script that calls ``probe``."""

    tabular = "tabular"
    release = "release"
    text = "text"
    activations = "activations"


def init(
    path: Annotated[
        Path | None, typer.Argument(metavar="PATH", help="File to write (default: recipe.yaml; probe.sh for activations).")
    ] = None,
    template: Annotated[
        Template, typer.Option(envvar="PROXYAUDIT_TEMPLATE", help="tabular runs as it is; the others need your files.")
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
