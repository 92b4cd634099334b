"""Deciding for a pipeline: a policy, a run, and an answer that is a number. Pure but for reading the policy file."""
