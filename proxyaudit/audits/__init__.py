"""Whole audits other than 'run', each in a folder of its own; siblings never import each other."""
