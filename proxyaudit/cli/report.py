"""Command ``report``: renders a run again from its evidence alone, and puts its section into a model card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from proxyaudit.cli import console
from proxyaudit.cli.options import Json, Many, MaybePath, RunFolder
from proxyaudit.errors import InputError

if TYPE_CHECKING:
    from proxyaudit.evidence.pack import EvidencePack

EXAMPLE = "Example:  proxyaudit report reports/my-audit --model-card README.md --regime vendor"


def report(
    folder: RunFolder,
    model_card: Annotated[
        MaybePath,
        Option(metavar="FILE", envvar="PROXYAUDIT_MODEL_CARD", help="Put the findings into this Hugging Face model card; made if missing."),
    ] = None,
    regimes: Annotated[
        Many,
        Option("--regime", metavar="NAME", help="Kind of training that the card's model had; may be given several times (default: all)."),
    ] = None,
    json: Json = False,
) -> None:
    """Render a run's report again from its evidence alone; with --model-card also write its section of a model card."""
    from proxyaudit.evidence.pack import REPORT_FILES, find_run, read_pack, replace_reports
    from proxyaudit.reporting.html import render_html
    from proxyaudit.reporting.markdown import render_markdown

    if regimes and model_card is None:
        raise InputError("only a model card is about chosen regimes", where="--regime", mend="give --model-card FILE as well")
    run_folder = find_run(folder)
    pack = read_pack(run_folder, skip=REPORT_FILES)
    card = None if model_card is None else _card(model_card, pack, regimes or [], run_folder)
    changed = replace_reports(run_folder, {"report.html": render_html(pack), "report.md": render_markdown(pack)})
    if model_card is not None and card is not None:
        try:
            model_card.write_text(card, encoding="utf-8", newline="")
        except OSError as error:
            mend = "check its folder and permissions"
            raise InputError(f"the card cannot be written ({error.strerror})", where=str(model_card), mend=mend) from None
    path = run_folder / "report.html"
    if json:
        told = {"model_card": str(model_card)} if model_card is not None else {}
        console.emit_json({"folder": str(run_folder), "report": str(path), "changed": changed, **told})
        return
    console.write_line(str(path))
    if model_card is not None:
        console.write_line(str(model_card))
    console.warn("proxyaudit: the report was rendered again" if changed else "proxyaudit: the report was up to date")


def _card(path: Path, pack: EvidencePack, regimes: list[str], run_folder: Path) -> str:
    from proxyaudit.reporting.model_card import update_card

    if path.resolve().is_relative_to(run_folder.resolve()):
        raise InputError("a card inside the run would change the run", where=str(path), mend="name a file outside its folder")
    try:
        content = path.read_bytes().decode("utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError):
        raise InputError("the card cannot be read as text", where=str(path), mend="name a Markdown file in UTF-8") from None
    return update_card(content, pack, regimes)
