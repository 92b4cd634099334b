"""What depends on what models predict: how well they do, in which unit their outputs differ, and what too little is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from proxyaudit.arrays import Floats
from proxyaudit.stats.auroc import auroc_with_influence
from proxyaudit.types import Task

UNIT_GAP: Final = "difference in mean predicted probability"
OF_NUMBER: Final = "standard deviations of the target"
_TURNED: Final = 0.4  # AUROC


@dataclass(frozen=True)
class Yardstick:
    """A measure of how well models do their task."""

    measure: str  # in the evidence
    word: str
    unit: str
    guessing: float  # of a model that knows nothing
    near: float  # below it a model learnt next to nothing
    worth: float  # what a linear model must reach to be compared with

    @property
    def cost(self) -> str:
        """The measure of what a cure costs."""
        return f"{self.measure}_cost"

    def is_turned(self, value: float) -> bool:
        """Whether outputs rank classes the other way round: no training does that, classes that were swapped do."""
        return self.measure == "auroc" and value < _TURNED

    def is_little(self, value: float, beside: float | None) -> bool:
        """Whether a model learnt little: next to nothing, or less than half of what another one did."""
        return value < self.near or (beside is not None and value - self.guessing < (beside - self.guessing) / 2)


AUROC: Final = Yardstick("auroc", "AUROC", "AUROC of the target on the audit rows", 0.5, 0.55, 0.6)
R_SQUARED: Final = Yardstick("r2", "R²", "R squared of the target on the audit rows", 0.0, 0.02, 0.05)
YARDSTICKS: Final[Mapping[str, Yardstick]] = {one.measure: one for one in (AUROC, R_SQUARED)}


def yardstick(task: Task) -> Yardstick:
    """How well models are measured that predict such a thing."""
    return R_SQUARED if task == "number" else AUROC


def unit_for(words: str, task: Task) -> str:
    """Words of a difference of probabilities, as they are of numbers.

    >>> unit_for("difference in mean predicted probability", "number")
    'difference in mean prediction, standard deviations of the target'
    """
    return f"{words.replace('predicted probability', 'prediction')}, {OF_NUMBER}" if task == "number" else words


def is_of_number(unit: str) -> bool:
    """Whether a unit is that of a number's predictions."""
    return unit.endswith(OF_NUMBER)


def three_digits(value: float) -> str:
    """A number to three significant digits, without an exponent where it can be read without.

    >>> three_digits(104.3), three_digits(0.01234), three_digits(123456.0)
    ('104', '0.0123', '123,000')
    """
    shown = float(f"{value:.3g}")
    text = f"{shown:,.10f}".rstrip("0").rstrip(".") if 1e-5 <= abs(shown) < 1e12 or not shown else f"{shown:g}"
    return text.replace("-", "\N{MINUS SIGN}")


def task_score(outputs_nc: Floats, truth_nc: Floats, task: Task) -> tuple[float, Floats]:
    """How well outputs ``(n, C)`` tell the truth ``(n, C)``, the mean over outputs, and the influence of each row on it ``(n,)``."""
    of = _r_squared if task == "number" else _area
    found = [of(p, y) for p, y in zip(outputs_nc.T, truth_nc.T, strict=True)]
    return float(np.mean([value for value, _ in found])), np.asarray(np.mean([influence for _, influence in found], axis=0))


def _area(said_n: Floats, truth_n: Floats) -> tuple[float, Floats]:
    known = truth_n > 0
    return (float("nan"), np.zeros(len(said_n))) if known.all() or not known.any() else auroc_with_influence(said_n, known)


def _r_squared(said_n: Floats, truth_n: Floats) -> tuple[float, Floats]:
    error, spread = (truth_n - said_n) ** 2, (truth_n - truth_n.mean()) ** 2
    left = float(error.mean() / spread.mean())
    return 1 - left, (left * spread - error) / spread.mean() / len(said_n)
