"""From numbers to states, verdicts and sentences; no torch, no tables."""
