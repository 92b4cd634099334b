"""Which parts of a model carry the effect."""

from proxyaudit.channels.localisation.estimate import follow_up
from proxyaudit.estimates.channel import Channel, Question

CHANNEL = Channel(
    "localisation",
    60,
    (Question("localisation"), Question("localisation_per_row"), Question("localisation_share")),
    follow_up=follow_up,
    measure="proxyaudit.channels.localisation.measure:measure",
)
