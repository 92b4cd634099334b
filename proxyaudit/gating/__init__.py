"""Deciding for a pipeline: a policy, a run, and an answer that is a number. Pure but for reading the policy file."""

from proxyaudit.gating.decide import gate
from proxyaudit.gating.policy import Policy, load_policy
from proxyaudit.gating.values import GateCase, GateResult

__all__ = ["GateCase", "GateResult", "Policy", "gate", "load_policy"]
