"""Whether the attribute shows in the outputs: gaps between groups, within true labels too, and how well the task was learnt."""

from __future__ import annotations

from proxyaudit.channels.outputs.estimate import estimate
from proxyaudit.estimates.channel import Channel, Question

CHANNEL = Channel(
    "outputs",
    20,
    (
        Question("expressed", "use", ("gap", "leak"), shows="shows in the outputs"),
        Question("task"),
    ),
    estimate,
    measure="proxyaudit.channels.outputs.measure:measure",
)
