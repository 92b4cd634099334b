"""Verify a run directory: bytes first, then what follows. Commands that decide take runs from here only."""

import re
from pathlib import Path

from proxyaudit.attestation.trust import Trust
from proxyaudit.errors import InputError, IntegrityError, located
from proxyaudit.estimates.scope import Scope, read_scope
from proxyaudit.estimates.states import deciding
from proxyaudit.evidence.changes import CHANGE_FILE, is_change
from proxyaudit.evidence.manifest import ATTESTATION, MANIFEST, is_complete, rendering_digest
from proxyaudit.evidence.pack import (
    CURE_FILE,
    MITIGATION_FILE,
    PACK_FILES,
    REPORT_FILES,
    EvidencePack,
    check_is_no_recipe,
    find_run,
    is_run,
    list_runs,
    read_pack,
)
from proxyaudit.evidence.tiers import RECEIPT, RUN_ENCRYPTED, RUN_RESTRICTED
from proxyaudit.files import read_file
from proxyaudit.limits import MOST_PAGE
from proxyaudit.reporting.first import report_page
from proxyaudit.reporting.html import page_html
from proxyaudit.reporting.markdown import page_markdown
from proxyaudit.types import SCHEMA_VERSION
from proxyaudit.verification import checks as again
from proxyaudit.verification.attestation import SIGNATURES, UNCHECKED, attestation_checks
from proxyaudit.verification.beside import beside_checks, receipt_checks, restricted_checks
from proxyaudit.verification.changes import MITIGATION_PAGE, form_check, verify_change
from proxyaudit.verification.checks import Check, Verification
from proxyaudit.verification.fields import field_problems, figure_problems, omission_problems
from proxyaudit.verification.files import check_bytes, manifest_document

# Every run has had these since the first schema; later kinds of report may be missing in older runs.
_REQUIRED = (*PACK_FILES, "report.html", "report.md")
OPTIONAL_FILES = (*REPORT_FILES, *RUN_RESTRICTED, *RUN_ENCRYPTED)
_OTHER_VERSION = "another version of proxyaudit, or of a package, wrote {}"
_OLDER = "older schema"
_LOOSELY = "figures of some controls, the basis and the origin cannot be made again"
_RUN_ID = re.compile(r"[0-9a-f]{12}")
_NOBODY = Trust()


def find_folder(path: Path) -> Path:
    """The folder to verify: the path itself, or the one run below it; ``InputError`` if there is none, or more than one."""
    if path.is_file() and path.name == RECEIPT:
        return path.parent
    if path.name == "recipe.yaml":
        check_is_no_recipe(path)  # of a run there is one of that name too
    if path.is_file() and path.name in (*_REQUIRED, MANIFEST, MITIGATION_FILE, CURE_FILE, CHANGE_FILE):
        path = path.parent
    elif path.is_file():
        check_is_no_recipe(path)
        path = path.parent
    if not path.is_dir():
        raise InputError("no such run folder", where=str(path), mend="'proxyaudit ls' lists the runs")
    marks = (*_REQUIRED, MANIFEST, MITIGATION_FILE, CURE_FILE, CHANGE_FILE, MITIGATION_PAGE)
    if is_run(path) or any((path / mark).exists() or (path / mark).is_symlink() for mark in marks):
        return path
    found = list_runs(path)
    if len(found) == 1:
        return found[0]
    if not found and (path / RECEIPT).exists():
        return path  # a cache, or what is left of one
    what = f"{len(found)} runs" if found else "no run"
    raise InputError(f"{what} below this folder", where=str(path), mend="name a run folder; 'proxyaudit ls' lists the runs")


def intact_folder(path: Path) -> Path:
    """The folder that ``path`` means, a run as :func:`read_verified` reads it, or one of ``mitigate`` or ``cure`` with every byte in place.

    ``InputError`` and ``IntegrityError`` as there.
    """
    if is_change(path):
        if problems := check_bytes(path, (), None):
            raise IntegrityError(f"{located(problems[0], path)}; use an untouched copy")
        return path
    read_verified(path, strict=False)
    return find_run(path)


