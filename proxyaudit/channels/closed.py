"""What a measured model, or the first of a regime, closes for whatever is asked next of an attribute."""

from dataclasses import dataclass
from typing import Final

from proxyaudit.estimates.record import Shelf

ASKED_ONCE: Final = "the first repetition shows that it cannot change the verdict, so the others were not asked ('effort: everything' does)"


@dataclass(frozen=True)
class Standing:
    """What the leaks of an attribute in one model allow."""

    settled: bool = False  # a linear reader surely finds it at a verdict site
    removable: bool = True  # every leak that was measured may be absent


STANDINGS = Shelf("standing", Standing)
