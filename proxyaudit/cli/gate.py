"""The command ``gate``: parse, call, print, and answer with an exit code."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from proxyaudit.cli import console
from proxyaudit.cli.options import Json, MaybePath, Root, RunFolder, given, write_results
from proxyaudit.errors import IntegrityError, StaleError

EXAMPLE = (
    "Example:  proxyaudit gate reports/my-audit --policy policy.yaml --junit gate.xml\n\n"
    "A policy:  {allow: [removed, hidden], inconclusive: undecided | fail | allow, attributes: [sex], regimes: [vendor], "
    "margins: {leak: 0.02}, bound: {linear: 0.06}, training: [suppressed, left_alone], selection: {impact_ratio: 0.8}, "
    "baseline: reports/last-release, "
    "expect: {plan: 3f2a9c0d1b7e, data: [SHA256], model: [SHA256]}, sealed: true | plan, "
    "rules: [{attributes: [age], allow: [removed, hidden, exposed]}]}; every key may be left out."
)
_POLICY = (
    "What must be met (YAML). Without it, every protected attribute must be 'removed' in every regime but 'real', "
    "or in 'real' where the run has no other."
)
_MARKS = {"pass": "✔ pass", "fail": "✘ fail", "undecided": "? undecided"}
_ANSWERS = {
    "pass": "The policy is met.",
    "fail": "The policy is not met.",
    "undecided": "Whether the policy is met cannot be told.",
    "partial": "The run is partial: nothing is decided.",
}


def gate(
    run: RunFolder,
    policy: Annotated[MaybePath, given(_POLICY, "FILE", env="POLICY")] = None,
    junit: Annotated[MaybePath, given("Write JUnit XML, one test for each answer.", "FILE", env="JUNIT")] = None,
    signed_by: Annotated[
        list[Path] | None, given("Public key that must have signed the run, and a baseline; may be given several times.", "PUB")
    ] = None,
    tsa_root: Root = None,
    json: Json = False,
) -> int:
    """Decide for a pipeline: exit code 0 pass, 1 policy not met, 3 cannot be told, 4 the run was altered, 5 the run is partial."""
    from proxyaudit.attestation.trust import Trust, read_trust
    from proxyaudit.gating.decide import gate as decide
    from proxyaudit.gating.junit import junit as junit_xml
    from proxyaudit.gating.junit import refused_junit
    from proxyaudit.gating.policy import Policy, load_policy, policy_digest
    from proxyaudit.verification.run import read_verified

    folder, trust = policy.parent if policy is not None else Path(), read_trust(signed_by or (), tsa_root)
    try:
        # Integrity first: of an altered run nothing is said, not even that the policy does not fit it.
        notes: list[str] = []
        pack = read_verified(run, notes, trust=trust)
        wanted = load_policy(policy) if policy is not None else Policy()
        about = {"where": str(policy or "policy"), "digest": policy_digest(policy, wanted)}
        result = decide(pack, wanted, lambda name: read_verified(folder / name, notes, trust=Trust(trust.keys)), **about)
        result = replace(result, notes=(*result.notes, *notes))
    except (IntegrityError, StaleError) as error:
        if junit is not None:
            _write(junit, refused_junit(str(run), "integrity" if isinstance(error, IntegrityError) else "stale", str(error)))
        raise
    if junit is not None:
        _write(junit, junit_xml(result))
    if json:
        console.emit_json({**result.as_dict(), "policy": wanted.model_dump(mode="json", exclude_none=True)})
    else:
        found = [(f"{c.verdict}, at least {c.at_least}" if c.at_least else c.verdict).replace("_", " ") for c in result.cases]
        rows = [(c.attribute, c.regime, what, _MARKS[c.outcome], c.reason) for c, what in zip(result.cases, found, strict=True)]
        console.show_table(("Attribute", "Regime", "Found", "Answer", "Why"), rows)
        console.write_line(_ANSWERS[result.outcome])
        for note in result.notes:
            console.write_line(f"Note: {note}")
    return result.exit_code


def _write(path: Path, data: bytes) -> None:
    write_results({path: data}, where=f"--junit {path}", what="file", inside="write it elsewhere")
