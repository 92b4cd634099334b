"""The commands ``keys`` and ``sign``: parse, call, print."""

import os
import sys
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument

from proxyaudit.cli import console
from proxyaudit.cli.options import Json, MaybePath, given
from proxyaudit.errors import InputError

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

EXAMPLE = "Example:  proxyaudit sign reports/my-audit --key alice.key --policy policy.yaml"
KEYS_EXAMPLE = "Example:  proxyaudit keys new alice --not-after 2027-12-31 --json"
keys = typer.Typer()
PrivateKey = Annotated[Path, given("Private key that signs (NAME.key of 'keys new').", "FILE", env="KEY")]
MaybeKey = Annotated[MaybePath, given("Private key that signs the seal.", "FILE", name="--key", env="KEY")]


@keys.callback()
def _keys() -> None:
    """Make keys that sign runs and sealed plans."""


@keys.command(epilog=KEYS_EXAMPLE)
def new(
    name: Annotated[str, Argument(metavar="NAME", help="Name of the signer: the files are NAME.key and NAME.pub.")],
    out: Annotated[Path, given("Folder of both files.", "DIR", env="KEYS_OUT")] = Path(),
    not_after: Annotated[str | None, given("Last day on which the key is believed (UTC).", "YYYY-MM-DD")] = None,
    json: Json = False,
) -> None:
    """Draw an ed25519 key: NAME.key is private and encrypted, NAME.pub is for whoever checks signatures."""
    from proxyaudit.attestation.keys import check_last_day, new_key

    check_last_day(not_after)
    private, public = new_key(name, out, ask_passphrase(again=True), not_after)
    if json:
        console.emit_json({"private": str(private), "public": str(public.path), "keyid": public.keyid, "not_after": not_after})
        return
    console.write_line(f"Private key: {private}  (encrypted; keep it and its passphrase to yourself)")
    console.write_line(f"Public key:  {public.path}  (id {public.keyid[:12]}; give it to whoever checks your signatures)")


def sign(
    run: Annotated[Path, Argument(metavar="RUN", help="A run folder (or one with a single run below it), or one of 'mitigate' or 'cure'.")],
    key: PrivateKey,
    policy: Annotated[MaybePath, given("Policy whose outcome is signed (YAML; default: that of 'gate').", "FILE", env="POLICY")] = None,
    json: Json = False,
) -> None:
    """Verify a run, decide on it as 'gate' does, and sign both; of a change sign its record. The signature lies beside the files then."""
    from proxyaudit.attestation.keys import read_private
    from proxyaudit.attestation.signing import sign_folder
    from proxyaudit.evidence.changes import is_change
    from proxyaudit.evidence.manifest import ATTESTATION

    read_private(key)
    notes: list[str] = []
    folder, payloads, stated = _of_change(run, policy) if is_change(run) else _of_run(run, policy, notes)
    signer = ask_signer(key)
    for note in notes:
        console.warn(f"proxyaudit: {note}")
    keyids, dropped = sign_folder(folder, payloads, signer)
    if dropped:
        console.warn(
            f"proxyaudit: {dropped} signed statements about other bytes of this run were dropped; who signed them has to sign again"
        )
    if json:
        told = {"attestation": str(folder / ATTESTATION), "keyid": signer.public_key.keyid, **stated}
        console.emit_json({**told, "signers": keyids, "dropped": dropped})
        return
    console.write_line(f"Signed: {folder / ATTESTATION}")
    said = stated["change"] if "change" in stated else f"{stated['result']} under {policy or 'the default policy'}"
    console.write_line(f"Stated: {said}, by the key {signer.public_key.keyid[:12]}")


def _of_run(run: Path, policy: Path | None, told: list[str]) -> tuple[Path, list[bytes], dict[str, str]]:
    """A run's folder, the statements about it, and what they come to; ``told`` takes what a signer should know."""
    from proxyaudit.attestation.statements import make_statements
    from proxyaudit.evidence.manifest import read_manifest
    from proxyaudit.evidence.pack import find_run
    from proxyaudit.gating.attest import test_result
    from proxyaudit.gating.decide import gate as decide
    from proxyaudit.gating.policy import Policy, load_policy, policy_digest
    from proxyaudit.verification.run import read_verified

    folder, base, notes = find_run(run), policy.parent if policy is not None else Path(), list[str]()
    pack = read_verified(folder, None)
    wanted = load_policy(policy) if policy is not None else Policy()
    digest = policy_digest(policy, wanted)
    result = decide(pack, wanted, lambda name: read_verified(base / name, notes), where=str(policy or "policy"), digest=digest)
    said = test_result(result, wanted, digest)
    told += (*result.notes, *notes)
    return folder, make_statements(read_manifest(folder)[0], pack, said), {"result": said.result, "policy": digest}


def _of_change(folder: Path, policy: Path | None) -> tuple[Path, list[bytes], dict[str, str]]:
    """The folder of a change, the statement about its record, and what it says."""
    from proxyaudit.attestation.statements import make_change_statement
    from proxyaudit.evidence.manifest import read_manifest
    from proxyaudit.verification.changes import read_verified_change

    if policy is not None:
        raise InputError("no policy decides on a change record", where="--policy", mend="leave it out, or name the run of the new audit")
    record = read_verified_change(folder)
    return folder, make_change_statement(read_manifest(folder)[0], record), {"change": record.about}


def ask_signer(key: Path) -> "CryptoSigner":
    """The signer of a private key's file; what is wrong with the file is told before anybody is asked for its passphrase."""
    from proxyaudit.attestation.keys import read_private, read_signer

    read_private(key)
    return read_signer(key, ask_passphrase())


def ask_passphrase(*, again: bool = False) -> str:
    """The passphrase of a private key, from the environment or asked for on a terminal; ``again`` where a new one is set."""
    from proxyaudit.attestation.keys import PASSPHRASE

    given = os.environ.get(PASSPHRASE)
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise InputError("a private key has a passphrase, and nobody can be asked here", where=PASSPHRASE, mend="set this variable to it")
    first = getpass("Passphrase of the private key: ")
    if again and getpass("Once more: ") != first:
        raise InputError("the passphrases differ", mend="type the same one twice")
    return first
