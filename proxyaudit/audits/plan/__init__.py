"""What a recipe would audit, what it would take, and how probable each verdict is; nothing is measured."""

from proxyaudit.audits.plan.run import plan_audit

__all__ = ["plan_audit"]
