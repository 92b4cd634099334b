"""Tables, roles, splits and encodings: from files on disk to a frozen ``Dataset``."""
