"""Who vouches for a run: signatures over its files, and the seal that it names."""

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from proxyaudit.attestation.envelope import Envelope, read_envelope, read_envelopes
from proxyaudit.attestation.keys import PublicKey
from proxyaudit.attestation.sealing import PAYLOAD as SEAL
from proxyaudit.attestation.statements import (
    CHANGE,
    KINDS,
    PAYLOAD,
    TEST_RESULT,
    VERDICTS,
    Statement,
    claims,
    outcome_faults,
    policy_of,
    read_statement,
)
from proxyaudit.attestation.timestamps import check, stamped
from proxyaudit.attestation.trust import Trust
from proxyaudit.digests import digest_of
from proxyaudit.errors import InputError
from proxyaudit.evidence.changes import ChangeRecord, change_claims
from proxyaudit.evidence.manifest import ATTESTATION, MANIFEST, read_manifest
from proxyaudit.evidence.pack import REPORT_FILES, EvidencePack
from proxyaudit.evidence.seal import NamedSeal, deviations, named_seal
from proxyaudit.files import read_file
from proxyaudit.verification.checks import Check

SIGNATURES, SEALED, TIME, RECEIPT_SIGNATURE = "attestation", "seal", "time stamp", "receipt's signature"
UNCHECKED = (SIGNATURES, TIME, RECEIPT_SIGNATURE)  # left unchecked where nobody said whom to believe
_TOLD = 4
_ALWAYS = ("run", "plan_digest", "verdicts", "change", "source")  # what every version stated


def attestation_checks(pack: EvidencePack, folder: Path, trust: Trust, *, pages: bool = True) -> list[Check]:
    """Signatures, where there are any or ``trust`` asks for them, and the seal likewise; without ``pages`` reports may have changed."""
    found = []
    if trust.keys or (folder / ATTESTATION).exists():
        found.append(_signatures(_Signed("run", KINDS, VERDICTS, claims(pack)), folder, trust, pages=pages))
    return [*found, *_seal_checks(pack, trust)]


def change_signatures(record: ChangeRecord, folder: Path, trust: Trust) -> Check:
    """The signatures of a change record's folder."""
    signed = _Signed("change", {CHANGE: "the change record"}, CHANGE, change_claims(record))
    return _signatures(signed, folder, trust, pages=True)


class _Signed(NamedTuple):
    """What is signed: the kinds of statement that each signer makes, and what those of one kind say."""

    what: str
    kinds: Mapping[str, str]
    kind: str
    says: Mapping[str, Any]


def _signatures(signed: _Signed, folder: Path, trust: Trust, *, pages: bool) -> Check:
    if not (folder / ATTESTATION).exists():
        missing = [f"{ATTESTATION} is missing: nobody signed this {signed.what}"]
        return Check(SIGNATURES, ATTESTATION, missing, unsigned=missing)
    try:
        envelopes = read_envelopes(read_file(folder / ATTESTATION))
        read = [(envelope, read_statement(envelope.payload)) for envelope in envelopes]
    except (OSError, ValueError) as error:
        return Check(SIGNATURES, ATTESTATION, [f"{ATTESTATION} cannot be read ({str(error)[:160]})"])
    hashes, _ = read_manifest(folder)
    problems, stale = [f"{ATTESTATION}: {line}" for line in _mixed(read, signed)], set[str]()
    for envelope, statement in read:
        other = {name for name in {*hashes, *statement.subjects} if hashes.get(name) != statement.subjects.get(name)}
        if other <= set(REPORT_FILES) and not trust.keys:
            stale |= other if pages else set()
            other = set()
        lines = [_elsewhere(other, signed.what)] if other else _false_claims(statement, signed)
        problems += [f"{ATTESTATION}: {line}" for line in lines if f"{ATTESTATION}: {line}" not in problems]
        if statement.kind not in signed.kinds:
            problems.append(f"{ATTESTATION}: a statement is about something else than a {signed.what}")
        if envelope.kind != PAYLOAD:
            problems.append(f"{ATTESTATION}: an envelope holds no statement of in-toto")
    known = {key.keyid for key in trust.keys}
    others = sorted({keyid for envelope in envelopes for keyid in envelope.signatures} - known)
    if not trust.keys:
        again = f"; {' and '.join(sorted(stale))} changed since ('proxyaudit sign' signs anew)" if stale else ""
        told = f"signed in the name of {_ids(others)}, which nobody checked: no --key was given{again}"
        return Check(SIGNATURES, told, problems, skipped=not problems)
    expired = {key.keyid: f"{ATTESTATION}: the key {key.told} expired on {key.not_after}" for key in trust.keys if key.expired()}
    not_signed = {key.keyid: f"{ATTESTATION}: {line}" for key in trust.keys if (line := _not_signed(key, read, signed)) is not None}
    forged = {f"{ATTESTATION}: {_forged(key)}" for key in trust.keys}
    lacking = [line for key in trust.keys for found in (not_signed, expired) if (line := found.get(key.keyid)) is not None]
    told = who_signed([(key, key.keyid not in not_signed) for key in trust.keys])
    more = f"; and in the name of {_ids(others)}, which nobody checked" if others else ""
    unsigned = [line for line in lacking if line not in forged]
    return Check(SIGNATURES, f"{len(hashes)} files of {MANIFEST} {told}{more}", [*problems, *lacking], unsigned=unsigned)


