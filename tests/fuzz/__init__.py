"""Changed packs, policies, recipes and tables through the command line: whatever they hold, one clear line, soon."""
