"""The restricted tier, and what was written after a run: receipts of ``purge``, the log of openings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from proxyaudit.access.age import recipients_of
from proxyaudit.access.log import read_log
from proxyaudit.access.opening import log_of
from proxyaudit.attestation.receipts import signed_receipt
from proxyaudit.attestation.trust import Trust
from proxyaudit.digests import file_digest
from proxyaudit.errors import InputError, IntegrityError
from proxyaudit.evidence.manifest import SHA256
from proxyaudit.evidence.receipts import plan_digest_of, read_receipt
from proxyaudit.evidence.tiers import ACCESS_LOG, AGE, RECEIPT, SIGNED_RECEIPT, is_restricted, named_recipients
from proxyaudit.files import read_file
from proxyaudit.limits import MOST_TABLE
from proxyaudit.verification.attestation import RECEIPT_SIGNATURE, who_signed
from proxyaudit.verification.checks import Check


def restricted_checks(folder: Path, recipe: Mapping[str, Any]) -> list[Check]:
    """Whether restricted files are encrypted where the recipe says so, to as many recipients as it names."""
    recipients, paths = named_recipients(recipe), [path for path in sorted(folder.iterdir()) if is_restricted(path.name)]
    problems = []
    for path in paths:
        if not path.name.endswith(AGE):
            problems += [f"{path.name} lies open although the recipe names recipients"] if recipients else []
        elif (count := recipients_of(read_file(path, MOST_TABLE))) != len(recipients):
            told = "is no age file" if count is None else f"is encrypted to {count} recipients, and the recipe names {len(recipients)}"
            problems.append(f"{path.name} {told}")
    if not recipients and not any(path.name.endswith(AGE) for path in paths):
        return []
    some = (
        f"{len(paths)} file{'' if len(paths) == 1 else 's'}, encrypted to {len(recipients)} recipient{'' if len(recipients) == 1 else 's'}"
    )
    return [Check("restricted", some if paths else "no file is left", problems)]


def beside_checks(folder: Path, trust: Trust, recipe: Mapping[str, Any] | None = None) -> list[Check]:
    """A check of the receipt and one of the log, where they are there; who must have signed the receipt is ``trust``'s business.

    The ``recipe`` of a run names those who can have opened it.
    """
    return [*receipt_checks(folder, trust), *_log(folder, None if recipe is None else named_recipients(recipe))]


def head_check(folder: Path, head: str) -> Check:
    """Whether the log still holds the line whose digest somebody kept; ``InputError`` if that is no digest."""
    if SHA256.fullmatch(head) is None:
        raise InputError(f"'{head[:20]}' is no digest", where="--access-head", mend="give the 64 letters and digits that 'access' told")
    try:
        there = any(one.digest == head for one in read_log(folder, log_of(folder)))
    except IntegrityError as error:
        return Check("kept head", ACCESS_LOG, [str(error)])
    lost = f"{ACCESS_LOG} does not hold the kept head: lines were cut off its end, or it was written anew"
    return Check("kept head", head, [] if there else [lost])


def receipt_checks(folder: Path, trust: Trust) -> list[Check]:
    """The receipt of a folder, and who signed it."""
    try:
        receipt = read_receipt(folder)
    except IntegrityError as error:
        return [Check("purge", RECEIPT, [str(error)])]
    if receipt is None:
        missing = [f"{RECEIPT} is missing: nobody says that anything was purged"] if trust.receipts else []
        missing += [f"{SIGNED_RECEIPT} is there without a receipt"] if (folder / SIGNED_RECEIPT).exists() else []
        return [Check("purge", RECEIPT, missing, unsigned=missing[:1] if trust.receipts else ())] if missing else []
    problems = [] if receipt.plan_digest == plan_digest_of(folder) else [f"{RECEIPT} is that of another run"]
    listed = sorted({(one.name, one.sha256) for purge in receipt.purges for one in purge.removed if one.what == "restricted file"})
    there = [name for name, digest in listed if "/" not in name and (folder / name).is_file() and file_digest(folder / name) == digest]
    problems += [f"{name} lies here still, the very bytes that {RECEIPT} calls deleted" for name in there]
    last = receipt.purges[-1] if receipt.purges else None
    when = "nothing" if last is None else f"last on {last.began[:10]}" + ("" if last.ended else ", which was interrupted: purge again")
    count = sum(len(purge.removed) for purge in receipt.purges)
    told = f"{count} things that held rows or helped to infer were deleted, {when}"
    signed = _receipt_signers(folder, trust)
    return [Check("purge", f"{told}{'' if signed else '; nobody vouches for the receipt'}", problems), *signed]


def _receipt_signers(folder: Path, trust: Trust) -> list[Check]:
    """Who vouches for a receipt; none where nobody signed it, and nobody must have."""
    name, known = RECEIPT_SIGNATURE, {key.keyid: key for key in (*trust.receipts, *trust.keys)}
    try:
        envelope = signed_receipt(folder)
    except ValueError as error:
        return [Check(name, SIGNED_RECEIPT, [f"{SIGNED_RECEIPT} does not hold: {str(error)[:160]}"])]
    if envelope is None:
        missing = [f"{SIGNED_RECEIPT} is missing: nobody signed the receipt"] if trust.receipts else []
        return [Check(name, SIGNED_RECEIPT, missing, unsigned=missing)] if missing else []
    lacking = [key for key in trust.receipts if key.keyid not in envelope.signatures]
    own = [known[keyid] for keyid in envelope.signatures if keyid in known]
    unsigned = [f"the key {key.told} did not sign the receipt" for key in lacking]
    unsigned += [f"the key {key.told} expired on {key.not_after}" for key in (*lacking, *own) if key.expired()]
    problems = [*unsigned]
    problems += [f"a signature is not that of the key {key.told} over this receipt" for key in own if not envelope.holds(key)]
    others = ", ".join(keyid[:12] for keyid in envelope.signatures if keyid not in known)
    if not own and not problems:
        return [Check(name, f"in the name of {others}, which nobody checked: no --receipt-key was given", skipped=True)]
    more = f"; and in the name of {others}, which nobody checked" if others else ""
    told = who_signed([*((key, envelope.holds(key)) for key in own), *((key, False) for key in lacking)])
    return [Check(name, f"{told}{more}", problems, unsigned=unsigned)]


def _log(folder: Path, recipients: Sequence[str] | None) -> list[Check]:
    try:
        found = read_log(folder, log_of(folder))
    except IntegrityError as error:
        return [Check("access log", ACCESS_LOG, [str(error)])]
    if not found:
        return [Check("access log", ACCESS_LOG, [f"{ACCESS_LOG} is empty"])] if (folder / ACCESS_LOG).exists() else []
    strangers = [] if recipients is None else [one.number for one in found if one.opened_by not in recipients]
    if strangers:
        return [Check("access log", ACCESS_LOG, [f"{ACCESS_LOG}: line {strangers[0]} names an opener who is none of the recipients"])]
    unseen = "only who kept a later head can tell whether lines were cut off its end, or all written anew"
    told = f"{len(found)} opening{'' if len(found) == 1 else 's'}, head {found[-1].digest}; {unseen}"
    return [Check("access log", told)]
