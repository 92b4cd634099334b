"""How probable each verdict is, computed before anything is measured: over all checks that a verdict rests on, not one of them.

Three cases are asked: the attribute is gone; it is inside at twice the margin and nothing uses it; it acts at twice the margin. A verdict
needs every check that it rests on, and these are taken as independent; sites of one check are nested, so the least favourable one counts.
Of models it is known how many there are, not how much they will differ: where they differ much, less is decided.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy.special import ndtr, ndtri

from proxyaudit.data.attributes import Attribute
from proxyaudit.data.many_levels import on_fewer_rows
from proxyaudit.estimates.questions import deciding_names
from proxyaudit.pipeline.prepared import Prepared
from proxyaudit.stats.p_values import ABSENT_AT, PRESENT_AT
from proxyaudit.stats.score_law import power_of_absence, power_of_presence

_EFFECT_ERROR: Final = 0.0052 * np.sqrt(6000)  # standard error of an interchange effect over rows, times their root (METHOD, section 7)
_SPREAD: Final = 1 / 3  # share of the label's variance that predicted probabilities have
_RELEARNT: Final = 2.0  # variance of a relearned leak near zero, per unit of leak and row, in nats


def verdict_odds(prepared: Prepared) -> list[dict[str, Any]]:
    """For each attribute the probability of each verdict where it is the right one, and the check that leaves it open most often."""
    widths = prepared.outline.widths or _widths(prepared)
    outputs = len(prepared.dataset.classes)
    dataset, recipe = prepared.dataset, prepared.recipe
    attributes = dataset.attributes
    if recipe.effort != "everything":
        attributes = tuple(on_fewer_rows(a, dataset.clusters, recipe.seed) for a in attributes)
    # Intersections are corrected apart from protected attributes; whatever else is asked counts as these.
    crossed = sum(a.role == "intersection" for a in attributes)
    own, rate = max(sum(a.role == "protected" for a in attributes), 1), float(np.mean(prepared.audit_labels() == 1))
    families = [(crossed if a.role == "intersection" else own) * len(deciding_names()) for a in attributes]
    return [_Odds(prepared, a, widths, outputs, PRESENT_AT / n, rate).verdicts() for a, n in zip(attributes, families, strict=True)]


def _widths(prepared: Prepared) -> dict[str, int]:
    """Units of each site of a model whose kind does not tell them: a pass of some rows does."""
    from proxyaudit.activations.capture import capture

    acts = capture(prepared.model, prepared.dataset.encoder.transform(prepared.dataset.audit.head(64))).acts
    return {site: int(values.shape[1]) for site, values in acts.items()}


@dataclass(frozen=True)
class _Odds:
    prepared: Prepared
    attribute: Attribute
    widths: dict[str, int]
    outputs: int
    level: float  # of presence, after the correction over a regime
    rate: float  # of the label

    def verdicts(self) -> dict[str, Any]:
        absent = self._absent()
        acts = {name: absent[name] for name in ("outputs", "use")}
        removed, weakest = float(np.prod(list(absent.values()))), min(absent, key=lambda name: absent[name])
        hidden = float(np.prod([self._present(), *acts.values()]))
        exposed = max(self._passes(margin, error, self.level / 2) for margin, error in (self._gap(), self._effect()))
        found = {"removed": removed, "hidden": hidden, "exposed": exposed}
        return {"attribute": self.attribute.name, **{name: round(p, 3) for name, p in found.items()}, "weakest": weakest}

    def _absent(self) -> dict[str, float]:
        """Probability that each check shows absence of what is not there."""
        margins, verdict = self.prepared.recipe.margins, self.prepared.outline.verdict_sites
        inside = [self.widths[site] for site in verdict]
        others = [width for site, width in self.widths.items() if site not in verdict]

        def least(widths: list[int], *kinds: Callable[[int], float]) -> float:
            return min((kind(width) for width in widths for kind in kinds), default=1.0)

        def linear(width: int) -> float:
            return power_of_absence(self.rows, width, margins.leak, self.rates)

        def nonlinear(width: int) -> float:
            products = width * (width + 1) // 2
            return power_of_absence(self.rows, products, margins.nonlinear, self.rates, rank=width) if width > 1 else 1.0

        shown = self._passes(*self._gap(), ABSENT_AT)
        columns = 1 if self.outputs == 2 else self.outputs
        return {
            "linear leak": least(inside, linear),
            "non-linear leak": least(inside, nonlinear),
            "other sites": 0.0 if self.prepared.outline.unprofiled else least(others, linear, nonlinear),
            "beyond the label": least(inside, linear, nonlinear),
            "outputs": shown * power_of_absence(self.rows, columns, margins.leak, self.rates),
            "use": self._passes(*self._effect(), ABSENT_AT) * self._levels_apart(),
            "relearning": self._passes(margins.relearned, self._relearned(), ABSENT_AT / 2),
        }

    def _present(self) -> float:
        """Probability that a linear leak of twice the margin is found at a verdict site."""
        margin, sites = self.prepared.recipe.margins.leak, self.prepared.outline.verdict_sites
        return max(power_of_presence(self.rows, self.widths[site], margin, 2 * margin, self.rates, level=self.level / 2) for site in sites)

    @property
    def rows(self) -> int:
        return len(np.unique(self.prepared.dataset.clusters[self.attribute.known]))

    @property
    def rates(self) -> Any:
        return self.attribute.rates if self.attribute.levels else None

    def _groups(self) -> float:
        """Harmonic count of the rows of the two groups that are compared."""
        groups = self.prepared.compared_groups()[self.attribute.name].groups_n
        sizes = [max(int((groups == side).sum()), 1) for side in (0, 1)]
        return 1 / sum(1 / size for size in sizes)

    def _gap(self) -> tuple[float, float]:
        error = np.sqrt(_SPREAD * self.rate * (1 - self.rate) / self._groups())
        return self.prepared.recipe.margins.gap, float(error)

    def _effect(self, rows: float | None = None) -> tuple[float, float]:
        return self.prepared.recipe.margins.effect, float(_EFFECT_ERROR / np.sqrt(4 * (self._groups() if rows is None else rows)))

    def _levels_apart(self) -> float:
        """Probability that no level of more than two, or quarter of a number, is left that may act against all other rows."""
        codes = np.asarray(self.attribute.codes)[self.attribute.known]
        sizes = np.bincount(codes.astype(np.int64)) if self.attribute.classes else np.full(4, len(codes) / 4)
        sizes = sizes[sizes > 0]
        if len(sizes) <= 2:
            return 1.0
        return float(np.prod([self._passes(*self._effect(1 / (1 / n + 1 / (len(codes) - n))), ABSENT_AT) for n in sizes]))

    def _relearned(self) -> float:
        margin = self.prepared.recipe.margins.relearned
        return float(np.sqrt(margin * _RELEARNT / max(np.log(max(len(self.attribute.levels), 2)) * 4 * self._groups(), 1)))

    def _passes(self, margin: float, error: float, level: float) -> float:
        """Probability that a normal number one margin off is told from it."""
        return float(ndtr(margin / error + ndtri(level)))
