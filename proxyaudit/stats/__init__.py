"""Intervals, nulls, planting and multiplicity: what turns scores into decisions."""
