"""proxyaudit: did synthetic training remove a sensitive feature from a model, or merely hide it?

>>> import proxyaudit as pa
>>> audit = pa.run("recipes/quickstart.yaml")  # doctest: +SKIP
>>> audit.findings[["attribute", "regime", "verdict"]]  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxyaudit.errors import InputError, IntegrityError, ProxyauditError, TaskError
from proxyaudit.types import Control, Estimate, Evidence, Finding

if TYPE_CHECKING:
    from proxyaudit.audit import Audit, open_audit, run

__all__ = [
    "Audit",
    "Control",
    "Estimate",
    "Evidence",
    "Finding",
    "InputError",
    "IntegrityError",
    "ProxyauditError",
    "TaskError",
    "open_audit",
    "run",
]


def __getattr__(name: str) -> Any:
    # Loaded on first use: the command line's --help must not wait for the pack reader.
    if name in ("Audit", "open_audit", "run"):
        from proxyaudit import audit

        return getattr(audit, name)
    raise AttributeError(f"module 'proxyaudit' has no attribute {name!r}")
