"""Command ``report``: renders a run again from its evidence alone, and puts its section into a model card."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from proxyaudit.cli import console
from proxyaudit.cli.options import Json, Many, MaybePath, Mlflow, RunFolder, given, track_run, write_results
from proxyaudit.errors import InputError

if TYPE_CHECKING:
    from proxyaudit.evidence.pack import EvidencePack

EXAMPLE = (
    "Example:  proxyaudit report reports/my-audit --model-card README.md --regime vendor\n\n"
    "A run of somebody else:  proxyaudit report delivered --out fresh"
)


def report(
    folder: RunFolder,
    model_card: Annotated[
        MaybePath, given("Put the findings into this Hugging Face model card; made if missing.", "FILE", env="MODEL_CARD")
    ] = None,
    regimes: Annotated[
        Many, given("Kind of training that the card's model had; may be given several times (default: all).", "NAME", name="--regime")
    ] = None,
    out: Annotated[MaybePath, given("Write the pages there, every word anew; leave the run alone.", "DIR", env="REPORT_OUT")] = None,
    mlflow: Mlflow = None,
    json: Json = False,
) -> None:
    """Verify a run and render its report again from its evidence alone; with --model-card also write its section of a model card."""
    from proxyaudit.attestation.signing import covered
    from proxyaudit.evidence.pack import find_run, replace_reports
    from proxyaudit.reporting.html import render_html
    from proxyaudit.reporting.markdown import render_markdown
    from proxyaudit.tracking import tracking_client
    from proxyaudit.verification.checks import reworded
    from proxyaudit.verification.run import read_verified

    if regimes and model_card is None:
        raise InputError("only a model card is about chosen regimes", where="--regime", mend="give --model-card FILE as well")
    client = None if mlflow is None else tracking_client(mlflow)
    notes: list[str] = []
    run_folder = find_run(folder)
    pack = read_verified(run_folder, notes, strict=False, pages=False)
    pack = pack if out is None else reworded(pack)
    card = None if model_card is None else _card(model_card, pack, regimes or [], run_folder)
    pages = {"report.html": render_html(pack), "report.md": render_markdown(pack)}
    if out is None:
        changed = replace_reports(run_folder, pages)
    else:
        files = {out / name: text.encode("utf-8", "replace") for name, text in pages.items()}
        write_results(files, where=f"--out {out}", what="folder", inside="name a folder outside of any run")
        changed = False
    if model_card is not None and card is not None:
        try:
            model_card.write_text(card, encoding="utf-8", newline="")
        except OSError as error:
            mend = "check its folder and permissions"
            raise InputError(f"the card cannot be written ({error.strerror})", where=str(model_card), mend=mend) from None
    path = (out or run_folder) / "report.html"
    for note in notes:
        console.warn(f"proxyaudit: {note}")
    if changed and not covered(run_folder):
        console.warn("proxyaudit: the run was signed before: its signatures no longer cover these pages; 'proxyaudit sign' signs them anew")
    tracked = {} if client is None else track_run(run_folder, pack, client)
    if json:
        told = {"model_card": str(model_card)} if model_card is not None else {}
        console.emit_json({"folder": str(run_folder), "report": str(path), "changed": changed, **told, **tracked})
        return
    console.write_line(str(path))
    if model_card is not None:
        console.write_line(str(model_card))
    if out is None:
        console.warn("proxyaudit: the report was rendered again" if changed else "proxyaudit: the report was up to date")


def _card(path: Path, pack: "EvidencePack", regimes: list[str], run_folder: Path) -> str:
    from proxyaudit.files import read_file
    from proxyaudit.limits import MOST_PAGE
    from proxyaudit.reporting.model_card import update_card

    if path.resolve().is_relative_to(run_folder.resolve()):
        raise InputError("a card inside the run would change the run", where=str(path), mend="name a file outside its folder")
    try:
        content = read_file(path, MOST_PAGE).decode("utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError):
        raise InputError("the card cannot be read as text", where=str(path), mend="name a Markdown file in UTF-8") from None
    return update_card(content, pack, regimes)
