"""Which parts of a model carry the effect."""
