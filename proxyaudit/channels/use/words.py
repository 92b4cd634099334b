"""The words of use: what the question is called, and what it asks."""

from __future__ import annotations

MEASURES = {"effect": "fitted trace", "learned_effect": "learned trace"}
TERMS = (
    (
        "Interchange effect",
        "How far the outputs move when the attribute's coordinates inside the model are swapped with those of a person of "
        "another group and the same label, less what random coordinates of equal rank do.",
    ),
)
MARGINS = {"effect": "effect"}
CONTROLS = {
    "random_subspace": "swapping a random trace moves the outputs less",
    "untrained": "an untrained model does not use it",
}
