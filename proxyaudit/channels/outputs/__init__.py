"""Whether the attribute shows in the outputs: gaps between groups, within true labels too, and how well the task was learnt."""

from __future__ import annotations

from proxyaudit.channels.outputs import words
from proxyaudit.channels.outputs.estimate import estimate
from proxyaudit.estimates.channel import Channel, Question

CHANNEL = Channel(
    "outputs",
    20,
    (
        Question(
            "expressed",
            "use",
            ("gap", "leak"),
            "Outputs",
            "Does it show in the model's outputs, by the gap between groups or to a reader of the outputs?",
            "shows in the outputs",
            measures=words.MEASURES,
            terms=words.TERMS,
        ),
        Question("task"),
    ),
    estimate,
    measure="proxyaudit.channels.outputs.measure:measure",
    margins=words.MARGINS,
)
