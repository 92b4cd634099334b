"""Which columns, words and ways of writing carry the attribute and move the outputs."""
