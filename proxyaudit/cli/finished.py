"""The commands that read finished runs: ``report``, ``compare``, ``gate`` and ``verify``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Exit, Option

from proxyaudit.cli import console
from proxyaudit.cli.console import Json, RunFolder, write_results
from proxyaudit.errors import InputError, IntegrityError

if TYPE_CHECKING:
    from proxyaudit.comparison.values import Comparison
    from proxyaudit.evidence.pack import EvidencePack

REPORT_EXAMPLE = "Example:  proxyaudit report reports/my-audit --model-card README.md --regime vendor"


def report(
    folder: RunFolder,
    model_card: Annotated[
        Path | None,
        Option(
            "--model-card",
            metavar="FILE",
            envvar="PROXYAUDIT_MODEL_CARD",
            help="Put the findings into this Hugging Face model card; made if missing.",
        ),
    ] = None,
    regimes: Annotated[
        list[str] | None,
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
    card = None if model_card is None else _card_text(model_card, pack, regimes or [], run_folder)
    changed = replace_reports(run_folder, {"report.html": render_html(pack), "report.md": render_markdown(pack)})
    if model_card is not None and card is not None:
        _write_card(model_card, card)
    path = run_folder / "report.html"
    if json:
        told = {"model_card": str(model_card)} if model_card is not None else {}
        console.emit_json({"folder": str(run_folder), "report": str(path), "changed": changed, **told})
        return
    console.write_line(str(path))
    if model_card is not None:
        console.write_line(str(model_card))
    console.warn("proxyaudit: the report was rendered again" if changed else "proxyaudit: the report was up to date")


def _card_text(path: Path, pack: EvidencePack, regimes: list[str], run_folder: Path) -> str:
    from proxyaudit.reporting.model_card import update_card

    if path.resolve().is_relative_to(run_folder.resolve()):
        raise InputError("a card inside the run would change the run", where=str(path), mend="name a file outside its folder")
    try:
        content = path.read_bytes().decode("utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError):
        raise InputError("the card cannot be read as text", where=str(path), mend="name a Markdown file in UTF-8") from None
    return update_card(content, pack, regimes)


def _write_card(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        mend = "check its folder and permissions"
        raise InputError(f"the card cannot be written ({error.strerror})", where=str(path), mend=mend) from None


COMPARE_EXAMPLE = "Example:  proxyaudit compare reports/my-audit/1f3a reports/my-audit/9c0d --regime vendor-a=vendor-b --out comparison"
_RUN = "a run folder, or a folder with one complete run below it."


def compare(
    run_a: Annotated[Path, Argument(metavar="RUN_A", help=f"The run compared with (before): {_RUN}")],
    run_b: Annotated[Path, Argument(metavar="RUN_B", help="The run judged (after); may be RUN_A itself, with --regime.")],
    regime: Annotated[
        list[str] | None,
        Option("--regime", metavar="A=B", help="Regime of RUN_A and that of RUN_B that belong together; only these are compared."),
    ] = None,
    attribute: Annotated[
        list[str] | None, Option("--attribute", metavar="NAME", help="Attribute to look at; may be given several times (default: all).")
    ] = None,
    out: Annotated[
        Path | None,
        Option(
            "--out", metavar="DIR", envvar="PROXYAUDIT_COMPARE_OUT", help="Write comparison.html, comparison.md and comparison.json there."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Say what changed between two audits or model versions; exit code 1 if B is worse, 3 if it cannot be told, else 0."""
    from proxyaudit.comparison.compare import compare_packs
    from proxyaudit.verification.run import read_verified

    notes: list[str] = []
    found = compare_packs(read_verified(run_a, notes), read_verified(run_b, notes), tuple(regime or ()), tuple(attribute or ()))
    found = replace(found, notes=(*found.notes, *dict.fromkeys(notes)))
    written = _write_comparison(found, out) if out is not None else []
    if json:
        console.emit_json({**found.as_dict(), "files": [str(path) for path in written]})
    else:
        _show_comparison(found)
        for path in written:
            console.write_line(f"Written: {path}")
    if found.exit_code:
        raise Exit(found.exit_code)


def _write_comparison(found: Comparison, out: Path) -> list[Path]:
    from proxyaudit.evidence.canonical import canonical_json
    from proxyaudit.reporting.comparison import comparison_html, comparison_markdown

    files = {
        out / "comparison.html": comparison_html(found).encode("utf-8", "replace"),
        out / "comparison.md": comparison_markdown(found).encode("utf-8", "replace"),
        out / "comparison.json": canonical_json(found.as_dict()),
    }
    write_results(files, where=f"--out {out}", what="folder", inside="name another folder")
    return list(files)


def _show_comparison(found: Comparison) -> None:
    from proxyaudit.reporting.comparison import OUTCOMES, answer
    from proxyaudit.reporting.words import verdict_text

    rows = []
    for pair in found.outcomes:
        regimes = pair.regime_a if pair.regime_a == pair.regime_b or not pair.regime_b else f"{pair.regime_a} → {pair.regime_b}"
        verdicts = verdict_text(pair.verdict_a, pair.at_least_a), verdict_text(pair.verdict_b, pair.at_least_b)
        outcome = OUTCOMES[pair.outcome]
        rows.append((pair.attribute, regimes, *verdicts, f"{outcome.symbol} {outcome.word}", "; ".join(pair.reasons[:6])))
    console.show_table(("Attribute", "Regime", "A, before", "B, after", "Outcome", "Why"), rows)
    console.write_line(answer(found))
    for note in found.notes:
        console.write_line(f"Note: {note}")


