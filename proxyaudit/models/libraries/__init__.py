"""The libraries that grow trees, one file each: ``grow`` trains, ``read`` takes over a model file, both as plain arrays.

``grow(spec, x, y, weight, seed)`` gives an :class:`~proxyaudit.models.tree_nodes.Ensemble`; ``read(spec, data)`` too, from the bytes of a
file in the library's own format. A file is data: nothing of it is executed. ``read`` raises :class:`Unfit` in words; whatever else it
raises means that the file is damaged.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

from proxyaudit.errors import InputError, ProxyauditError, safe_line
from proxyaudit.models.kinds.trees import TreeSpec

INSTALL = "in your clone of proxyaudit: pip install '.[trees]'"


class Unfit(Exception):
    """What is the matter with a model file that could be read, and how to mend it."""

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(what)
        self.what, self.mend = what, mend


@contextmanager
def refusing(what: str, *, where: str, mend: str) -> Iterator[None]:
    """What is the matter with a model file as an ``InputError``: :class:`Unfit` in its own words, all else that is raised as damage."""
    try:
        yield
    except Unfit as error:
        raise InputError(f"{what} {error.what}", where=where, mend=error.mend) from None
    except ProxyauditError:
        raise
    except Exception as error:
        raise InputError(f"{what} cannot be read: it is damaged ({safe_line(error)[:160]})", where=where, mend=mend) from error


def library_of(spec: TreeSpec) -> ModuleType:
    """The file here that stands for a kind's library; the library itself is not imported."""
    return import_module(spec.library.partition(":")[0])


def imported(name: str) -> Any:
    """A package of the extra ``trees``. Raises ``InputError``: it is not installed."""
    try:
        return import_module(name)
    except ImportError:
        raise InputError(f"this model needs the package {name.partition('.')[0]}", where="model", mend=INSTALL) from None
