"""The kinds of models that come along, one file each."""
