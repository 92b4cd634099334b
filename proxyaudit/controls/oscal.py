"""Claims as OSCAL assessment results (NIST, JSON): observations with their evidence, and never a finding that a control is satisfied."""

import datetime
from collections.abc import Sequence
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from proxyaudit.controls.claims import ClauseClaim, FrameworkClaims, Supported
from proxyaudit.controls.framework import comes_along
from proxyaudit.digests import digest_of
from proxyaudit.errors import InputError
from proxyaudit.evidence.pack import EvidencePack, run_date

OSCAL_VERSION = "1.2.1"
_NAMES = "urn:proxyaudit:oscal"  # namespace of our properties
_OWN = "A framework of the reader's own; it does not come with proxyaudit. "
_REMARKS = (
    "Observations say what the run supports evidence for. OSCAL's findings know 'satisfied' and 'not-satisfied' only; no audit of this "
    "kind can say either of a clause, so there are none."
)


def assessment_results(pack: EvidencePack, found: Sequence[FrameworkClaims]) -> dict[str, Any]:
    """An OSCAL assessment-results document: a result for each framework that applies. The same pack gives the same document.

    ``InputError`` if the run does not say when it was made, or no framework applies: OSCAL has no document for that.
    """
    run, date = pack.evidence.run, _moment(pack)
    told = [one for one in found if one.applies]
    if not told:
        raise InputError("no framework applies to this run", where="--oscal", mend="name another --framework, or leave --oscal out")
    key = f"{run.plan_digest} {digest_of([one.as_dict() for one in found], default=str)}"
    plan = _uuid(key, "plan")
    title = f"What audit {_line(run.name)} (run {_line(run.id)}) supports evidence for"
    metadata = {"title": title, "last-modified": date, "version": _line(run.plan_digest), "oscal-version": OSCAL_VERSION}
    resource = {
        "uuid": plan,
        "title": "Plan of the audit",
        "description": "What was asked, fixed before anything was measured. There is no OSCAL assessment plan beside it.",
        "rlinks": [{"href": "plan.json", "media-type": "application/json"}],
    }
    return {
        "assessment-results": {
            "uuid": _uuid(key, "document"),
            "metadata": {**metadata, "remarks": _REMARKS},
            "import-ap": {"href": f"#{plan}"},
            "results": [_result(one, key, date) for one in told],
            "back-matter": {"resources": [resource]},
        }
    }


def _result(one: FrameworkClaims, key: str, date: str) -> dict[str, Any]:
    about = one.framework
    selection = {
        "description": f"Clauses of {about.title}, version {about.version} as of {about.as_of.isoformat()}",
        "include-controls": [{"control-id": _control(one, clause)} for clause in one.clauses],
    }
    missing = [f"{c.clause}, {u.evidence_for}: {u.why}." for c in one.clauses for u in c.unsupported]
    seen = [_observation(one, clause, said, key, date) for clause in one.told for said in clause.supported]
    return {
        "uuid": _uuid(key, about.name),
        "title": about.title,
        "description": f"{about.source}. {'' if comes_along(about) else _OWN}Clauses without an observation are not supported by this run.",
        "start": date,
        "reviewed-controls": {"control-selections": [selection]},
        **({"observations": seen} if seen else {}),
        **({"remarks": f"No evidence for: {' '.join(missing)}"} if missing else {}),
    }


def _observation(one: FrameworkClaims, clause: ClauseClaim, said: Supported, key: str, date: str) -> dict[str, Any]:
    answers = [
        {"name": "verdict", "ns": _NAMES, "value": about.verdict, "remarks": _line(f"{about.attribute} in {about.regime}")}
        for about in said.findings
    ]
    numbers = {"href": "evidence.json", "description": f"Estimates and controls {', '.join(map(_line, said.ids))}"}
    left = [f"Not by {_line(f'{other.attribute} in {other.regime}')}: {other.why}." for other in said.left]
    return {
        "uuid": _uuid(key, f"{_control(one, clause)} {said.evidence_for}"),
        "title": clause.clause,
        "description": f"Supports evidence for {said.evidence_for}. Does not cover: {clause.not_covered}",
        "props": [{"name": "control-id", "ns": _NAMES, "value": _control(one, clause)}, *answers],
        "methods": ["TEST"],
        "relevant-evidence": [numbers if said.ids else {"href": "plan.json", "description": "The plan of the audit"}],
        "collected": date,
        **({"remarks": " ".join(left)} if left else {}),
    }


def _control(one: FrameworkClaims, clause: ClauseClaim) -> str:
    return f"{one.framework.name}.{clause.id}"


def _uuid(key: str, name: str) -> str:
    return str(uuid5(NAMESPACE_URL, f"{_NAMES} {key} {name}"))


def _moment(pack: EvidencePack) -> str:
    """When the run was made, with its time zone."""
    try:
        date = datetime.datetime.fromisoformat(run_date(pack.environment))
    except ValueError:
        date = None
    if date is None or date.tzinfo is None:
        raise InputError("the run does not say when it was made, which OSCAL asks for", where="--oscal", mend="leave --oscal out")
    return date.astimezone(datetime.UTC).isoformat(timespec="seconds")


def _line(text: str) -> str:
    """A text from data as one line that is not empty."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split()) or "-"
