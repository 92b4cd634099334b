"""Reading and changing activations: capture, frozen encoders, files."""
