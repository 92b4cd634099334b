"""Whether training put a feature there: the two comparisons that decide it, published beside the numbers."""

from __future__ import annotations

from dataclasses import replace

from proxyaudit.estimates.draft import Draft
from proxyaudit.estimates.ledger import Ledger
from proxyaudit.stats.intervals import Interval, Measured, crossed_interval
from proxyaudit.types import OriginWord

ORIGIN = "origin"
UNTRAINED = "above the untrained model"
PLACEBOS = "above the placebos' 95th percentile"


def origin_word(ledger: Ledger, cell: Draft, untrained: Measured | None, relayed: float | None, margin: float) -> OriginWord:
    """``learned``: above untrained and above the placebos' 95th percentile by more than the margin; else ``relayed``.

    Both differences go into the ledger, so that whoever holds the pack alone can check the word.
    """
    if cell.measured is None:
        return "relayed"
    what = "use" if cell.channel == "expressed" else "encoding"
    base = Draft(ORIGIN, cell.attribute, cell.regime, cell.site, group=cell.group, unit=cell.unit, decides=False, n=cell.n)
    base = replace(base, margin=margin)
    lows: list[float | None] = [None, None]
    if untrained is not None:
        difference = cell.measured.oriented() - untrained.oriented()
        interval = crossed_interval(difference)
        lows[0] = interval.low
        ledger.add_one(
            replace(base, context=f"{what}: {UNTRAINED}", measured=difference, interval=interval, method="paired on the same rows")
        )
    if relayed is not None:
        own = crossed_interval(cell.measured.oriented())
        interval = Interval(own.value - relayed, own.low - relayed, own.high - relayed, own.se, own.df)
        lows[1] = interval.low
        method = "what the model relays of attributes planted on the inputs is taken as known"
        ledger.add_one(replace(base, context=f"{what}: {PLACEBOS}", interval=interval, method=method, value=interval.value))
    return "learned" if all(low is not None and low > margin for low in lows) else "relayed"
