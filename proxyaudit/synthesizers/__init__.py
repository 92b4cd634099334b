"""Synthesizers: plugins that make synthetic training tables."""
