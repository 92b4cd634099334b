"""A gate's answers: frozen values, their JSON form, and JUnit XML, the format that build servers show as tests."""

import re
from dataclasses import asdict, dataclass
from typing import Any, Literal
from xml.etree import ElementTree

Outcome = Literal["pass", "fail", "undecided"]
# What XML 1.0 cannot hold even escaped, and marks that would turn the reading direction of a build log.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufffe\uffff\ud800-\udfff]")


@dataclass(frozen=True)
class GateCase:
    """The answer for one attribute in one regime, or for one attribute against the baseline."""

    kind: Literal["verdict", "baseline"]
    attribute: str
    regime: str
    verdict: str  # for the baseline the outcome of the comparison
    at_least: str | None  # what is certain of an inconclusive verdict
    allowed: tuple[str, ...]  # verdicts that the policy allows here
    outcome: Outcome
    reason: str
    detail: str = ""  # the finding's own sentence, or the comparison's reasons


@dataclass(frozen=True)
class GateResult:
    """What a gate decided of a run."""

    run: str
    run_id: str
    plan_digest: str
    status: str
    cases: tuple[GateCase, ...]
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """5 where a task of the run failed, 1 where the policy is not met, 3 where that cannot be told, else 0."""
        if self.status != "complete":
            return 5
        found = {case.outcome for case in self.cases}
        return 1 if "fail" in found else 3 if "undecided" in found or not self.cases else 0

    @property
    def outcome(self) -> str:
        """The same as a word."""
        return {0: "pass", 1: "fail", 3: "undecided", 5: "partial"}[self.exit_code]

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"outcome": self.outcome, "exit_code": self.exit_code, **asdict(self)}


def junit(result: GateResult) -> bytes:
    """One test case for each attribute and regime: a failure where the policy is not met, an error where it cannot be told."""
    suite = _suite(f"proxyaudit gate {result.run}", len(result.cases) + (result.status != "complete"))
    for case in result.cases:
        suffix = " against the baseline" if case.kind == "baseline" else ""
        element = _case(suite, f"{result.run}.{case.regime}", f"{case.attribute}{suffix}")
        if case.outcome != "pass":
            kind = case.verdict if case.kind == "verdict" else f"baseline {case.verdict}"
            _say(element, "failure" if case.outcome == "fail" else "error", kind, case.reason, case.detail)
        else:
            ElementTree.SubElement(element, "system-out").text = _clean(f"{case.reason}. {case.detail}".strip())
    if result.status != "complete":
        element = _case(suite, f"{result.run}.run", "complete")
        _say(element, "error", "partial", "the run is partial: a task failed", "run the same recipe again, then decide")
    return _document(suite)


def integrity_junit(run: str, problem: str) -> bytes:
    """A single error: the run was changed after it was written, so nothing in it was judged."""
    suite = _suite("proxyaudit gate", 1)
    _say(_case(suite, run, "integrity"), "error", "integrity", problem, "")
    return _document(suite)


def _suite(name: str, tests: int) -> ElementTree.Element:
    return ElementTree.Element("testsuite", {"name": _clean(name), "tests": str(tests), "failures": "0", "errors": "0", "skipped": "0"})


def _case(suite: ElementTree.Element, where: str, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(suite, "testcase", {"classname": _clean(where), "name": _clean(name), "time": "0"})


def _say(case: ElementTree.Element, tag: str, kind: str, message: str, text: str) -> None:
    ElementTree.SubElement(case, tag, {"type": _clean(kind), "message": _clean(message)}).text = _clean(text)


def _document(suite: ElementTree.Element) -> bytes:
    for tag, counter in (("failure", "failures"), ("error", "errors")):
        suite.set(counter, str(len(suite.findall(f"testcase/{tag}"))))
    suites = ElementTree.Element("testsuites", {key: suite.get(key, "0") for key in ("tests", "failures", "errors", "skipped")})
    suites.append(suite)
    ElementTree.indent(suites)
    document: bytes = ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _clean(text: str) -> str:
    return _FORBIDDEN.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text)
