"""The pipeline: plan, run in tasks with resume, assemble the evidence."""

from proxyaudit.pipeline.run import ProgressEvent, RunResult, plan_audit, run_audit

__all__ = ["ProgressEvent", "RunResult", "plan_audit", "run_audit"]
