"""Intervals, p-values and planting: what turns scores into decisions."""
