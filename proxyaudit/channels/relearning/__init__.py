"""Whether the attribute comes back with little training."""

from __future__ import annotations

from proxyaudit.channels.relearning.estimate import estimate
from proxyaudit.estimates.channel import Channel, Question

CHANNEL = Channel(
    "relearning",
    40,
    (Question("relearned", "recoverable", ("relearned",)),),
    estimate,
    measure="proxyaudit.channels.relearning.measure:measure",
)
