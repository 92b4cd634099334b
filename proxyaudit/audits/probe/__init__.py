"""The audit of bare activations."""
