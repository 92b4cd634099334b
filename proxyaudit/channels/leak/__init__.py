"""Whether a reader gets the attribute out of activations."""

from __future__ import annotations

from proxyaudit.channels.leak.estimate import estimate
from proxyaudit.estimates.channel import Channel, Question

CHANNEL = Channel(
    "leak",
    10,
    (
        Question("linear", "encoding", ("leak",), of_activations=True),
        Question("nonlinear", "encoding", ("nonlinear", "leak"), of_activations=True),
        Question("elsewhere", "recoverable", ("leak", "nonlinear"), may_lack=True),
        Question("beyond", "recoverable", ("leak", "nonlinear"), of_activations=True, place=1),
        Question("effort", of_activations=True),
    ),
    estimate,
    measure="proxyaudit.channels.leak.measure:measure",
)
