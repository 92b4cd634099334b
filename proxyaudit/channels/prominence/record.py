"""What is measured of the prominence of one attribute, or of the label, at one site of one model."""

from dataclasses import dataclass, field

from proxyaudit.arrays import Floats
from proxyaudit.estimates.record import Shelf


@dataclass(frozen=True)
class Prominent:
    """Two shares of variance with row influences over all audit rows; both ``None`` where there is too little to tell."""

    repetition: int  # which of the regime's models it is: those of one number have the same initial weights
    n: int  # rows on which the attribute is known
    units: float | None = None
    total: float | None = None
    units_n: Floats | None = field(default=None, repr=False)
    total_n: Floats | None = field(default=None, repr=False)  # at verdict sites
    placebos: tuple[float, ...] = ()  # mean over units, of each placebo; at verdict sites


PROMINENT = Shelf("prominence", Prominent)
OF_LABEL = Shelf("prominence_of_label", Prominent)
