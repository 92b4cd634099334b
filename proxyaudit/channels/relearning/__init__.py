"""Whether the attribute comes back with little training."""

from __future__ import annotations

from proxyaudit.channels.relearning import words
from proxyaudit.channels.relearning.estimate import estimate
from proxyaudit.estimates.channel import Channel, Question

CHANNEL = Channel(
    "relearning",
    40,
    (
        Question(
            "relearned",
            "recoverable",
            ("relearned",),
            "Relearned",
            "Does it come back with a little fine-tuning?",
            measures=words.MEASURES,
        ),
    ),
    estimate,
    measure="proxyaudit.channels.relearning.measure:measure",
    margins=words.MARGINS,
)
