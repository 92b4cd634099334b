"""Activations that lie in files: what is there, which rows of it are kept, and what the reader of a report is told of that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from proxyaudit.activations.layouts import Layout, find_layout, with_pooling
from proxyaudit.activations.stored import Stored
from proxyaudit.arrays import Ints
from proxyaudit.audits.probe.inputs import ProbeRequest
from proxyaudit.audits.probe.sizes import GIGA, Size, size_of
from proxyaudit.data.columns import labels as text_of
from proxyaudit.data.public_counts import public_count
from proxyaudit.data.sampling import draw_rows
from proxyaudit.data.splits import group_numbers
from proxyaudit.digests import digest_of, file_digest
from proxyaudit.errors import InputError
from proxyaudit.seeding import stream
from proxyaudit.types import NotTested

_MOST_LEVELS = 50
_ONLY = "activations"  # the site of a regime that is one array, as from Python


@dataclass(frozen=True)
class Found:
    """Where the activations of every regime lie, and how large the audit of them is."""

    layouts: dict[str, Layout]
    size: Size
    remarks: tuple[NotTested, ...]
    mask: Layout | None = None

    @property
    def held(self) -> bool:
        """Whether all activations that are kept fit into memory beside what measuring takes; else they are read site by site."""
        dimensions = sum(site.shape[-1] for layout in self.layouts.values() for site in layout.sites.values())
        return self.size.fewer is None and 4 * self.size.rows * dimensions + self.size.memory * GIGA <= self.size.budget * GIGA

    def hashes(self, files: Mapping[str, Path]) -> dict[str, str]:
        """Digest of what each regime was read from; of several files over their names, in order, and digests."""
        masks = {} if self.mask is None else {"labels mask": _digest(None, self.mask)}
        return {f"activations {name}": _digest(files[name], layout) for name, layout in self.layouts.items()} | masks


def find_activations(files: Mapping[str, Path], rows: int, request: ProbeRequest) -> Found:
    """What lies in the files; only their headers are read. ``InputError``: they cannot be read, or are not of so many ``rows``."""
    mask = None if request.mask is None else find_layout(Path(request.mask), rows)
    if mask is not None and request.pool is None:
        raise InputError("a mask says which tokens are pooled", where="--mask", mend="name --pool mean, last or first beside it")
    found, remarks = _matched(files, {name: find_layout(path, rows) for name, path in files.items()})
    layouts = {name: with_pooling(layout, request.pool, mask, f"regime '{name}'") for name, layout in found.items()}
    for name, layout in layouts.items():
        for site, stored in layout.sites.items():
            if stored.stored_rows != rows:
                what = f"site '{site}' of regime '{name}' has {stored.stored_rows} rows, the labels have {rows}"
                raise InputError(what, where="--activations", mend="give activations and labels of the same rows in the same order")
            if any(0 in part.shape[1:] for part in stored.parts):
                raise InputError(f"site '{site}' of regime '{name}' has no columns", where="--activations", mend="leave this site out")
        if layout.joined:
            remarks.append(NotTested(what=f"whether the files of '{name}' are in the order of the labels", why=layout.order()))
        if request.pool is not None:
            left = "tokens that the mask leaves out do not count" if mask is not None else "padding, where there is any, counts as tokens"
            how = "mean of its tokens" if request.pool == "mean" else f"{request.pool} of its tokens"
            remarks.append(NotTested(what=f"single tokens of '{name}'", why=f"each row is the {how} (--pool {request.pool}); {left}"))
    size = size_of(layouts, rows, len(request.attributes), request.memory)
    return Found(layouts, size, tuple(remarks), mask)


def _matched(files: Mapping[str, Path], layouts: dict[str, Layout]) -> tuple[dict[str, Layout], list[NotTested]]:
    """Regimes of which each is one numpy file are one site, whatever the files are called; a remark says so."""
    names = {site for layout in layouts.values() for site in layout.sites}
    single = all(path.suffix.lower() == ".npy" and path.is_file() for path in files.values())
    if not single or len(names) < 2:
        return layouts, []
    listed = ", ".join(f"{path.name} ('{name}')" for name, path in files.items())
    why = f"each regime is one numpy file, so they were compared as the site '{_ONLY}': {listed}"
    matched = {name: replace(layout, sites={_ONLY: next(iter(layout.sites.values()))}) for name, layout in layouts.items()}
    return matched, [NotTested(what="whether the files hold the same place of the models", why=why)]


def take_rows(
    found: Found, table: pd.DataFrame, request: ProbeRequest
) -> tuple[dict[str, dict[str, Any]], pd.DataFrame, tuple[NotTested, ...]]:
    """Activations and labels of the rows that are kept, and remarks: arrays where all of them fit into memory, else where they lie."""
    size, remarks, chosen = found.size, list(found.remarks), None
    if size.fewer is not None:
        why = (
            f"everything but the linear test is asked on {public_count(size.fewer):,} rows drawn at random, and not at all where a "
            f"linear reader surely finds the attribute, so that the audit takes at most {size.budget:g} GB (--memory)"
        )
        remarks.append(NotTested(what="more than the linear leak on all rows", why=why))
    if (drawn := draw(found, table, request)) is not None:
        chosen, remark = drawn
        remarks.append(remark)
        table = table.iloc[chosen].reset_index(drop=True)
    held = found.held
    acts: dict[str, dict[str, Any]] = {}
    for name, layout in found.layouts.items():
        kept = {site: stored if chosen is None else stored.take(chosen) for site, stored in layout.sites.items()}
        acts[name] = {site: _loaded(stored, f"regime '{name}', site '{site}'") for site, stored in kept.items()} if held else dict(kept)
    return acts, table, tuple(remarks)


def _loaded(stored: Stored, where: str) -> Any:
    try:
        return np.asarray(stored)
    except ValueError as error:
        raise InputError(str(error), where=where, mend="give a mask of 0 and 1, with a 1 in each row") from None


def draw(found: Found, table: pd.DataFrame, request: ProbeRequest) -> tuple[Ints, NotTested] | None:
    """Rows that are kept, in the order of the files; ``None`` where all are.

    They hang on the seed and on the place of each row, not on the activations.
    So two models that are probed with the same labels are asked about the same people, however their files are cut.
    """
    size = found.size
    if size.rows >= size.stored_rows:
        return None
    keys = stream(request.seed, "probe rows").integers(2**64, size=len(table), dtype=np.uint64)
    levels = [_levels(table[name]) for name in request.attributes if name in table]
    group = None if request.group is None else table.get(request.group)
    chosen, extra = draw_rows(keys if group is None else keys[group_numbers(group)], size.rows, levels)
    if len(chosen) < min(size.rows, 100):
        what = "the groups are larger than the rows that fit into memory"
        raise InputError(what, where="--group", mend="raise --memory, or name a column of smaller groups")
    whole = "" if group is None else f", whole groups of '{request.group}'"
    rare = f"; {public_count(extra):,} of them were kept beyond their share, since few rows carry their level" if extra else ""
    why = (
        f"{public_count(len(chosen)):,} of {public_count(len(table)):,} rows were drawn at random (seed {request.seed}){whole}, so that "
        f"the audit takes at most {size.budget:g} GB (--memory){rare}"
    )
    return chosen, NotTested(what="rows beyond those that fit into memory", why=why)


def _levels(column: "pd.Series[Any]") -> Ints:
    """Levels of a column of few of them, by number; none of a column of many."""
    codes, levels = pd.factorize(text_of(column))
    return np.asarray(codes if len(levels) <= _MOST_LEVELS else np.full(len(codes), -1), dtype=np.int64)


def _digest(path: Path | None, layout: Layout) -> str:
    files: Sequence[Path] = layout.files
    return file_digest(files[0]) if tuple(files) == (path,) else digest_of([[file.name, file_digest(file)] for file in files])
