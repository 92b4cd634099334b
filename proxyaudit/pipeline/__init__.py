"""The audit of one recipe: plan, run in tasks with resume, publish the evidence."""

from proxyaudit.pipeline.run import RunResult, plan_audit, run_audit
from proxyaudit.pipeline.stages import ProgressEvent

__all__ = ["ProgressEvent", "RunResult", "plan_audit", "run_audit"]
