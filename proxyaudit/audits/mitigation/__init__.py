"""Erase an attribute at sites of a run's models and audit them again."""
