"""Verify a folder of ``mitigate`` or ``cure``: bytes, figures against the audits beside it, the record made again, and who signed it."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from proxyaudit.attestation.trust import Trust
from proxyaudit.comparison.compare import channel_changes, task_change, verdict_changes
from proxyaudit.comparison.records import before_cure, record_of_cure, record_of_mitigation
from proxyaudit.digests import file_digest
from proxyaudit.errors import NAME, InputError, IntegrityError, ProxyauditError, located
from proxyaudit.evidence.canonical import canonical_json, parse_json
from proxyaudit.evidence.changes import CHANGE_FILE, CHANGE_PAGE, ChangeRecord, read_change
from proxyaudit.evidence.manifest import ATTESTATION, MANIFEST, read_manifest, rendering_digest
from proxyaudit.evidence.pack import CURE_FILE, MITIGATION_FILE, EvidencePack, read_pack
from proxyaudit.evidence.receipts import purged_files
from proxyaudit.evidence.tiers import AGE
from proxyaudit.files import read_file
from proxyaudit.reporting.change import render_change
from proxyaudit.reporting.mitigation import render_mitigation
from proxyaudit.verification.attestation import SIGNATURES, change_signatures
from proxyaudit.verification.beside import beside_checks
from proxyaudit.verification.checks import Check, Verification
from proxyaudit.verification.files import check_bytes, json_problems, manifest_document, safetensors_problems, yaml_problems

MITIGATION_PAGE, MITIGATED_RECIPE, CURED_RECIPE = "mitigation.md", "mitigated.yaml", "cured.yaml"
RECORD = "change record"
_OTHER_VERSION = "another version of proxyaudit, or of a package, wrote {}"
_WITHOUT = ("1.0",)  # versions of both documents that came without a record
_VERSIONS = ("1.0", "1.1", "1.2")  # of both documents that are read
_ID, _RUN_ID = re.compile(r"(?:mitigation-)?[0-9a-f]{12}"), re.compile(r"[0-9a-f]{12}")
RELEASE = "release.csv"
_ABSENT = "which does not lie where it was made"


def form_check(folder: Path, documents: Iterable[Path], recipe: Path, what: str) -> Check:
    """Whether files are in the one form in which they are written."""
    lines = [line for path in documents for line in json_problems(path)]
    lines += [line for path in sorted(folder.glob("*.safetensors")) for line in safetensors_problems(path)]
    return Check("form", f"canonical JSON, no key twice, no byte of {what} unaccounted for", [*lines, *yaml_problems(recipe)])


def verify_change(folder: Path, trust: Trust) -> Verification:
    """Check a folder of ``mitigate`` or ``cure``; the audits that it names are runs of their own.

    ``InputError``: a seal or a time stamp is asked for, which only runs have.
    """
    if trust.roots or trust.seal is not None:
        raise InputError("only runs are sealed", where=str(folder), mend="name a run folder, or leave the seal out")
    cured = (folder / CURE_FILE).is_file()
    kind, name, recipe = ("cure", CURE_FILE, CURED_RECIPE) if cured else ("mitigation", MITIGATION_FILE, MITIGATED_RECIPE)
    problems = check_bytes(folder, (CURE_FILE, CURED_RECIPE) if cured else (MITIGATION_FILE, MITIGATION_PAGE, MITIGATED_RECIPE), None)
    checks = [Check("files", f"{len(list(folder.iterdir()))} files against {MANIFEST}", problems)]
    if problems:
        return Verification(folder, "cure" if cured else "mitigation", tuple(checks))
    documents = [path for path in (folder / name, folder / CHANGE_FILE) if path.exists()]
    checks.append(form_check(folder, documents, folder / recipe, "a checkpoint"))
    document = parse_json(read_file(folder / name)) if not checks[-1].problems else None
    if isinstance(document, dict) and document.get(f"{kind}_version") not in _VERSIONS:
        told = f"{name} is of version {str(document.get(f'{kind}_version'))[:20]!r}, this proxyaudit reads {', '.join(_VERSIONS)}"
        checks.append(Check("content", name, [told]))
    elif isinstance(document, dict):
        try:
            rest = _of_cure(document, folder) if cured else _of_mitigation(document, folder)
            rest += _record(document, folder, record_of_cure if cured else record_of_mitigation, f"{kind}_version")
        except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
            rest = [Check("content", name, [f"{name} lacks what a {kind} holds ({' '.join(str(error).split())[:120]})"])]
        checks += rest
    return Verification(folder, "cure" if cured else "mitigation", (*checks, *_signatures(folder, trust), *beside_checks(folder, trust)))


def read_verified_change(folder: Path) -> ChangeRecord:
    """The record of a folder whose every byte, number and claim was checked as far as it can be; ``IntegrityError`` where one is wrong."""
    found = verify_change(folder, Trust())
    if found.problems:
        raise IntegrityError(f"{located(found.problems[0], folder)}; use an untouched copy")
    return read_change(folder)


def _signatures(folder: Path, trust: Trust) -> list[Check]:
    if not trust.keys and not (folder / ATTESTATION).exists():
        return []
    try:
        return [change_signatures(read_change(folder), folder, trust)]
    except IntegrityError as error:
        return [Check(SIGNATURES, ATTESTATION, [str(error)])]


def _record(document: Mapping[str, Any], folder: Path, make: Callable[[Mapping[str, Any], str], ChangeRecord], version: str) -> list[Check]:
    """Whether the record is what the figures give, and lies in the folder that it names."""
    if not (folder / CHANGE_FILE).exists():
        if document[version] in _WITHOUT and CHANGE_FILE not in read_manifest(folder)[0]:
            return [Check(RECORD, _OTHER_VERSION.format("this folder, without one"), skipped=True)]
        return [Check(RECORD, CHANGE_FILE, [f"{CHANGE_FILE} is missing"])]
    try:
        record = read_change(folder)
    except IntegrityError as error:
        return [Check(RECORD, CHANGE_FILE, [str(error)])]
    made, problems = make(document, record.id), []
    for key in ChangeRecord.model_fields:
        if getattr(made, key) != getattr(record, key):
            problems.append(f"{CHANGE_FILE}: {key} is not what the figures beside it give")
    own = folder.resolve().name
    if _ID.fullmatch(own) and own != record.id:
        problems.append(f"{CHANGE_FILE} is the record of {record.id[:40]!r}, and lies in the folder of another change")
    checks = [
        Check(
            RECORD,
            f"{len(record.measured) + len(record.side_effects)} numbers made again; mechanism and remaining risk are as stated",
            problems,
        )
    ]
    if not problems and manifest_document(folder).get("rendered_by") != rendering_digest():
        return [*checks, Check("record's page", _OTHER_VERSION.format("it"), skipped=True)]
    same = problems or (
        (folder / CHANGE_PAGE).is_file() and read_file(folder / CHANGE_PAGE) == render_change(record).encode("utf-8", "replace")
    )
    return [*checks, *([] if same else [Check("record's page", CHANGE_PAGE, [f"{CHANGE_PAGE} is not what {CHANGE_FILE} gives"])])]


def _of_cure(document: Mapping[str, Any], folder: Path) -> list[Check]:
    """The release, and what was promised against the run that tried it."""
    checks = [_release(document, folder)]
    source = document["source"]
    if not (NAME.fullmatch(str(source["name"])) and _RUN_ID.fullmatch(str(source["run_id"]))):
        return [*checks, Check("figures", CURE_FILE, [f"{CURE_FILE} names no run that it is about"])]
    found = _beside(folder.parent.parent / str(source["name"]) / str(source["run_id"]), str(source["run_id"]), str(source["plan_digest"]))
    if isinstance(found, Check):
        return [*checks, found]
    estimates, attribute, regime = found.evidence.estimates, str(document["attribute"]), str(document["regime"])
    tried = [e for e in estimates if (e.channel, e.attribute, e.regime, e.subject) == ("cure", attribute, regime, document["cure"])]
    figures = ("value", "low", "high")
    promised = {
        e.measure if e.site is None else f"{e.measure} at {e.site}": {**{k: getattr(e, k) for k in figures}, "models": e.seeds}
        for e in tried
    }
    finding = next((f for f in found.evidence.findings if (f.attribute, f.regime) == (attribute, regime)), None)
    said = {"promised": promised, "verdict": None if finding is None else finding.verdict}
    said |= {"before": before_cure(estimates, attribute, regime)} if "before" in document else {}
    plain, told = parse_json(canonical_json(said)), {**document, "verdict": document.get("verdict", said["verdict"])}
    wrong = [f"{CURE_FILE}: {key} is not that of run {source['run_id']}" for key in plain if plain[key] != told[key]]
    return [*checks, Check("figures", f"{len(promised)} numbers against run {source['run_id']}", wrong)]


def _release(document: Mapping[str, Any], folder: Path) -> Check:
    """The release, by its digest in the manifest: it lies there, open or encrypted, or a receipt accounts for it.

    No path of the document is followed: its maker could ask about any file of whoever verifies it.
    """
    name, digest = document["release"]["file"], str(document["release"]["sha256"])
    listed, problems = read_manifest(folder)[0], []
    if name != RELEASE:
        problems.append(f"{CURE_FILE} names another file than {RELEASE}")
    elif not {name, f"{name}{AGE}"} & listed.keys():
        problems.append(f"{name}, which {CURE_FILE} names, is not listed in {MANIFEST}")
    elif name in listed and not digest.startswith("keyed:") and listed[name] != digest:
        problems.append(f"{name} is not the release that {CURE_FILE} names")
    return Check("release", f"{RELEASE} against {CURE_FILE}", problems)


def _beside(folder: Path, run_id: str, plan_digest: str) -> EvidencePack | Check:
    """A run that figures are held against, or the check that could not be done."""
    if not folder.is_dir():
        return Check("figures", f"they are those of run {run_id[:20]}, {_ABSENT}", skipped=True)
    try:
        pack = read_pack(folder)
    except ProxyauditError as error:
        return Check("figures", f"run {run_id}", [f"{folder.name}: {error}"])
    if pack.evidence.run.plan_digest != plan_digest:
        return Check("figures", f"run {run_id}", [f"the plan of run {run_id} is another one than the record names"])
    return pack


def _of_mitigation(document: Mapping[str, Any], folder: Path) -> list[Check]:
    return [_checkpoints(document, folder), _figures(document, folder), _page(document, folder)]


def _checkpoints(document: Mapping[str, Any], folder: Path) -> Check:
    named: dict[str, str] = document["checkpoints"]
    there = {path.name: file_digest(path) for path in sorted(folder.glob("mitigated-*.safetensors"))}
    # A receipt excuses what the manifest lists, and nothing that was taken out of both.
    gone = purged_files(folder) & read_manifest(folder)[0].items()
    there |= {name: digest for name, digest in gone if name in named and name not in there}
    # Of an encrypted one the manifest has the bytes.
    apart = {path.name for path in folder.glob(f"*{AGE}")} | {name for name, _ in gone if name.endswith(AGE)}
    there |= {name: digest for name, digest in named.items() if f"{name}{AGE}" in apart}
    problems = [f"{name} is not the checkpoint that {MITIGATION_FILE} names" for name in named if there.get(name) != named[name]]
    problems += [f"{name} is not named in {MITIGATION_FILE}" for name in there if name not in named]
    return Check("checkpoints", f"{len(named)} against {MITIGATION_FILE}", problems)


def _figures(document: Mapping[str, Any], folder: Path) -> Check:
    audit = folder.parent / str(document["audit"]["run_id"])
    if not _RUN_ID.fullmatch(audit.name) or audit.parent != folder.parent:
        return Check("figures", MITIGATION_FILE, [f"{MITIGATION_FILE} names no run that audits it"])
    if not audit.is_dir():
        return Check("figures", "the new audit does not lie beside this folder", skipped=True)
    try:
        evidence = read_pack(audit).evidence
    except ProxyauditError as error:
        return Check("figures", "the new audit beside this folder", [f"{audit.name}: {error}"])
    names = (document["regime"], document["mitigated_regime"])
    # Without the fields that the version that wrote the document did not have.
    known = set(document["channels"][0]) if document["channels"] else set()
    channels = [{key: value for key, value in entry.items() if key in known} for entry in channel_changes(evidence, *names)]
    verdicts, task = verdict_changes(evidence, *names), task_change(evidence, *names)
    made = {"status": evidence.run.status, "verdicts": verdicts, "channels": channels, "task": task}
    plain = parse_json(canonical_json(made))
    problems = [f"{MITIGATION_FILE}: {key} is not that of the audit {audit.name}" for key in made if plain[key] != document[key]]
    if (document["audit"]["name"], document["audit"]["plan_digest"]) != (evidence.run.name, evidence.run.plan_digest):
        problems.append(f"{MITIGATION_FILE} names another audit than the one in {audit.name}")
    return Check("figures", f"{len(document['channels'])} numbers against the audit beside this folder", problems)


def _page(document: Mapping[str, Any], folder: Path) -> Check:
    if manifest_document(folder).get("rendered_by") != rendering_digest():
        return Check("page", _OTHER_VERSION.format("it"), skipped=True)
    same = render_mitigation(document).encode("utf-8", "replace") == read_file(folder / MITIGATION_PAGE)
    return Check("page", f"{MITIGATION_PAGE} rendered again", [] if same else [f"{MITIGATION_PAGE} is not what {MITIGATION_FILE} gives"])