def verify_folder(folder: Path, *, pages: bool = True, trust: Trust = _NOBODY) -> Verification:
    """Check all that can be checked of a run directory, or a folder of ``mitigate``; ``InputError`` if its schema is not known here.

    Without ``pages`` the reports of a run are left out, bytes and all: they are about to be made again. ``trust`` says who must have
    signed the run, and what its seal must be.
    """
    if not is_run(folder) and not any((folder / name).exists() for name in _REQUIRED):
        only = (folder / RECEIPT).exists() and not is_change(folder) and not (folder / MANIFEST).exists()
        return Verification(folder, "receipt", tuple(receipt_checks(folder, trust))) if only else verify_change(folder, trust)
    problems = check_bytes(folder, _REQUIRED, OPTIONAL_FILES, skip=() if pages else REPORT_FILES)
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    checks = [Check("files", f"{len(list(folder.iterdir()))} files, {size:,} bytes against {MANIFEST}", problems)]
    if problems:
        # What follows would speak of numbers that nobody vouches for.
        return Verification(folder, "run", tuple(checks))
    documents = [path for path in sorted(folder.glob("*.json")) if path.name not in (MANIFEST, ATTESTATION)]
    checks.append(form_check(folder, documents, folder / "recipe.yaml", "an array"))
    try:
        pack = read_pack(folder, skip=() if pages else REPORT_FILES)
    except IntegrityError as error:
        return Verification(folder, "run", (*checks, Check("schema", "evidence.json", [str(error)])))
    shown = _report_checks(pack, folder) if pages else []
    vouched = attestation_checks(pack, folder, trust, pages=pages)
    vouched += [*restricted_checks(folder, pack.recipe), *beside_checks(folder, trust, pack.recipe)]
    return Verification(folder, "run", (*checks, *_pack_checks(pack, folder.resolve().name), *shown, *vouched))


def _pack_checks(pack: EvidencePack, name: str) -> list[Check]:
    scope, evidence = read_scope(pack.plan, pack.recipe, pack.environment), pack.evidence
    identity = [*again.identity_problems(pack), *field_problems(pack, scope)]
    if _RUN_ID.fullmatch(name) and name != evidence.run.id:
        identity.append(f"the folder is named as run {name} and holds run {evidence.run.id[:12]!r}")
    checks = [Check("identity", "what plan, recipe and evidence say of the run", identity)]
    checks.append(Check("plan digest", "made again from plan.json and recipe.yaml", again.digest_problems(pack)))
    numbers = again.number_problems(evidence, pack.arrays, pack.plan.get("level"), paired=scope.surface == "outputs")
    numbers += [*figure_problems(pack), *(again.rounding_problems(evidence) if again.same_code(pack) else [])]
    checks.append(Check("numbers", f"{len(evidence.estimates)} estimates, {len(pack.arrays)} arrays", numbers))
    controls = again.control_problems(evidence, scope.margins, scope.verdict_sites)
    checks.append(Check("controls", f"{len(evidence.controls)} controls against their figures", controls))
    states = again.state_problems(evidence, scope.margins, scope.no_absence, scope.roles)
    checks.append(Check("states", f"{len(deciding(evidence.estimates))} decided from p-values, margins and controls", states))
    verdicts = [*again.completeness_problems(pack, scope), *again.finding_problems(pack, scope)]
    checks.append(Check("verdicts", f"{len(evidence.findings)} concluded again", verdicts))
    if evidence.schema_version != SCHEMA_VERSION:
        checks.append(Check(_OLDER, f"schema {evidence.schema_version} says less than {SCHEMA_VERSION}: {_LOOSELY}", skipped=True))
    return [*checks, *_clause_checks(pack), _word_check(pack, scope)]


def _clause_checks(pack: EvidencePack) -> list[Check]:
    """Clauses that findings name; frameworks change, and those of another version are no fault."""
    if all(finding.controls_supported is None for finding in pack.evidence.findings):
        return []
    wrong = list(again.clause_problems(pack))
    if wrong and not again.same_code(pack):
        return [Check("clauses", f"{_OTHER_VERSION.format('them')}; 'proxyaudit controls' tells those of this one", skipped=True)]
    return [Check("clauses", "told again by the frameworks that come along", wrong)]


