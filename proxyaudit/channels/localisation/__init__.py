"""Which parts of a model carry the effect."""

from proxyaudit.channels.localisation.estimate import follow_up
from proxyaudit.estimates.channel import Channel, Question

_QUESTIONS = (Question("localisation"), Question("localisation_per_row"), Question("localisation_share"))
CHANNEL = Channel("localisation", 60, _QUESTIONS, follow_up=follow_up, measure="proxyaudit.channels.localisation.measure:measure")
