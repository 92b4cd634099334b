"""Causal language models: loading, sampling, scoring of continuations, and swapping inside them."""