def _word_check(pack: EvidencePack, scope: Scope) -> Check:
    """Sentences, and what every audit says it left out, written again; what another version worded otherwise is no fault."""
    written, same = [*again.sentence_problems(pack, scope), *omission_problems(pack, scope)], again.same_code(pack)
    if written and not same:
        return Check("sentences", f"{_OTHER_VERSION.format('them')}, and {len(written)} would be worded otherwise here", skipped=True)
    return Check("sentences", f"{len(pack.evidence.findings)} written again", written)


def _report_checks(pack: EvidencePack, folder: Path) -> list[Check]:
    rendered_by = manifest_document(folder).get("rendered_by")
    if not isinstance(rendered_by, str):
        return [Check("reports", "who rendered them", [f"{MANIFEST}: it does not say what rendered the reports"])]
    page = report_page(pack)
    made = {"report.html": page_html(page), "report.md": page_markdown(page)}
    altered = [name for name, text in made.items() if text.encode("utf-8", "replace") != read_file(folder / name, MOST_PAGE)]
    if altered and rendered_by != rendering_digest():
        # Nobody can tell another version's page from a forged one: a reader is shown what the evidence gives.
        shown = "'proxyaudit report RUN --out DIR' shows what the evidence gives, and without --out puts it into the run"
        return [Check("reports", f"{_OTHER_VERSION.format('them')}; {shown}", skipped=True)]
    problems = [f"{name} is not what the evidence gives ('proxyaudit report' makes it again)" for name in altered]
    return [Check("reports", f"{' and '.join(made)} rendered again", problems)]


def read_verified(
    path: Path, notes: list[str] | None = None, *, strict: bool = True, pages: bool = True, trust: Trust = _NOBODY
) -> EvidencePack:
    """Read the run that ``path`` means, checked as ``proxyaudit verify --strict`` does: bytes, pages, and what follows from the numbers.

    Sentences alone may be those of another version: they are not taken over, but written again. ``notes`` takes a line on them. Where not
    ``strict`` it takes one on all that could not be checked here, and words stay as they are; without ``pages`` the reports are not
    looked at. ``trust`` is as in :func:`verify_folder`; signatures and time stamps that nobody asked to check are noted. ``InputError``
    if there is no such run, more than one, or one that did not end; ``IntegrityError`` if a file is missing, was changed or was added, a
    verdict does not follow from the pack, or (``strict``) anything else could not be checked.
    """
    folder = find_run(path)
    if not is_complete(folder) and (folder / "evidence.json").exists():
        # The manifest comes last and the evidence before it: a folder with one and not the other ended and was altered, or its
        # last write was cut off. Either way the evidence cannot be trusted.
        mend = "run the recipe again or use an untouched copy"
        raise IntegrityError(f"{MANIFEST} is missing although evidence.json is there [{folder}]; {mend}")
    pack, found = read_pack(folder, skip=() if pages else REPORT_FILES), verify_folder(folder, pages=pages, trust=trust)
    if found.problems:
        mend = "run the recipe again or use an untouched copy"
        if trust.keys and all(check.name == SIGNATURES for check in found.checks if check.problems):
            mend = "use an untouched copy, or name the keys of those who signed it"
        raise IntegrityError(f"{located(found.problems[0], path)}; {mend}")
    skipped = {check.name: f"{check.name} ({check.detail})" for check in found.checks if check.state == "skipped"}
    if strict and (unknown := {name: told for name, told in skipped.items() if name not in ("sentences", "clauses", *UNCHECKED)}):
        mend = "'proxyaudit report' makes the pages again" if set(unknown) == {"reports"} else "run the recipe again"
        raise IntegrityError(f"this takes a run that is verified, and it is in part only: {'; '.join(unknown.values())} [{path}]; {mend}")
    if skipped and notes is not None:
        run, again_from = pack.evidence.run, "; its words were written again from its numbers" if strict and "sentences" in skipped else ""
        notes.append(f"run {run.name} ({run.id}) is verified in part: {'; '.join(skipped.values())}{again_from}")
    return again.reworded(pack) if strict and skipped else pack
