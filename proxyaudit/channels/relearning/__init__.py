"""Whether the attribute comes back with little training."""
