"""Concept erasers, each a frozen callable fitted on its own rows."""
