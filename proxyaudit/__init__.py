"""proxyaudit: did synthetic training remove a sensitive feature from a model, or merely hide it?

>>> import proxyaudit as pa
>>> audit = pa.run("recipes/quickstart.yaml")  # doctest: +SKIP
>>> audit.findings[["attribute", "regime", "verdict"]]  # doctest: +SKIP
"""

import importlib
from typing import TYPE_CHECKING, Any

from proxyaudit.errors import InputError, IntegrityError, ProxyauditError, TaskError

if TYPE_CHECKING:
    from proxyaudit.api import Audit, open_audit, probe, run
    from proxyaudit.reporting.plots import Plot
    from proxyaudit.types import Control, Estimate, Evidence, Finding

__all__ = ["Audit", "Control", "Estimate", "Evidence", "Finding", "InputError", "IntegrityError", "Plot", "ProxyauditError", "TaskError"]
__all__ += ["open_audit", "probe", "run"]

_MODULES = {
    "proxyaudit.api": ("Audit", "open_audit", "probe", "run"),
    "proxyaudit.reporting.plots": ("Plot",),
    "proxyaudit.types": ("Control", "Estimate", "Evidence", "Finding"),
}
_LAZY = {name: module for module, names in _MODULES.items() for name in names}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    # Loaded on first use: the command line's --help must not wait for pydantic or the pack reader.
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'proxyaudit' has no attribute {name!r}")
