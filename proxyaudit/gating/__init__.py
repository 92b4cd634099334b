"""Deciding for a pipeline: a policy, a run, and an answer that is a number. Pure but for reading the policy file."""

from proxyaudit.gating.decide import GateCase, GateResult, gate
from proxyaudit.gating.policy import Policy, load_policy

__all__ = ["GateCase", "GateResult", "Policy", "gate", "load_policy"]
