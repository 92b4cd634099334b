"""What findings are evidence for stands in evidence.json, is checked, hangs on no seal, and is missing from older packs without harm."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

import proxyaudit.controls.claims as rules
import proxyaudit.verification.checks as checks
from proxyaudit.controls.claims import claims, with_controls
from proxyaudit.controls.framework import shipped_frameworks
from proxyaudit.evidence.pack import EvidencePack, read_pack, write_pack
from proxyaudit.evidence.schema import committed_schema
from proxyaudit.publication import publish
from proxyaudit.reporting.html import render_html
from proxyaudit.reporting.markdown import render_markdown
from proxyaudit.verification.checks import clause_problems, reworded
from proxyaudit.verification.run import verify_folder

EXAMPLE = Path(__file__).parents[2] / "reports" / "example-text"


def with_clauses(pack: EvidencePack, *clauses: tuple[str, ...] | None) -> EvidencePack:
    """The pack with other clauses in its first findings."""
    findings = list(pack.evidence.findings)
    for place, told in enumerate(clauses):
        findings[place] = findings[place].model_copy(update={"controls_supported": told})
    return replace(pack, evidence=pack.evidence.model_copy(update={"findings": tuple(findings)}))


@pytest.fixture(scope="module")
def pack() -> EvidencePack:
    return with_controls(read_pack(EXAMPLE))


def clauses(pack: EvidencePack, place: int = 0) -> tuple[str, ...]:
    told = pack.evidence.findings[place].controls_supported
    assert told
    return told


def test_every_finding_names_clauses_that_there_are(pack: EvidencePack) -> None:
    known = {f"{framework.name}.{clause.id}" for framework in shipped_frameworks() for clause in framework.clauses}
    for place in range(len(pack.evidence.findings)):
        assert set(clauses(pack, place)) <= known
    jsonschema.validate(pack.evidence.model_dump(mode="json"), committed_schema())
    assert list(clause_problems(pack)) == []


@pytest.mark.parametrize("kind", ["one more", "one less", "none", "of another"])
def test_other_clauses_are_found(pack: EvidencePack, kind: str) -> None:
    own = clauses(pack)
    other = {"one more": (*own, "eu-ai-act.art-10-5"), "one less": own[1:], "none": (), "of another": tuple(reversed(own))}[kind]
    assert len(list(clause_problems(with_clauses(pack, other)))) == 1


def test_older_packs_name_none(pack: EvidencePack) -> None:
    older = with_clauses(pack, *[None] * len(pack.evidence.findings))
    assert list(clause_problems(older)) == []
    assert all(finding.controls_supported is None for finding in reworded(older).evidence.findings)
    assert reworded(with_clauses(pack, ())).evidence.findings[0].controls_supported == clauses(pack)


def test_no_byte_hangs_on_a_seal(pack: EvidencePack, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sum(len(clause.supported) for one in claims(pack, shipped_frameworks()) for clause in one.clauses)
    monkeypatch.setattr(rules, "named_seal", lambda _: object())
    monkeypatch.setattr(rules, "deviations", lambda *_: [])
    assert sum(len(clause.supported) for one in claims(pack, shipped_frameworks()) for clause in one.clauses) > before
    assert with_controls(pack).evidence == pack.evidence


@pytest.mark.parametrize("forged", [False, True])
@pytest.mark.parametrize("same", [False, True])
def test_verify_tells_them_again(pack: EvidencePack, forged: bool, same: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "same_code", lambda _: same)
    folder = tmp_path / pack.evidence.run.name / pack.evidence.run.id
    folder.mkdir(parents=True)
    if forged:
        told = with_clauses(pack, ("eu-ai-act.art-10-5",))
        write_pack(told, folder, reports={"report.html": render_html(told), "report.md": render_markdown(told)})
    else:
        assert publish(read_pack(EXAMPLE), folder).evidence == pack.evidence
    found = next(check for check in verify_folder(folder).checks if check.name == "clauses")
    assert found.state == {(True, True): "failed", (True, False): "skipped"}.get((forged, same), "passed")
