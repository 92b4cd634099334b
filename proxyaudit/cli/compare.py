"""The command ``compare``: parse, call, print."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument

from proxyaudit.cli import console
from proxyaudit.cli.options import Json, Many, MaybePath, given, write_results

if TYPE_CHECKING:
    from proxyaudit.comparison.outcomes import Comparison

EXAMPLE = "Example:  proxyaudit compare reports/my-audit/1f3a reports/my-audit/9c0d --regime vendor-a=vendor-b --out comparison"
_RUN = "a run folder, or a folder with one complete run below it."


def compare(
    run_a: Annotated[Path, Argument(metavar="RUN_A", help=f"The run compared with (before): {_RUN}")],
    run_b: Annotated[Path, Argument(metavar="RUN_B", help="The run judged (after); may be RUN_A itself, with --regime.")],
    regime: Annotated[Many, given("Regime of RUN_A and that of RUN_B that belong together; only these are compared.", "A=B")] = None,
    attribute: Annotated[Many, given("Attribute to look at; may be given several times (default: all).", "NAME")] = None,
    out: Annotated[MaybePath, given("Write comparison.html, comparison.md and comparison.json there.", "DIR", env="COMPARE_OUT")] = None,
    change: Annotated[
        list[Path] | None, given("Folder of 'mitigate' or 'cure' whose record is cited, if it lies elsewhere.", "DIR")
    ] = None,
    json: Json = False,
) -> int:
    """Say what changed between two audits or model versions; exit code 1 if B is worse, 3 if it cannot be told, else 0."""
    from proxyaudit.comparison.compare import compare_packs
    from proxyaudit.comparison.matching import paired_by_changes
    from proxyaudit.evidence.canonical import canonical_json
    from proxyaudit.evidence.pack import find_run
    from proxyaudit.evidence.receipts import sums_purged
    from proxyaudit.keeping.changes import cited_changes
    from proxyaudit.reporting.comparison import comparison_page
    from proxyaudit.reporting.html import page_html
    from proxyaudit.reporting.markdown import page_markdown
    from proxyaudit.verification.run import read_verified

    notes: list[str] = []
    before, after = read_verified(run_a, notes), read_verified(run_b, notes)
    cited, said = cited_changes(after, (run_a, run_b), change or ())
    # What a change was made of, and what it made, belong together: a guess by names could pair others.
    pairs = tuple(regime or ()) or paired_by_changes(before, after, cited)
    purged = [name for name, run in (("A", run_a), ("B", run_b)) if sums_purged(find_run(run))]
    found = compare_packs(before, after, pairs, tuple(attribute or ()), purged)
    found = replace(found, notes=(*found.notes, *dict.fromkeys(notes), *said), changes=cited)
    files: dict[Path, bytes] = {}
    if out is not None:
        page = comparison_page(found)
        texts = {"comparison.html": page_html(page), "comparison.md": page_markdown(page)}
        files = {out / name: text.encode("utf-8", "replace") for name, text in texts.items()}
        files[out / "comparison.json"] = canonical_json(found.as_dict())
        write_results(files, where=f"--out {out}", what="folder", inside="name another folder")
    if json:
        console.emit_json({**found.as_dict(), "files": [str(path) for path in files]})
    else:
        _show(found)
        for path in files:
            console.write_line(f"Written: {path}")
    return found.exit_code


def _show(found: "Comparison") -> None:
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
    for change in found.prominence:
        console.write_line(f"Prominence: {change.text}.")
    for note in found.notes:
        console.write_line(f"Note: {note}")
