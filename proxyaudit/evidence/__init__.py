"""The evidence pack on disk: write, read, verify."""
