"""How the numbers were made, in the words that stand beside them in the evidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

METHODS: Final = {
    "linear": (
        "score test in exactly whitened coordinates, decided among plants at the margin (five families of directions, and the attribute's "
        "own noise); calibrated by a standard curve of plants; where no plant scores as high, the tail of their distribution"
    ),
    "nonlinear": (
        "quadratic score test, freed of everything linear, decided among planted products and squares at the margin; calibrated by a "
        "standard curve; quadratic, perceptron, tree and neighbour readers beside it, their gain over the linear reader as raw"
    ),
    "beyond": (
        "score test within strata of what is conditioned on, decided among plants within the same strata; "
        "conditional V-information, calibrated by a standard curve"
    ),
    "beyond nonlinear": (
        "quadratic score test within strata of what is conditioned on, freed of everything linear, decided among plants within the same "
        "strata; calibrated by a standard curve"
    ),
    "quarters": (
        "score test of the number cut at its quartiles (value by value where it has few), decided among plants at the margin; calibrated "
        "by a standard curve"
    ),
    "quarters nonlinear": (
        "quadratic score test of the number cut at its quartiles (value by value where it has few), decided among planted products and "
        "squares at the margin; calibrated by a standard curve; stronger readers beside it"
    ),
    "raw": "cross-fitted ridge-logistic probe in whitened coordinates, nested regularisation, uncalibrated",
}

POOLED: Final = "it has so many levels that some were taken together, and what tells those apart was not asked, so absence is not claimed"
NEGATIVE_FAILED: Final = "the negative control failed: a permuted attribute was found here too"
TURNED: Final = "the gap has turned its direction"

_MOST_SAID = 400  # characters of reasons in one finding


def some_reasons(reasons: Sequence[str]) -> str:
    """Reasons in one line; those that would make it long are counted, and none is cut."""
    said = [reasons[0]] if reasons else []
    for reason in reasons[1:]:
        if len("; ".join([*said, reason])) > _MOST_SAID:
            break
        said.append(reason)
    more = len(reasons) - len(said)
    return "; ".join(said) + (f"; and {more} more" if more else "")
