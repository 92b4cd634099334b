"""The words of relearning."""

from __future__ import annotations

MEASURES = {"excess": ""}
MARGINS = {"relearned": "relearned leak"}
