"""The words of the outputs: what the question is called, and what it asks."""

from __future__ import annotations

MEASURES = {"gap": "gap", "output_leak": "output leak", "output_leak_nonlinear": "output leak, non-linear"}
TERMS = (
    ("Output gap", "Difference between groups in the mean predicted probability; largest pair of groups."),
    ("Output leak", "What a reader gets of the attribute from the outputs alone; the outputs are judged by it and by the gap."),
)
MARGINS = {"gap": "output gap"}
