"""Which parts of a transformer carry an effect, and the smallest set of them that carries most of it."""

from proxyaudit.channels.circuits.estimate import CHANNEL as EFFECT
from proxyaudit.channels.circuits.estimate import SHARE, SWITCHED, follow_up
from proxyaudit.estimates.channel import Channel, Question

_QUESTIONS = (Question(EFFECT), Question(SHARE), Question(SWITCHED))
CHANNEL = Channel("circuits", 65, _QUESTIONS, follow_up=follow_up, measure="proxyaudit.channels.circuits.measure:measure")
