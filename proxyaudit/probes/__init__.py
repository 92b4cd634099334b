"""Probe engines: score statistics that decide and solvers that explain."""
