"""Packages that load slowly, loaded when they are first used."""

import importlib
from typing import Any


class Later:
    """Stands for a package until something of it is asked for."""

    def __init__(self, name: str) -> None:
        """Of the package ``name``; nothing is loaded yet."""
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        found = getattr(importlib.import_module(self._name), attribute)
        setattr(self, attribute, found)
        return found
