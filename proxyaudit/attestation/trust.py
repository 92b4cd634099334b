"""Whom a caller believes: signers by their keys, time stamp authorities by their roots, and a seal that was kept elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxyaudit.attestation.keys import PublicKey, read_keys
from proxyaudit.attestation.timestamps import read_roots
from proxyaudit.errors import InputError
from proxyaudit.evidence.seal import Seal, parse_seal
from proxyaudit.files import read_file
from proxyaudit.limits import MOST_SEAL


@dataclass(frozen=True)
class Trust:
    """Each of ``keys`` must have signed; ``roots`` vouch for time stamps; the run must name ``seal``. What is empty asks nothing."""

    keys: tuple[PublicKey, ...] = ()
    roots: tuple[Any, ...] = ()
    seal: Seal | None = None
    receipts: tuple[PublicKey, ...] = ()  # each must have signed the receipt of a purge


def read_trust(keys: Sequence[Path] = (), root: Path | None = None, seal: Path | None = None, receipts: Sequence[Path] = ()) -> Trust:
    """What files say whom to believe; ``InputError`` for one that cannot be read, or is something else."""
    return Trust(read_keys(keys), () if root is None else read_roots(root), None if seal is None else read_seal(seal), read_keys(receipts))


def read_seal(path: Path) -> Seal:
    """A seal's file; ``InputError``: it cannot be read, or is no seal, or was changed."""
    try:
        return parse_seal(read_file(path, MOST_SEAL))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)[:160]
        mend = "name the file that 'plan --seal' wrote, unchanged"
        raise InputError(f"the seal cannot be read ({why})", where=str(path), mend=mend) from None
