"""Whether the attribute's subspace moves the outputs."""

from proxyaudit.channels.use.estimate import estimate
from proxyaudit.estimates.channel import Channel, Question

_TERM = (
    "How far the outputs move when the attribute's coordinates inside the model are swapped with those of a person of "
    "another group and the same label, less what random coordinates of equal rank do."
)
_ASKS = "Do the outputs move when its part of the representation is swapped?"
_SHOWS = "moves the outputs when its internal trace is swapped"
_MEASURES = {"effect": "fitted trace", "learned_effect": "learned trace"}
_TERMS = (("Interchange effect", _TERM),)
_USED = Question("used", "use", ("effect",), "Interchange effect", _ASKS, _SHOWS, measures=_MEASURES, terms=_TERMS)
CHANNEL = Channel(
    "use",
    30,
    (_USED, Question("completeness"), Question("selectivity"), Question("amnesic"), Question("mediation")),
    estimate,
    measure="proxyaudit.channels.use.measure:measure",
    margins={"effect": "effect"},
    controls={"random_subspace": "swapping a random trace moves the outputs less", "untrained": "an untrained model does not use it"},
)
