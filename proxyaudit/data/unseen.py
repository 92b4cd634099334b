"""How much of a column the encoder cannot see, and from what share on that is told, bars absence, or is refused."""

from dataclasses import dataclass
from typing import Final

from proxyaudit.data.public_counts import share_words
from proxyaudit.types import NotTested

NOTED: Final = 0.01  # shares of rows
BARS: Final = 0.20
REFUSED: Final = 0.80


@dataclass(frozen=True)
class Unseen:
    """How much of one column of one table the encoder cannot see."""

    table: str
    column: str
    share: float
    rows: int
    cut: int | None = None  # tokens after which texts are cut, where that is what hides their rest
    told: str = ""  # what numbers hold that are of another scale

    @property
    def bars_absence(self) -> bool:
        """Whether nothing that rests on these rows may be called absent."""
        return self.share > BARS

    def note(self) -> NotTested:
        """What a reader must know."""
        shown = share_words(self.share * self.rows, self.rows)
        bars = "; absence is not claimed" if self.bars_absence else ""
        if self.cut is not None:
            why = f"{shown} of the texts are cut there, and the model may read on where it runs{bars}; raise model.max_length"
            return NotTested(what=f"{self.table}: what stands after the first {self.cut} tokens", why=why)
        if self.told:
            # A table in another unit is the likeliest cause; a true shift is no fault, and yet shows nothing of the usual values.
            why = f"it holds {self.told}{bars}; write it in the unit of the real table"
            return NotTested(what=f"{self.table}: what column {self.column} carries at its usual values", why=why)
        why = f"missing, or written as no training row writes them ({shown} of the column){bars}"
        return NotTested(what=f"{self.table}: values of column {self.column} that the model cannot see", why=why)
