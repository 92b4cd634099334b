"""Which columns, words and ways of writing carry the attribute and move the outputs."""

from __future__ import annotations

from proxyaudit.channels.proxies.estimate import estimate
from proxyaudit.estimates.channel import Channel, Question

CHANNEL = Channel(
    "proxies",
    50,
    (
        Question("association"),
        Question("pair_gain"),
        Question("influence"),
        Question("proxy_use"),
        Question("path_total"),
        Question("path"),
        Question("path_share"),
        Question("attribution_direction"),
        Question("attribution_output"),
    ),
    estimate,
    measure="proxyaudit.channels.proxies.measure:measure",
)
