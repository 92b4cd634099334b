"""Whether a reader gets the attribute out of activations."""
