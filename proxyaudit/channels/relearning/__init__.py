"""Whether the attribute comes back with little training."""

from proxyaudit.channels.relearning.estimate import estimate
from proxyaudit.estimates.channel import Channel, Question

_ASKS = "Does it come back with a little fine-tuning?"
_RELEARNED = Question("relearned", "recoverable", ("relearned",), "Relearned", _ASKS, measures={"excess": ""})
_MEASURE, _MARGINS = "proxyaudit.channels.relearning.measure:measure", {"relearned": "relearned leak"}
CHANNEL = Channel("relearning", 40, (_RELEARNED,), estimate, measure=_MEASURE, margins=_MARGINS)
