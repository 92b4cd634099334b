"""Plugins by entry point: built-ins and other people's packages register the same way."""

import sys
from functools import lru_cache
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, distribution, entry_points
from typing import Any

from proxyaudit.errors import InputError, did_you_mean

NAMES = ("proxy-leakage-audit", "proxyaudit")  # of the distribution: today's, and that of installations made before
COMMAND = ":".join(("proxyaudit.cli.main", "main"))  # in two parts: the name of a function in one would count as an import of it


def own_distribution() -> Distribution | None:
    """The installed distribution that this package came with; another project that has one of its names is none."""
    for name in NAMES:
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        if any(point.value == COMMAND for point in found.entry_points):
            return found
    return None


def own_version() -> dict[str, str]:
    """The package's version under its name; nothing where it is not installed."""
    found = own_distribution()
    return {} if found is None else {"proxyaudit": found.version}


@lru_cache
def _points_on(path: tuple[str, ...], group: str) -> tuple[EntryPoint, ...]:
    """Every entry point of a group; kept for one ``sys.path``, since a look through all installed packages takes a while."""
    return tuple(entry_points(group=f"proxyaudit.{group}"))


def _points(group: str) -> tuple[EntryPoint, ...]:
    return _points_on(tuple(sys.path), group)


# An installation made before a group existed, or the bare files on the path.
NOTHING_REGISTERED = "nothing is registered: install proxyaudit again from its clone (pip install .)"


def plugin_names(group: str) -> tuple[str, ...]:
    """Return the names registered in ``proxyaudit.<group>``, sorted; nothing is imported."""
    return tuple(sorted({point.name for point in _points(group)}))


def check_plugin(group: str, name: str, *, where: str) -> None:
    """Refuse a name that no package registers. Raises ``InputError``: naming the nearest one."""
    known = plugin_names(group)
    if name not in known:
        mend = did_you_mean(name, known, f"installed: {', '.join(known)}" if known else NOTHING_REGISTERED)
        raise InputError(f"unknown {group.removesuffix('s')} '{name}'", where=where, mend=mend)


def load_plugin(group: str, name: str, *, where: str = "") -> Any:
    """What is registered as ``name`` in ``proxyaudit.<group>``; ``InputError`` if unknown, registered twice or not to be imported."""
    check_plugin(group, name, where=where)
    points = list(dict.fromkeys(point for point in _points(group) if point.name == name))
    if len({point.value for point in points}) > 1:
        raise InputError(f"two packages register the {group.removesuffix('s')} '{name}'", where=where, mend="uninstall one of them")
    try:
        return points[0].load()
    except (ImportError, AttributeError) as error:
        raise InputError(f"plugin '{name}' cannot be loaded ({error})", where=where, mend="install what it needs") from None
