"""Policy controls: which clauses of laws, standards and guidance a run's findings support evidence for, and which not. Pure; no torch."""
