"""The audit of one recipe: run in tasks with resume, publish the evidence."""

from proxyaudit.pipeline.run import RunResult, run_audit
from proxyaudit.progress import ProgressEvent

__all__ = ["ProgressEvent", "RunResult", "run_audit"]
