"""proxyaudit: did synthetic training remove a sensitive feature from a model, or merely hide it?

>>> import proxyaudit as pa
>>> audit = pa.run("recipes/quickstart.yaml")  # doctest: +SKIP
>>> audit.findings[["attribute", "regime", "verdict"]]  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from proxyaudit.errors import InputError, IntegrityError, ProxyauditError, TaskError

if TYPE_CHECKING:
    from proxyaudit.api import Audit, open_audit, probe, run
    from proxyaudit.reporting.plots import Plot
    from proxyaudit.types import Control, Estimate, Evidence, Finding

__all__ = [
    "Audit",
    "Control",
    "Estimate",
    "Evidence",
    "Finding",
    "InputError",
    "IntegrityError",
    "Plot",
    "ProxyauditError",
    "TaskError",
    "open_audit",
    "probe",
    "run",
]


_LAZY = {
    "Audit": "proxyaudit.api",
    "Control": "proxyaudit.types",
    "Estimate": "proxyaudit.types",
    "Evidence": "proxyaudit.types",
    "Finding": "proxyaudit.types",
    "Plot": "proxyaudit.reporting.plots",
    "open_audit": "proxyaudit.api",
    "probe": "proxyaudit.api",
    "run": "proxyaudit.api",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    # Loaded on first use: the command line's --help must not wait for pydantic or the pack reader.
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'proxyaudit' has no attribute {name!r}")
