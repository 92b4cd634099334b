"""Models: builders, training and loading of torch modules."""
