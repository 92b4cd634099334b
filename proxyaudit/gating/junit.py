"""The answer of a gate as JUnit XML, as build servers read it."""

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from proxyaudit.gating.decide import GateResult

# What XML 1.0 cannot hold even escaped, and marks that would turn the reading direction of a build log.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufffe\uffff\ud800-\udfff]")


def junit(result: GateResult) -> bytes:
    """One test case for each attribute and regime: a failure where the policy is not met, an error where it cannot be told."""
    cases = []
    for case in result.cases:
        where, name, kind = f"{result.run}.{case.regime}", case.attribute, case.verdict
        if case.kind == "baseline":
            name, kind = f"{name} against the baseline", f"baseline {kind}"
        elif case.kind == "training":
            name, kind = f"what training did to {name}", f"training {kind}"
        elif case.kind == "selection":
            name, kind = f"{case.measure} of {name}", f"{case.measure} {kind}"
        elif case.kind == "expected":
            name = f"the {case.regime} that was expected"
        if case.outcome == "pass":
            cases.append(_test_case(where, name, "system-out", f"{case.reason}. {case.detail}".strip()))
        else:
            cases.append(
                _test_case(where, name, "failure" if case.outcome == "fail" else "error", case.detail, type=kind, message=case.reason)
            )
    for left in result.not_judged:
        where = f"{result.run}.{left.regime}"
        cases.append(_test_case(where, left.attribute, "skipped", "", message=f"not judged; found: {left.verdict}"))
    if result.status != "complete":
        what = {"type": "partial", "message": "the run is partial: a task failed"}
        cases.append(_test_case(f"{result.run}.run", "complete", "error", "run the same recipe again, then decide", **what))
    return _document(f"proxyaudit gate {result.run}", cases)


def refused_junit(run: str, why: str, problem: str) -> bytes:
    """A single error: the run was changed after it was written (``integrity``) or is ``stale``, so nothing in it was judged."""
    return _document("proxyaudit gate", [_test_case(run, why, "error", "", type=why, message=problem)])


def _test_case(where: str, name: str, tag: str, text: str, **said: str) -> ElementTree.Element:
    case = ElementTree.Element("testcase", {"classname": _clean(where), "name": _clean(name), "time": "0"})
    ElementTree.SubElement(case, tag, {key: _clean(words) for key, words in said.items()}).text = _clean(text)
    return case


def _document(name: str, cases: Sequence[ElementTree.Element]) -> bytes:
    tags = ("failure", "error", "skipped")
    failures, errors, skipped = (str(sum(case.find(tag) is not None for case in cases)) for tag in tags)
    counts = {"tests": str(len(cases)), "failures": failures, "errors": errors, "skipped": skipped}
    suites = ElementTree.Element("testsuites", counts)
    ElementTree.SubElement(suites, "testsuite", {"name": _clean(name), **counts}).extend(cases)
    ElementTree.indent(suites)
    document: bytes = ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _clean(text: str) -> str:
    return _FORBIDDEN.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text)