GATE_EXAMPLE = (
    "Example:  proxyaudit gate reports/my-audit --policy policy.yaml --junit gate.xml\n\n"
    "A policy:  {allow: [removed, hidden], inconclusive: undecided | fail | allow, attributes: [sex], regimes: [vendor], "
    "margins: {leak: 0.02}, baseline: reports/last-release, "
    "rules: [{attributes: [age], allow: [removed, hidden, exposed]}]}; every key may be left out."
)
_GATE_MARKS = {"pass": "✔ pass", "fail": "✘ fail", "undecided": "? undecided"}
_GATE_ANSWERS = {
    "pass": "The policy is met.",
    "fail": "The policy is not met.",
    "undecided": "Whether the policy is met cannot be told.",
    "partial": "The run is partial: nothing is decided.",
}


def gate(
    run: RunFolder,
    policy: Annotated[
        Path | None,
        Option(
            "--policy",
            metavar="FILE",
            envvar="PROXYAUDIT_POLICY",
            help="What must be met (YAML). Without it, every protected attribute must be 'removed' in every regime but 'real'.",
        ),
    ] = None,
    junit: Annotated[
        Path | None, Option("--junit", metavar="FILE", envvar="PROXYAUDIT_JUNIT", help="Write JUnit XML, one test for each answer.")
    ] = None,
    json: Json = False,
) -> None:
    """Decide for a pipeline: exit code 0 pass, 1 policy not met, 3 cannot be told, 4 the run was altered, 5 the run is partial."""
    from proxyaudit.gating import gate as decide
    from proxyaudit.gating.policy import Policy, load_policy
    from proxyaudit.gating.values import integrity_junit
    from proxyaudit.gating.values import junit as junit_xml
    from proxyaudit.verification.run import read_verified

    folder = policy.parent if policy is not None else Path()
    try:
        # Integrity first: of an altered run nothing is said, not even that the policy does not fit it.
        notes: list[str] = []
        pack = read_verified(run, notes)
        wanted = load_policy(policy) if policy is not None else Policy()
        result = decide(pack, wanted, lambda name: read_verified(folder / name, notes), where=str(policy or "policy"))
        result = replace(result, notes=(*result.notes, *notes))
    except IntegrityError as error:
        if junit is not None:
            _write_junit(junit, integrity_junit(str(run), str(error)))
        raise
    if junit is not None:
        _write_junit(junit, junit_xml(result))
    if json:
        console.emit_json({**result.as_dict(), "policy": wanted.model_dump(mode="json", exclude_none=True)})
    else:
        found = [(f"{c.verdict}, at least {c.at_least}" if c.at_least else c.verdict).replace("_", " ") for c in result.cases]
        rows = [(c.attribute, c.regime, what, _GATE_MARKS[c.outcome], c.reason) for c, what in zip(result.cases, found, strict=True)]
        console.show_table(("Attribute", "Regime", "Found", "Answer", "Why"), rows)
        console.write_line(_GATE_ANSWERS[result.outcome])
        for note in result.notes:
            console.write_line(f"Note: {note}")
    if result.exit_code:
        raise Exit(result.exit_code)


def _write_junit(path: Path, data: bytes) -> None:
    write_results({path: data}, where=f"--junit {path}", what="file", inside="write it elsewhere")


VERIFY_EXAMPLE = "Example:  proxyaudit verify reports/my-audit"
_CHECKED = {"passed": "ok", "failed": "FAILED", "skipped": "skipped"}
_VERIFIED = {
    "verified": "verified",
    "verified in part": "verified in part: what was not checked here may say anything",
    "altered": "NOT as it was written",
}
_VERIFY_CODES = {"verified": 0, "verified in part": 3, "altered": IntegrityError.exit_code}
_SHOWN = 8


def verify(
    run: Annotated[Path, Argument(metavar="RUN", help="A run folder (or one with a single run below it), or one of 'mitigate'.")],
    strict: Annotated[
        bool, Option("--strict", envvar="PROXYAUDIT_STRICT", help="Exit code 4 also where something could not be checked here.")
    ] = False,
    json: Json = False,
) -> None:
    """Recompute hashes and verdicts from the pack alone.

    Exit code 0 where everything was checked, 3 where something could not be checked here, 4 if a byte or a verdict was changed.
    """
    from proxyaudit.verification.run import find_folder, verify_folder

    found = verify_folder(find_folder(run))
    code = _VERIFY_CODES[found.outcome]
    code = IntegrityError.exit_code if code and strict else code
    if json:
        console.emit_json({**found.as_dict(), "exit_code": code})
    else:
        for check in found.checks:
            console.write_line(f"{_CHECKED[check.state]:<7}  {check.name}: {check.detail}")
        console.write_line(f"{found.folder}: {_VERIFIED[found.outcome]}")
    for check in found.checks:
        if check.state == "skipped":
            console.warn(f"proxyaudit: not checked: {check.name} ({check.detail})")
        for problem in check.problems[:_SHOWN]:
            console.warn(f"proxyaudit: {problem}")
        if len(check.problems) > _SHOWN:
            console.warn(f"proxyaudit: and {len(check.problems) - _SHOWN} more about {check.name} (--json has all)")
    if code:
        raise Exit(code)
