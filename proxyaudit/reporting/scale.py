"""In which unit a report tells gaps and effects, and how well models do their task: in points and AUROC, or as of a number."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxyaudit.estimates.scope import standard_deviation, target_name
from proxyaudit.estimates.task import AUROC, R_SQUARED, Yardstick, is_of_number, three_digits
from proxyaudit.reporting.text import number, points, shorten
from proxyaudit.types import Estimate


@dataclass(frozen=True)
class Scale:
    """Words for gaps and effects, all told times 100; ``sd`` is the standard deviation of a target that is a number."""

    task: Yardstick = AUROC
    sd: float | None = None
    target: str = ""

    @classmethod
    def of(cls, plan: Mapping[str, Any]) -> "Scale":
        """The scale of an audit by its plan."""
        sd = standard_deviation(plan)
        return cls() if sd is None else cls(R_SQUARED, sd, target_name(plan))

    @property
    def unit(self) -> str:
        """What stands behind a heading: ``points``, or per cent of a standard deviation."""
        return "points" if self.sd is None else "% of an SD"

    @property
    def words(self) -> str:
        """The same in a sentence."""
        return "points" if self.sd is None else f"per cent of a standard deviation (SD) of {shorten(self.target, 40)}"

    def plain(self, text: str) -> str:
        """A text on predictions as it is for this target: a number has no probability."""
        return text if self.sd is None else text.replace("predicted probability", "prediction")

    def told(self, value: float | None, digits: int = 0) -> str:
        """A gap or an effect in words, of a number in units of its own too."""
        if self.sd is None or value is None:
            return points(value, digits)
        return f"{number(100 * value, digits)} % of an SD ({self.own(value)})"

    def own(self, value: float | None) -> str:
        """A gap of a number in the number's own units, to three digits; empty where the target has classes."""
        return "" if self.sd is None or value is None else f"{three_digits(value * self.sd)} in units of {shorten(self.target, 20)}"


def gap_words(e: Estimate, digits: int = 0) -> str:
    """A gap that stands alone, in words."""
    return f"{number(100 * (e.value or 0.0), digits)} {unit_of_gap(e)}" if is_of_number(e.unit) else points(e.value, digits)


def unit_of_gap(e: Estimate | None) -> str:
    """The unit of a gap that stands alone, times 100."""
    return "% of an SD" if e is not None and is_of_number(e.unit) else "points"