def _not_signed(key: PublicKey, read: list[tuple[Envelope, Statement]], signed: _Signed) -> str | None:
    """Why a key did not sign it, or ``None``: it must have signed a statement of each kind, and nothing wrongly."""
    own = [(envelope, statement) for envelope, statement in read if key.keyid in envelope.signatures]
    if not own:
        return f"the key {key.told} did not sign this {signed.what}"
    if not all(envelope.holds(key) for envelope, _ in own):
        return _forged(key)
    missing = [words for kind, words in signed.kinds.items() if kind not in {statement.kind for _, statement in own}]
    return f"the key {key.told} did not sign {' or '.join(missing)}" if missing else None


def _forged(key: PublicKey) -> str:
    return f"a signature is not that of the key {key.told} over these bytes"


def who_signed(keys: Sequence[tuple[PublicKey, bool]]) -> str:
    """Which keys signed, and which did not."""
    named = [", ".join(key.told for key, held in keys if held is wanted) for wanted in (True, False)]
    return "; ".join(f"{words} {names}" for words, names in zip(("signed by", "not signed by"), named, strict=True) if names)


def _elsewhere(names: set[str], what: str) -> str:
    told = sorted(names)
    listed = ", ".join(name[:60] for name in told[:_TOLD]) + (f" and {len(told) - _TOLD} more" if len(told) > _TOLD else "")
    again = names <= set(REPORT_FILES)
    why = (
        f"{'the report was rendered again' if again else f'they are those of another {what}'}, or this one was changed after it was signed"
    )
    return f"the signed digests are not those of {listed}: {why}"


def _false_claims(statement: Statement, signed: _Signed) -> list[str]:
    """What a statement says otherwise than what it is about; fields that the signer's version did not have are not asked for."""
    own = signed.says
    if statement.kind == TEST_RESULT and TEST_RESULT in signed.kinds:
        return outcome_faults(statement.says, str(own["plan_digest"]))
    if statement.kind != signed.kind:
        return []
    missing = [f"the signed statement says nothing of the {key}" for key in _ALWAYS if key in own and key not in statement.says]
    return missing + [
        f"the signed {key} is not that of the {signed.what}"
        for key in own
        if key in statement.says and not _same(statement.says[key], own[key])
    ]


def _mixed(read: list[tuple[Envelope, Statement]], signed: _Signed) -> Iterator[str]:
    """What one key cannot have signed at once: two statements of a kind, or an outcome under another policy than its verdicts name."""
    for keyid in dict.fromkeys(keyid for envelope, _ in read for keyid in envelope.signatures):
        own = [statement for envelope, statement in read if keyid in envelope.signatures and statement.kind in signed.kinds]
        if len({statement.kind for statement in own}) < len(own):
            yield f"the key {keyid[:12]} signed {signed.kinds[own[0].kind]} twice, and only one can be what it says now"
        elif TEST_RESULT in signed.kinds and len({policy_of(statement) for statement in own}) > 1:
            yield f"the key {keyid[:12]} signed the outcome of one policy, and the verdicts under another"


