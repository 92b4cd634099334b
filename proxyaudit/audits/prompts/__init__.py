"""The audit of what a language model says and does with names of different groups."""
