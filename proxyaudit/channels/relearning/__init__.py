"""Whether the attribute comes back with little training."""

from proxyaudit.channels.relearning.estimate import estimate
from proxyaudit.estimates.channel import Channel, Question

_ASKS = "Does it come back with a little fine-tuning?"
CHANNEL = Channel(
    "relearning",
    40,
    (Question("relearned", "recoverable", ("relearned",), "Relearned", _ASKS, measures={"excess": ""}),),
    estimate,
    measure="proxyaudit.channels.relearning.measure:measure",
    margins={"relearned": "relearned leak"},
)
