"""Versions of all that a number may depend on, as the plan fixes them."""

import platform
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import metadata

from proxyaudit.registry import own_version

_PACKAGES = ("captum", "numpy", "pandas", "scikit-learn", "scipy", "sdv", "torch", "safetensors", "rtdl_revisiting_models")
_TEXT_PACKAGES = ("transformers", "tokenizers", "peft")


def versions(*more: str, text: bool = False) -> dict[str, str]:
    """Versions that a number may depend on; those of models of texts where ``text``, and of ``more`` packages."""
    found = {"python": platform.python_version(), **own_version()}
    for package in (*_PACKAGES, *(_TEXT_PACKAGES if text else ()), *more):
        version = _version_on(tuple(sys.path), metadata.version, package)
        if version is not None:
            found[package] = version
    if not text:
        return found
    from proxyaudit.models.text import device_name  # loads torch, which models of texts alone need here

    device = device_name()
    return found if device is None else {**found, "device": device}


@lru_cache
def _version_on(path: tuple[str, ...], read: Callable[[str], str], package: str) -> str | None:
    """Version of a package, if it is there; kept for one ``sys.path``, since every look reads a file of many lines."""
    try:
        return read(package)
    except metadata.PackageNotFoundError:
        return None


def differing(planned: Mapping[str, str]) -> list[str]:
    """What is of another version here than a plan says, in words."""
    here = versions(*(name for name in planned if name not in ("python", "proxyaudit", "device")), text="device" in planned)
    return [f"{name} {here.get(name, 'is lacking')} here, {then} in the plan" for name, then in planned.items() if here.get(name) != then]
