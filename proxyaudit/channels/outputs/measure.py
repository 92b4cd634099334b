"""Keep one model's outputs on the audit rows."""

from proxyaudit.channels.base import ModelView
from proxyaudit.estimates.record import Measurement


def measure(view: ModelView, out: Measurement) -> None:
    """Outputs ``(n, C)`` go into ``out.arrays``."""
    out.arrays["outputs"] = view.captured.outputs
