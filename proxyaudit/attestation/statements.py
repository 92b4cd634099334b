"""What is signed: in-toto statements (v1) over every file of a run, one with the gate's outcome, one with the verdicts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from proxyaudit.evidence.canonical import canonical_json, parse_json
from proxyaudit.evidence.changes import ChangeRecord, change_claims
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.evidence.seal import named_seal

PAYLOAD = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
VERDICTS = "urn:proxyaudit:verdicts:0.1"  # what it means is told in the guide 'evidence'
CHANGE = "urn:proxyaudit:change:0.1"
KINDS = {TEST_RESULT: "the gate's outcome", VERDICTS: "the verdicts"}
Result = Literal["PASSED", "WARNED", "FAILED"]
_ANSWERS = ("passedTests", "warnedTests", "failedTests")


@dataclass(frozen=True)
class TestResult:
    """What a gate decided, in the words of in-toto: every answer by name, and the policy by its digest."""

    __test__ = False  # no test, whatever its name

    result: Result
    passed: tuple[str, ...]
    warned: tuple[str, ...]  # what could not be told
    failed: tuple[str, ...]
    policy: str  # sha256
    asked: dict[str, Any]  # the policy itself, as it was understood


@dataclass(frozen=True)
class Statement:
    """A statement that was read: of which files, of which kind, and what it says."""

    subjects: dict[str, str]  # sha256 by name
    kind: str
    says: dict[str, Any]


def make_statements(hashes: Mapping[str, str], pack: EvidencePack, decided: TestResult) -> list[bytes]:
    """Both statements about a run whose manifest lists ``hashes``. The same run and policy give the same bytes, whoever signs them."""
    digest = pack.evidence.run.plan_digest
    configuration = [{"name": "plan", "digest": {"sha256": digest}}, {"name": "policy", "digest": {"sha256": decided.policy}}]
    tests = {"passedTests": decided.passed, "warnedTests": decided.warned, "failedTests": decided.failed}
    outcome = {"result": decided.result, "configuration": configuration, **tests}
    verdicts = {**claims(pack), "policy": {"sha256": decided.policy, "asked": decided.asked}}
    return [make_statement(hashes, TEST_RESULT, outcome), make_statement(hashes, VERDICTS, verdicts)]


def policy_of(statement: Statement) -> str | None:
    """The digest of the policy that a statement about a run goes by; ``None`` where it names none."""
    if statement.kind == TEST_RESULT:
        return _configured(statement.says).get("policy")
    policy = statement.says.get("policy")
    digest = policy.get("sha256") if isinstance(policy, Mapping) else None
    return digest if isinstance(digest, str) else None


def outcome_faults(says: Mapping[str, Any], plan_digest: str) -> list[str]:
    """What contradicts itself, or the run, in a stated outcome: other tools read nothing else of an attestation."""
    found = [] if _configured(says).get("plan") == plan_digest else ["the signed outcome is about another plan"]
    answers = [says.get(key) for key in _ANSWERS]
    if not all(isinstance(one, list) and all(isinstance(name, str) for name in one) for one in answers):
        return [*found, "the signed outcome does not list its answers"]
    _, undecided, failed = answers
    decided = "FAILED" if failed else "WARNED" if undecided or not any(answers) else "PASSED"
    return found if says.get("result") == decided else [*found, f"the signed outcome is not {decided}, as its own answers say"]


def _configured(says: Mapping[str, Any]) -> dict[str, str]:
    """Digests by name of what an outcome rests on; nothing where one is given twice, or is none."""
    listed = says.get("configuration")
    found: dict[str, str] = {}
    for one in listed if isinstance(listed, list) else ():
        digest = one.get("digest") if isinstance(one, Mapping) else None
        name, sha256 = (one.get("name"), digest.get("sha256")) if isinstance(digest, Mapping) else (None, None)
        if not isinstance(name, str) or not isinstance(sha256, str) or name in found:
            return {}
        found[name] = sha256
    return found


def make_change_statement(hashes: Mapping[str, str], record: ChangeRecord) -> list[bytes]:
    """The statement about a change record and every file beside it, whose manifest lists ``hashes``."""
    return [make_statement(hashes, CHANGE, change_claims(record))]


def claims(pack: EvidencePack) -> dict[str, Any]:
    """What a statement of the verdicts repeats of a run."""
    evidence, seal = pack.evidence, named_seal(pack.environment)
    told = ("attribute", "role", "regime", "verdict", "at_least")
    return {
        "run": {"id": evidence.run.id, "name": evidence.run.name, "status": evidence.run.status},
        "plan_digest": evidence.run.plan_digest,
        "schema_version": evidence.schema_version,
        "margins": pack.plan.get("margins"),
        "seal": None if seal is None else seal.sha256,
        "verdicts": [{key: getattr(finding, key) for key in told} for finding in evidence.findings],
    }


def read_statement(payload: bytes) -> Statement:
    """A statement from its bytes; ``ValueError`` says in a line what it is not."""
    try:
        document = parse_json(payload)
    except RecursionError:
        raise ValueError("a statement is nested too deeply") from None
    if not isinstance(document, dict) or set(document) != {"_type", "subject", "predicateType", "predicate"}:
        raise ValueError("a statement has not just _type, subject, predicateType and predicate")
    if document["_type"] != STATEMENT or not isinstance(document["predicateType"], str) or not isinstance(document["predicate"], dict):
        raise ValueError("a statement is not one of in-toto, version 1")
    subjects: dict[str, str] = {}
    for one in document["subject"] if isinstance(document["subject"], list) else [None]:
        fits = isinstance(one, dict) and set(one) == {"name", "digest"} and isinstance(one["name"], str) and one["name"] not in subjects
        digest = one["digest"] if isinstance(one, dict) and fits else None
        if one is None or not (isinstance(digest, dict) and set(digest) == {"sha256"} and isinstance(digest["sha256"], str)):
            raise ValueError("a statement does not name each file once, with its sha256")
        subjects[one["name"]] = digest["sha256"]
    return Statement(subjects, document["predicateType"], document["predicate"])


def make_statement(hashes: Mapping[str, str], kind: str, says: Mapping[str, Any]) -> bytes:
    """A statement of a kind over files by their digests."""
    subject = [{"name": name, "digest": {"sha256": hashes[name]}} for name in sorted(hashes)]
    return canonical_json({"_type": STATEMENT, "subject": subject, "predicateType": kind, "predicate": dict(says)})
