"""A gate's answer as a signer states it: in the words of in-toto's test results."""

import hashlib
from pathlib import Path

from proxyaudit.attestation.statements import Result, TestResult
from proxyaudit.digests import file_digest
from proxyaudit.evidence.canonical import canonical_json
from proxyaudit.gating.decide import GateCase, GateResult
from proxyaudit.gating.policy import Policy

# A partial run, on which nothing is decided, is no pass, and nothing that more evidence of this run could settle.
_RESULTS: dict[int, Result] = {0: "PASSED", 3: "WARNED", 1: "FAILED", 5: "FAILED"}


def policy_digest(path: Path | None, policy: Policy) -> str:
    """SHA-256 of a policy's file, as ``sha256sum`` prints it; of the default policy that of its canonical JSON."""
    return file_digest(path) if path is not None else hashlib.sha256(canonical_json(asked(policy))).hexdigest()


def asked(policy: Policy) -> dict[str, object]:
    """A policy as it was understood, as JSON."""
    found: dict[str, object] = policy.model_dump(mode="json", exclude_none=True)
    return found


def test_result(decided: GateResult, policy: Policy, digest: str) -> TestResult:
    """What a gate decided, every answer by name."""
    names = {outcome: tuple(_name(case) for case in decided.cases if case.outcome == outcome) for outcome in ("pass", "undecided", "fail")}
    failed = names["fail"] + (("the run is complete",) if decided.status != "complete" else ())
    return TestResult(_RESULTS[decided.exit_code], names["pass"], names["undecided"], failed, digest, asked(policy))


def _name(case: GateCase) -> str:
    return f"{case.kind}: {f'{case.measure} of ' if case.measure else ''}{case.attribute} in {case.regime}"
