"""The command ``verify``: parse, call, print."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from typer import Argument

from proxyaudit.cli import console
from proxyaudit.cli.options import Json, MaybePath, Root, given
from proxyaudit.errors import IntegrityError

EXAMPLE = "Example:  proxyaudit verify reports/my-audit --key alice.pub"
_MARKS = {"passed": "ok", "failed": "FAILED", "skipped": "skipped"}
_ANSWERS = {
    "verified": "verified",
    "verified in part": "verified in part: what was not checked here may say anything",
    "altered": "NOT as it was written",
}
_UNSIGNED = "every file is as its manifest says, but NOT signed by each key that was named, or a key expired"
_CODES = {"verified": 0, "verified in part": 3, "altered": IntegrityError.exit_code}
_SHOWN = 8
Keys = Annotated[list[Path] | None, given("Public key that must have signed the run; may be given several times.", "PUB", name="--key")]


def verify(
    run: Annotated[
        Path,
        Argument(
            metavar="RUN", help="A run folder (or one with a single run below it), one of 'mitigate' or 'cure', or a receipt of 'purge'."
        ),
    ],
    keys: Keys = None,
    seal: Annotated[MaybePath, given("The seal that the run must be made under, as it was kept elsewhere.", "FILE", env="SEAL")] = None,
    tsa_root: Root = None,
    strict: Annotated[bool, given("Exit code 4 also where something could not be checked here.", name="--strict", env="STRICT")] = False,
    receipt_keys: Annotated[
        list[Path] | None, given("Public key that must have signed the receipt of 'purge'.", "PUB", name="--receipt-key")
    ] = None,
    access_head: Annotated[str | None, given("Digest that 'access' told once: the log must still hold that line.", "DIGEST")] = None,
    json: Json = False,
) -> int:
    """Recompute hashes and verdicts from the pack alone; check who signed it, and its seal.

    Exit code 0 where everything was checked, 3 where something could not be checked here (signatures that no key was given for, too), 4
    if a byte or a verdict was changed, or who should have signed did not.
    """
    from proxyaudit.attestation.trust import read_trust
    from proxyaudit.verification.beside import head_check
    from proxyaudit.verification.run import find_folder, verify_folder

    found = verify_folder(find_folder(run), trust=read_trust(keys or (), tsa_root, seal, receipt_keys or ()))
    found = found if access_head is None else replace(found, checks=(*found.checks, head_check(found.folder, access_head)))
    code = _CODES[found.outcome]
    code = IntegrityError.exit_code if code and strict else code
    if json:
        console.emit_json({**found.as_dict(), "exit_code": code})
    else:
        for check in found.checks:
            console.write_line(f"{_MARKS[check.state]:<7}  {check.name}: {check.detail}")
        console.write_line(f"{found.folder}: {_UNSIGNED if found.only_unsigned else _ANSWERS[found.outcome]}")
    for check in found.checks:
        if check.state == "skipped":
            console.warn(f"proxyaudit: not checked: {check.name} ({check.detail})")
        for problem in check.problems[:_SHOWN]:
            console.warn(f"proxyaudit: {problem}")
        if len(check.problems) > _SHOWN:
            console.warn(f"proxyaudit: and {len(check.problems) - _SHOWN} more about {check.name} (--json has all)")
    return code
