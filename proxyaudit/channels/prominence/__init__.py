"""How prominent the attribute is in activations, and what training did to that."""

from proxyaudit.channels.prominence.estimate import estimate
from proxyaudit.estimates.channel import Channel, Question
from proxyaudit.estimates.training import PROMINENCE

_TERMS = (
    (
        "Prominence",
        "Share of the variance inside a model that the attribute explains, over all units alike; chance gives zero. Training makes what "
        "it needs more prominent and what it does not need less (Hermann & Lampinen 2020).",
    ),
    (
        "What training did",
        "Prominence against the same network before training: made more prominent (more than 1.25 times), left as it was, or suppressed "
        "(less than 0.8 times).",
    ),
    (
        "Singled out",
        "Made more prominent than 95 % of invented attributes that the inputs and the label know as well; otherwise it is carried "
        "with the task.",
    ),
)
_ASKS = "How much of what varies inside the model does it explain, and what did training do to that?"
_MEASURE = "proxyaudit.channels.prominence.measure:measure"
CHANNEL = Channel("prominence", 5, (Question(PROMINENCE, word="Prominence", asks=_ASKS, terms=_TERMS),), estimate, measure=_MEASURE)
