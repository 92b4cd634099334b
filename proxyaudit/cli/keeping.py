"""The commands ``purge`` and ``access``: parse, call, print."""

import os
import sys
from getpass import getpass
from pathlib import Path
from typing import Annotated

from typer import Argument

from proxyaudit.cli import console
from proxyaudit.cli.options import CacheRoot, Json, MaybePath, given
from proxyaudit.errors import InputError

ACCESS_EXAMPLE = "Example:  proxyaudit access reports/my-audit --identity me.key --purpose 'scan of release 4' --out ~/opened"
PURGE_EXAMPLE = "Example:  proxyaudit purge reports/my-audit --dry-run"


def purge(
    path: Annotated[Path, Argument(metavar="RUN_OR_DIR", help="A run folder, a folder of runs, or a folder of kept results.")],
    dry_run: Annotated[bool, given("Say what would be deleted, and delete nothing.", name="--dry-run")] = False,
    key: Annotated[MaybePath, given("Private key that signs the receipts.", "FILE", name="--key", env="KEY")] = None,
    cache: CacheRoot = None,
    json: Json = False,
) -> None:
    """Delete what holds rows or helps to infer them (kept results, row sums, restricted files), and leave a receipt, signed with --key."""
    from proxyaudit.attestation.receipts import sign_receipt
    from proxyaudit.cache import Cache, cache_folder
    from proxyaudit.cli.sign import ask_signer
    from proxyaudit.evidence.tiers import RECEIPT, SIGNED_RECEIPT
    from proxyaudit.keeping.purge import old_cache, purge
    from proxyaudit.keeping.room import in_words

    # Before anything is deleted: a receipt that cannot be signed is found out too late.
    signer = None if key is None or dry_run else ask_signer(key)
    done = purge(path, Cache(cache_folder(cache)), dry_run=dry_run)
    signed = [str(one.folder / SIGNED_RECEIPT) for one in done if signer is not None and sign_receipt(one.folder, signer)]
    left = next((str(found) for folder in path.absolute().parents[:2] if (found := old_cache(folder))), None)
    if json:
        told = [{"folder": str(one.folder), "removed": [part.model_dump() for part in one.removed], "bytes": one.size} for one in done]
        console.emit_json({"dry_run": dry_run, "folders": told, "signed": signed, "old_cache_left": left})
        return
    for one in done:
        if one.removed:
            counts = {what: sum(part.what == what for part in one.removed) for what in dict.fromkeys(part.what for part in one.removed)}
            what = ", ".join(f"{n} {what}{'' if n == 1 or what.endswith('s') else 's'}" for what, n in counts.items())
            receipt = "nothing was deleted" if dry_run else f"receipt: {one.folder / RECEIPT}"
            console.write_line(f"{'Would delete' if dry_run else 'Deleted'} {what} ({in_words(one.size)}) of {one.folder}; {receipt}")
    for name in signed:
        console.write_line(f"Signed: {name}")
    if not any(one.removed for one in done):
        console.write_line(f"Nothing that holds rows is kept of {path}.")
    if left is not None:
        console.warn(f"proxyaudit: {left} holds rows of all runs of that folder; purge the folder to delete it")


def access(
    run: Annotated[Path, Argument(metavar="RUN", help="A run folder (or one with a single run below it), or one of 'mitigate' or 'cure'.")],
    identity: Annotated[Path, given("File of an age identity, one of the recipients'.", "FILE", env="IDENTITY")],
    purpose: Annotated[str, given("What it is opened for; the log keeps it.", "TEXT")],
    out: Annotated[MaybePath, given("New or empty folder to write the opened files to; only you may look into it.", "DIR")] = None,
    json: Json = False,
) -> None:
    """Open the restricted files of a run; every opening is written to a log beside the run, whose chain 'verify' checks."""
    from proxyaudit.access.opening import open_restricted
    from proxyaudit.verification.run import intact_folder

    folder = intact_folder(run)
    done = open_restricted(folder, identity, purpose, _passphrase, out)
    if json:
        told = {"folder": str(folder), "files": done.files, "out": None if out is None else str(out)}
        console.emit_json({**told, "number": done.entry.number, "head": done.entry.digest})
        return
    for name, size in done.files.items():
        console.write_line(f"{name}: {size:,} bytes" + ("" if out is None else f", written to {out / name}"))
    console.write_line(f"Opening {done.entry.number} of {folder} is logged. Keep this head of the log elsewhere: {done.entry.digest}")


def _passphrase() -> str:
    """The passphrase of an identity, from the environment or asked for on a terminal."""
    from proxyaudit.access.age import PASSPHRASE

    told = os.environ.get(PASSPHRASE)
    if told is not None:
        return told
    if not sys.stdin.isatty():
        raise InputError("the identity has a passphrase, and nobody can be asked here", where=PASSPHRASE, mend="set this variable to it")
    return getpass("Passphrase of the identity: ")