def _same(signed: Any, own: Any) -> bool:
    return digest_of(signed) == digest_of(own)


def _ids(keyids: list[str]) -> str:
    more = f" and {len(keyids) - _TOLD} more" if len(keyids) > _TOLD else ""
    return f"{'the key' if len(keyids) == 1 else 'the keys'} {', '.join(keyid[:12] for keyid in keyids[:_TOLD])}{more}"


def _seal_checks(pack: EvidencePack, trust: Trust) -> list[Check]:
    named = named_seal(pack.environment)
    if named is None:
        asked = "a seal" if trust.seal is not None else "a time stamp" if trust.roots else None
        return [Check(SEALED, "none", [f"environment.json: the run names no seal, and {asked} was asked for"])] if asked else []
    seal, problems = named.document, []
    if seal.digest != named.sha256:
        problems.append("environment.json: the seal does not have the digest by which the run names it")
    other = deviations(named, pack.plan, pack.environment.get("started"))
    if trust.seal is not None and trust.seal.digest != named.sha256:
        problems.append(f"environment.json: the run names the seal {named.sha256[:12]}, not {trust.seal.digest[:12]}, which was given")
    elif trust.seal is not None and other:
        problems.append(f"environment.json: the run is not the sealed one: {'; '.join(other)}")
    signed, faults = _seal_signers(named, trust)
    kept = f"it deviates: {'; '.join(other)}" if other else "the run keeps to it"
    checks = [Check(SEALED, f"{named.sha256[:12]}, made {seal.made} by its maker's word{signed}; {kept}", [*problems, *faults])]
    return [*checks, _time_stamp(named, trust)] if named.timestamp is not None or named.time is not None or trust.roots else checks


def _seal_signers(named: NamedSeal, trust: Trust) -> tuple[str, list[str]]:
    """Who signed the seal, in words, and what is wrong with that."""
    if named.envelope is None:
        return "", []
    try:
        envelope = read_envelope(named.envelope)
    except ValueError as error:
        return "", [f"environment.json: the signed seal cannot be read ({error})"]
    if (envelope.payload, envelope.kind) != (named.document.content, SEAL):
        return "", ["environment.json: what was signed is another seal"]
    own = [key for key in trust.keys if key.keyid in envelope.signatures]
    faults = [f"environment.json: the signature of the seal is not that of the key {key.told}" for key in own if not envelope.holds(key)]
    others = sorted(set(envelope.signatures) - {key.keyid for key in own})
    told = [f"{'' if envelope.holds(key) else 'not '}signed by {key.told}" for key in own]
    told += [f"signed in the name of {_ids(others)}, which nobody checked"] if others else []
    return f", {', '.join(told)}", faults


def _time_stamp(named: NamedSeal, trust: Trust) -> Check:
    if named.timestamp is None:
        return Check(TIME, "of the seal", ["environment.json: the seal has no time stamp"])
    try:
        answer = base64.b64decode(named.timestamp, validate=True)
        time = check(answer, named.document.content, trust.roots) if trust.roots else stamped(answer, named.document.content)
    except InputError as error:
        return Check(TIME, str(error), skipped=True)
    except (ValueError, binascii.Error) as error:
        return Check(TIME, "of the seal", [f"environment.json: the time stamp of the seal does not hold: {str(error)[:160]}"])
    if time != named.time:
        return Check(TIME, "of the seal", [f"environment.json: the run says that the seal was stamped at {named.time}, the stamp {time}"])
    if not trust.roots:
        return Check(TIME, f"{time}, by an authority that nobody checked: no --tsa-root was given", skipped=True)
    return Check(TIME, f"{time}, by an authority that the given root vouches for")
