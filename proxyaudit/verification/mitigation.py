"""Verify a folder of ``mitigate``: its files, its page, and its figures against the audit beside it."""

from pathlib import Path
from typing import Any

from proxyaudit.comparison.compare import channel_changes, task_change, verdict_changes
from proxyaudit.digests import file_digest
from proxyaudit.errors import ProxyauditError
from proxyaudit.evidence.canonical import canonical_json, parse_json
from proxyaudit.evidence.manifest import MANIFEST, rendering_digest
from proxyaudit.evidence.pack import MITIGATION_FILE, read_pack
from proxyaudit.reporting.mitigation import render_mitigation
from proxyaudit.verification.checks import Check, Verification
from proxyaudit.verification.files import check_bytes, json_problems, manifest_document, safetensors_problems, yaml_problems

_PAGE = "mitigation.md"
_RECIPE = "mitigated.yaml"
_OTHER_VERSION = "another version of proxyaudit, or of a package, wrote it"


def verify_mitigation(folder: Path) -> Verification:
    """Check a folder of ``mitigate``; the new audit beside it is a run of its own."""
    problems = check_bytes(folder, (MITIGATION_FILE, _PAGE, _RECIPE), None)
    checks = [Check("files", f"{len(list(folder.iterdir()))} files against {MANIFEST}", problems)]
    if problems:
        return Verification(folder, "mitigation", tuple(checks))
    forms = [*json_problems(folder / MITIGATION_FILE), *yaml_problems(folder / _RECIPE)]
    forms += [line for path in sorted(folder.glob("*.safetensors")) for line in safetensors_problems(path)]
    checks.append(Check("form", "canonical JSON, no key twice, no byte of a checkpoint unaccounted for", forms))
    document = parse_json((folder / MITIGATION_FILE).read_bytes()) if not forms else None
    if not isinstance(document, dict):
        return Verification(folder, "mitigation", tuple(checks))
    try:
        rest = [_checkpoints(document, folder), _figures(document, folder), _page(document, folder)]
    except (KeyError, TypeError, AttributeError) as error:
        rest = [Check("content", MITIGATION_FILE, [f"{MITIGATION_FILE} lacks what a mitigation holds ({error})"])]
    return Verification(folder, "mitigation", (*checks, *rest))


def _checkpoints(document: dict[str, Any], folder: Path) -> Check:
    named: dict[str, str] = document["checkpoints"]
    there = {path.name: file_digest(path) for path in sorted(folder.glob("mitigated-*.safetensors"))}
    problems = [f"{name} is not the checkpoint that {MITIGATION_FILE} names" for name in named if there.get(name) != named[name]]
    problems += [f"{name} is not named in {MITIGATION_FILE}" for name in there if name not in named]
    return Check("checkpoints", f"{len(named)} against {MITIGATION_FILE}", problems)


def _figures(document: dict[str, Any], folder: Path) -> Check:
    audit = folder.parent / str(document["audit"]["run_id"])
    if not audit.is_dir() or "/" in str(document["audit"]["run_id"]):
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


def _page(document: dict[str, Any], folder: Path) -> Check:
    if manifest_document(folder).get("rendered_by") != rendering_digest():
        return Check("page", _OTHER_VERSION, skipped=True)
    same = render_mitigation(document).encode("utf-8", "replace") == (folder / _PAGE).read_bytes()
    return Check("page", f"{_PAGE} rendered again", [] if same else [f"{_PAGE} is not what {MITIGATION_FILE} gives"])
