"""Whether the attribute's subspace moves the outputs."""
