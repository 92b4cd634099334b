"""The command ``controls``: parse, call, print."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from proxyaudit.cli import console
from proxyaudit.cli.options import Json, Many, MaybePath, RunFolder, given, write_results

if TYPE_CHECKING:
    from proxyaudit.controls.claims import FrameworkClaims

EXAMPLE = "Example:  proxyaudit controls reports/my-audit --framework eu-ai-act --framework own.yaml --oscal results.json"
_FRAMEWORK = "Name of a framework, or a file (YAML) of your own; may be given several times (default: all that come along)."


def controls(
    run: RunFolder,
    framework: Annotated[Many, given(_FRAMEWORK, "NAME|FILE")] = None,
    oscal: Annotated[MaybePath, given("Write OSCAL assessment results (JSON).", "FILE", env="OSCAL")] = None,
    json: Json = False,
) -> int:
    """Say which clauses of laws and standards a run supports evidence for, and which not; exit code 5 if the run is partial, else 0."""
    from proxyaudit.controls.claims import claims, controls_supported
    from proxyaudit.controls.framework import find_frameworks, shipped_frameworks
    from proxyaudit.controls.oscal import assessment_results
    from proxyaudit.evidence.canonical import canonical_json
    from proxyaudit.reporting.sections.policy import settled_words
    from proxyaudit.verification.run import read_verified

    notes: list[str] = []
    pack = read_verified(run, notes)
    found = claims(pack, find_frameworks(framework) if framework else shipped_frameworks())
    if oscal is not None:
        _write(oscal, canonical_json(assessment_results(pack, found)))
    told = pack.evidence.run
    if json:
        head = {"run": told.name, "run_id": told.id, "plan_digest": told.plan_digest, "status": told.status, "notes": notes}
        console.emit_json({**head, "findings": controls_supported(pack, found), "frameworks": [one.as_dict() for one in found]})
    else:
        _show(found, settled_words(pack.evidence))
        for note in notes:
            console.write_line(f"Note: {note}")
    return 0 if told.status == "complete" else 5


def _write(path: Path, data: bytes) -> None:
    write_results({path: data}, where=f"--oscal {path}", what="file", inside="write it elsewhere")


def _show(found: Sequence["FrameworkClaims"], settled: str) -> None:
    from proxyaudit.reporting.sections.policy import NO_VERDICT, answer_words, head_words

    console.write_line(NO_VERDICT)
    for one in found:
        console.write_line()
        console.write_line(f"{one.framework.title}: evidence for {len(one.told)} of {len(one.clauses)} clauses ({settled})")
        console.write_line(f"  {head_words(one)}")
        if not one.applies:
            console.write_line(f"  Does not apply: {one.why_not}.")
            continue
        for clause in one.clauses:
            console.write_line(f"  {clause.clause}: {clause.asks}")
            for said in clause.supported:
                console.write_line(f"    + Supports evidence for {said.evidence_for}.")
                for line in answer_words(said):
                    console.write_line(f"      {line}")
            for lacking in clause.unsupported:
                console.write_line(f"    - No evidence for {lacking.evidence_for}: {lacking.why}.")
            console.write_line(f"    Not covered: {clause.not_covered}")
