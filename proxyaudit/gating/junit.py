"""A gate's answers as JUnit XML, the format that build servers show as tests."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from proxyaudit.gating.values import GateCase, GateResult

__all__ = ["integrity_junit", "junit"]

# What XML 1.0 cannot hold even escaped, and marks that would turn the reading direction of a build log.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufffe\uffff\ud800-\udfff]")


def junit(result: GateResult) -> bytes:
    """One test case for each attribute and regime: a failure where the policy is not met, an error where it cannot be told."""
    suite = _suite(f"proxyaudit gate {result.run}", len(result.cases) + (result.status != "complete"))
    for case in result.cases:
        suffix = " against the baseline" if case.kind == "baseline" else ""
        element = _case(suite, f"{result.run}.{case.regime}", f"{case.attribute}{suffix}")
        if case.outcome != "pass":
            _say(element, "failure" if case.outcome == "fail" else "error", _kind(case), case.reason, case.detail)
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


def _kind(case: GateCase) -> str:
    return case.verdict if case.kind == "verdict" else f"baseline {case.verdict}"


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
