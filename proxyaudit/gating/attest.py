"""A gate's answer as a signer states it: in the words of in-toto's test results."""

from proxyaudit.attestation.statements import Result, TestResult
from proxyaudit.gating.decide import GateCase, GateResult
from proxyaudit.gating.policy import Policy, asked

# A partial run, on which nothing is decided, is no pass, and nothing that more evidence of this run could settle.
_RESULTS: dict[int, Result] = {0: "PASSED", 3: "WARNED", 1: "FAILED", 5: "FAILED"}


def test_result(decided: GateResult, policy: Policy, digest: str) -> TestResult:
    """What a gate decided, every answer by name."""
    names = {outcome: tuple(_name(case) for case in decided.cases if case.outcome == outcome) for outcome in ("pass", "undecided", "fail")}
    failed = names["fail"] + (("the run is complete",) if decided.status != "complete" else ())
    return TestResult(_RESULTS[decided.exit_code], names["pass"], names["undecided"], failed, digest, asked(policy))


def _name(case: GateCase) -> str:
    return f"{case.kind}: {f'{case.measure} of ' if case.measure else ''}{case.attribute} in {case.regime}"
