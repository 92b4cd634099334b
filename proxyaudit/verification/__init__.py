"""Verification: everything in a run directory that can be made again from the pack alone is made again and compared."""
