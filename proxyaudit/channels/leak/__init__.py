"""Whether a reader gets the attribute out of activations."""

from typing import Any

from proxyaudit.channels.leak.estimate import estimate
from proxyaudit.estimates.channel import Channel, Question
from proxyaudit.estimates.questions import LINEAR_READER, READERS

_LEAKS = {
    "leak": "",
    "leak_in_quarters": "in quarters",
    "leak_nonlinear": "non-linear",
    "leak_in_quarters_nonlinear": "in quarters, non-linear",
    "leak_in_two_parts": "in two parts",
    "leak_in_two_parts_nonlinear": "in two parts, non-linear",
    "unprofiled": "blocks that were not read",
}
_NONLINEAR = {"leak_nonlinear": "", "leak_in_quarters_nonlinear": "in quarters", "leak_in_two_parts_nonlinear": "in two parts"}
_INSIDE = (
    "How much of the attribute a reader gets from the activations: 0 is guessing, 1 is knowing it of everybody (class-balanced "
    "information). For a continuous attribute: explained variance."
)
_TERMS = (("Leak inside", _INSIDE),)
_MARGINS = ("leak", "nonlinear")
_READ: dict[str, Any] = {"of_activations": True, "readers": READERS}
_PROBED: dict[str, Any] = {"of_activations": True, "readers": (LINEAR_READER,)}
_EVERY = (LINEAR_READER, *READERS)
_LINEAR_ASKS = "Can a linear reader get the attribute out at a verdict site?"
_NONLINEAR_ASKS = "Can a stronger reader get out more than the linear one?"
_ELSEWHERE_ASKS = "Is it at another place in the model?"
_BEYOND_ASKS = "Is there more of it inside than the label, or what else is known of a row, explains?"

CHANNEL = Channel(
    "leak",
    10,
    (
        Question("linear", "encoding", ("leak",), "Linear leak", _LINEAR_ASKS, measures=_LEAKS, terms=_TERMS, **_PROBED),
        Question("nonlinear", "encoding", ("nonlinear", "leak"), "Non-linear leak", _NONLINEAR_ASKS, measures=_NONLINEAR, **_READ),
        Question("elsewhere", "recoverable", _MARGINS, "Elsewhere", _ELSEWHERE_ASKS, measures=_LEAKS, may_lack=True, readers=_EVERY),
        Question("beyond", "recoverable", _MARGINS, "Beyond what is known", _BEYOND_ASKS, measures=_LEAKS, place=1, **_READ),
        Question("effort", of_activations=True),
    ),
    estimate,
    measure="proxyaudit.channels.leak.measure:measure",
    margins={"leak": "leak", "nonlinear": "non-linear leak"},
    controls={"eraser": "an erased trace stays gone on fresh rows"},
)
