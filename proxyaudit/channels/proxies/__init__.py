"""Which columns, words and ways of writing carry the attribute and move the outputs."""

from proxyaudit.channels.proxies.estimate import estimate
from proxyaudit.estimates.channel import Channel, Question

_CARRIED, _ATTRIBUTED = ("association", "pair_gain"), ("attribution_direction", "attribution_output")
_USED = ("influence", "proxy_use", "path_total", "path", "path_share")

CHANNEL = Channel(
    "proxies", 50, tuple(map(Question, (*_CARRIED, *_USED, *_ATTRIBUTED))), estimate, measure="proxyaudit.channels.proxies.measure:measure"
)
