"""Worlds and models with planted truth, audited on this machine."""
