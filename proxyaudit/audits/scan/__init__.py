"""Whether a model is in a state that an audit knows."""
