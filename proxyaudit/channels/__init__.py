"""The questions of an audit, a folder each: what is measured, how it becomes numbers with states, and its words."""
