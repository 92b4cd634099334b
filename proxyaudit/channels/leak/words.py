"""The words of the leak: what its questions are called, and what they ask."""

from __future__ import annotations

LEAKS = {
    "leak": "",
    "leak_in_quarters": "in quarters",
    "leak_nonlinear": "non-linear",
    "leak_in_quarters_nonlinear": "in quarters, non-linear",
    "unprofiled": "blocks that were not read",
}
NONLINEAR = {"leak_nonlinear": "", "leak_in_quarters_nonlinear": "in quarters"}
TERMS = (
    (
        "Leak inside",
        "How much of the attribute a reader gets from the activations: class-balanced information as a share of all there is "
        "to know (0 = nothing, 1 = everything). For a continuous attribute: explained variance.",
    ),
)
MARGINS = {"leak": "leak", "nonlinear": "non-linear leak"}
CONTROLS = {"eraser": "an erased trace stays gone on fresh rows"}
