"""Latents of sparse autoencoders that carry an attribute."""

from proxyaudit.channels.features.estimate import CHANNEL as LATENT
from proxyaudit.channels.features.estimate import FIT, SWITCHED, follow_up
from proxyaudit.estimates.channel import Channel, Question

_QUESTIONS = (Question(LATENT), Question(FIT), Question(SWITCHED))
CHANNEL = Channel("features", 67, _QUESTIONS, follow_up=follow_up, measure="proxyaudit.channels.features.measure:measure")
