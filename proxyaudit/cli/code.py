"""What commands share that execute code from outside: consent, and the fence that is put around the code."""

from collections.abc import Sequence
from enum import StrEnum
from functools import partial
from typing import Annotated

from proxyaudit import fence
from proxyaudit.cli import console
from proxyaudit.cli.options import given
from proxyaudit.consent import Consent
from proxyaudit.errors import InputError

OPEN = "--network open"


class Network(StrEnum):
    """What network a command has that executes code from outside."""

    auto = "auto"
    none = "none"
    open = "open"


_HELP = "Of code that is executed: auto takes the network from it where this system can, none insists and takes it anyway, open leaves it."
CodeNetwork = Annotated[Network, given(_HELP, name="--network", env="NETWORK")]


def consent_of(run_code: Sequence[str] | None, network: Network, *, elsewhere: str = "") -> Consent:
    """Consent to what was given as ``--run-code``, with the fence that goes around it.

    ``elsewhere`` says where tasks run, if that is not here. Raises ``InputError``: what was given names no file, or the network was to be
    closed and cannot be.
    """
    found = Consent.of(run_code or (), partial(close, network, elsewhere))
    if network is Network.none:
        close(network, elsewhere, "")
    return found


def close(network: Network, elsewhere: str, need: str) -> None:
    """Take the network from this process before it executes code from outside, or say why not; ``need`` is what it is needed for itself.

    A process that called us is left as it is, unless it asked. Raises ``InputError``: it was asked for and cannot be done.
    """
    if network is Network.open or (network is Network.auto and fence.own_process is None):
        return
    why = elsewhere or need or fence.close_network()
    if why and network is Network.none:
        mend = "leave it out, or use a container without a network"
        raise InputError(f"the network cannot be closed: {why}", where="--network none", mend=mend)
    if why:
        console.warn(f"proxyaudit: code from outside runs with your network: {why}")
    elif network is Network.auto:
        console.warn(f"proxyaudit: code from outside runs without a network ({OPEN} leaves it)")
