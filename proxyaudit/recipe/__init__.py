"""The recipe: everything an audit is asked to do, strictly validated."""
