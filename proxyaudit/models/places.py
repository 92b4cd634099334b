"""Where models are read, and which of these places a recipe's globs name; told without torch, so that a plan need not load it."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

from proxyaudit.errors import InputError
from proxyaudit.recipe.recipe import SitesSpec
from proxyaudit.types import PENULTIMATE, Task


@dataclass(frozen=True)
class Tap:
    """Where in a module a site is read and written.

    ``tail`` is how the rest of the forward pass can be run from the site's value alone: ``method`` (the module has ``tail(site, value)``),
    ``head`` (the tapped submodule's output is the model's output), ``none`` (only a whole forward pass will do).
    """

    module: str  # dotted name of the submodule
    side: Literal["input", "output"]  # whether the site is the submodule's output or the tensor handed to it
    tail: Literal["method", "head", "none"] = "none"
    in_tuple: bool = False  # whether the submodule returns a tuple whose first member is the site
    span: tuple[int, int] | None = None  # units of the tensor that are the site; all of them if ``None``
    aside: bool = False  # nothing in the model follows from it: it can be read, and exchanging or erasing it would do nothing


@dataclass(frozen=True)
class Candidates:
    """Places that can be sites, and why others cannot. A block is a module with weights and what follows it up to the next."""

    taps: dict[str, Tap]  # where each candidate is read, by name, in forward order
    aliases: dict[str, str] = field(default_factory=dict)  # other names: of a module whose output is the penultimate site's very tensor
    refused: dict[str, str] = field(default_factory=dict)  # reason by module name for what cannot be a site
    blocks: tuple[tuple[str, ...], ...] = ()  # names of the modules of each block, in forward order
    widths: dict[str, int] = field(default_factory=dict)  # units of each candidate, where the kind of model tells them

    def unprofiled(self, sites: Sequence[str]) -> tuple[str, ...]:
        """First module of each block that has no site among ``sites``."""
        seen = {self.taps[name].module for name in sites if self.taps[name].side == "output"} | set(sites)
        seen |= {alias for alias, site in self.aliases.items() if site in sites}
        left = [block for block in self.blocks if not any(f"{place}.".startswith(f"{name}.") for name in block for place in seen)]
        if left and PENULTIMATE in sites and left[-1] == self.blocks[-1] and PENULTIMATE not in self.aliases.values():
            left.pop()  # nothing but functions lies between the last block and the input of the head
        return tuple(block[0] for block in left)


@dataclass(frozen=True)
class Outline:
    """What a plan says of a model; fields of the same names are those of a ``TrainedModel``."""

    sites: tuple[str, ...]
    verdict_sites: tuple[str, ...]
    unprofiled: tuple[str, ...] = ()
    unread: str = ""
    finest: int = 0  # how many places could be read, all told
    widths: dict[str, int] = field(default_factory=dict)  # units of each site; empty where only a pass tells them


def select_sites(candidates: Candidates, sites: SitesSpec, *, every: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(Profiled, verdict) sites, in forward order; verdict sites are profiled too.

    Raises ``InputError``: a glob matches nothing, or nothing in the model follows from a verdict site.
    """
    verdict = _match(sites.verdict, candidates, every, where="sites.verdict")
    profiled = _match(sites.profile, candidates, every, where="sites.profile")
    order = list(candidates.taps)
    names, deciding = tuple(sorted(verdict | profiled, key=order.index)), tuple(sorted(verdict, key=order.index))
    if idle := next((name for name in deciding if candidates.taps[name].aside), None):
        acting = [name for name, tap in candidates.taps.items() if not tap.aside]
        what = f"nothing in the model follows from site '{idle}', so it can be profiled only"
        raise InputError(what, where="sites.verdict", mend=f"take one of {', '.join(acting)}")
    return names, deciding


def _match(globs: Iterable[str], candidates: Candidates, every: tuple[str, ...], *, where: str) -> set[str]:
    found: set[str] = set()
    words = {"all": every, "everything": ("*",)}
    for glob in [g for word in globs for g in words.get(word, (word,))]:
        names = {name for name in candidates.taps if fnmatchcase(name, glob)}
        names |= {site for alias, site in candidates.aliases.items() if fnmatchcase(alias, glob)}
        if not names:
            because = next((f" ('{name}' {why})" for name, why in candidates.refused.items() if fnmatchcase(name, glob)), "")
            mend = nearest_sites(glob, candidates.taps, candidates.aliases)
            raise InputError(f"site '{glob}' matches nothing{because}", where=where, mend=mend)
        found |= names
    if not found:
        raise InputError("no site is named", where=where, mend="write 'penultimate', 'all', 'everything' or names of sites")
    return found


def nearest_sites(name: str, taps: Iterable[str], aliases: Iterable[str]) -> str:
    """How to mend the name of a site that is none."""
    known = [*taps, *aliases]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.3) or known[:5]
    return f"nearest sites: {', '.join(near) or 'none'}"


def columns_of(n_classes: int, task: Task = "classes") -> int:
    """Return the number C of output columns: 1 for two classes or a number, K otherwise."""
    return 1 if n_classes == 2 and task != "labels" else n_classes
