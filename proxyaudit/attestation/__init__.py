"""Who vouches for a run: keys, signed statements over its files, and time stamps of what was fixed beforehand."""
