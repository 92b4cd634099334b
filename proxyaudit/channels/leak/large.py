"""A site whose rows do not fit into memory several times over: the linear test on all of them, everything else on fewer.

Coordinates and units are held once, in single precision; they come of two passes over the rows, as of one exact whitening.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Bools, Floats, Ints, Singles
from proxyaudit.channels.leak.record import SITE_LEAKS, LeakTest, SiteRecord
from proxyaudit.channels.leak.site_probe import ProbedArrays, Probing, SiteProbe
from proxyaudit.data.attributes import Attribute
from proxyaudit.data.one_row_each import one_row_each
from proxyaudit.estimates.record import Measurement
from proxyaudit.probes.crossfit import cross_fit_classes, cross_fit_values
from proxyaudit.probes.folds import TooFewRowsError, assign_folds
from proxyaudit.probes.row_blocks import LargeRows, in_blocks
from proxyaudit.probes.score import ScoreStatistic
from proxyaudit.probes.whitening import Whitened, whiten
from proxyaudit.seeding import stream
from proxyaudit.stats.directions import Block, Rows

_PRODUCT_MB = 128  # of one product of label columns


@dataclass(frozen=True)
class LargeWhitened(Whitened):
    """Whitened rows in single precision, of which no product is formed."""

    @property
    def rows(self) -> Rows:
        """The rows, for planting and scoring along lines."""
        z: Any = self.z_nr
        x: Any = self.x_nd
        return Rows(z, x, (Block(slice(0, len(z)), z.shape[1]),))


def whiten_large(acts_nd: Singles) -> LargeWhitened | None:
    """Whitened rows; the activations are overwritten by their standardised units. ``None`` where long rows hide the others."""
    found = LargeRows(acts_nd)
    z: Any = found.singles()
    if found.is_long_tailed(np.concatenate([np.einsum("nr,nr->n", block, block, dtype=np.float64) for _, block in in_blocks(z)])):
        return None
    x: Any = found.standardised_in_place(acts_nd)
    moving = found.moving
    nothing: Floats = np.zeros((len(z), 0))
    return LargeWhitened(z, x, int((~moving).sum()), x.shape[1] - z.shape[1], nothing, moving, np.zeros(x.shape[1], dtype=bool))


def measure_large_site(
    read: Callable[[Ints], NDArray[Any]], rows: ProbedArrays, probing: Probing, *, site: str, out: Measurement
) -> tuple[NDArray[Any], tuple[Attribute, ...], Ints]:
    """Probe every attribute at one site: the linear test on all rows, and where that does not settle it the others on ``rows.fewer``.

    ``read`` gives the activations of some rows ``(m, d)``. Returns those of the fewer rows, the attributes as known on these alone, and
    which they are.
    """
    folds = assign_folds(rows.clusters, stream(probing.root, "folds"))
    linear: dict[str, SiteRecord] = {}
    alone = tuple(one_row_each(one, rows.clusters, probing.root) for one in rows.attributes)
    for known, attributes in _by_known(alone).items():
        place = np.flatnonzero(np.frombuffer(known, dtype=bool))
        white = whiten_large(np.asarray(read(place), dtype=np.float32))
        if white is not None:
            groups = rows.clusters[place]
            together = groups if len(np.unique(groups)) < len(groups) else None
            shared: dict[str, Any] = {}
            if white.z_nr.shape[1]:
                shared["linear"] = ScoreStatistic(white.rows, "linear", together, memory_mb=_PRODUCT_MB)
            linear |= {one.name: _linear(white, one, folds, rows.clusters, probing, shared) for one in attributes}
    some = fewer_rows(rows.clusters, int(rows.fewer or len(rows.clusters)), probing.root)
    acts = read(np.flatnonzero(some))
    cut = tuple(_known_on(one, some) for one in rows.attributes)
    left = [_known_on(one, some) for one in alone if not _settles(linear.get(one.name), one, probing)]
    few = _measure_few(acts, some, left, folds, rows.clusters, probing) if left else {}
    for attribute in cut:
        names = ["nonlinear", *(["quarters", "quarters nonlinear"] if attribute.classes == 0 else [])]
        names += ["beyond", "beyond nonlinear"] if attribute.name in probing.strata else []
        SITE_LEAKS.write(out, _joined(few.get(attribute.name), linear.get(attribute.name), names, probing.settled), attribute.name, site)
    return acts, cut, np.flatnonzero(some)


def _joined(few: SiteRecord | None, of_all: SiteRecord | None, names: Sequence[str], settled: str) -> SiteRecord:
    """One record of what was asked on fewer rows, and of the linear test on all; ``names`` are what else may be asked."""
    if of_all is None or (few is not None and of_all.linear is None):
        if few is None:
            raise ValueError("nothing was asked")
        return few
    if few is None:
        return of_all if of_all.silent else replace(of_all, tests=dict(of_all.tests) | dict.fromkeys(names, LeakTest(settled)))
    tests = few.tests if few.reason is None else dict.fromkeys(names, LeakTest(few.reason))
    return replace(of_all, tests={**tests, **of_all.tests}, dropped_p=few.dropped_p, agreement=few.agreement, effort=few.effort)


def _settles(record: SiteRecord | None, attribute: Attribute, probing: Probing) -> bool:
    """Whether nothing more is asked: the site is constant, or a linear reader surely finds the attribute."""
    if record is None or record.linear is None:
        return record is not None and record.silent
    return record.linear.p_present <= probing.unless_linear and (attribute.classes > 0 or probing.numbers_too)


def _measure_few(
    acts_md: NDArray[Any], some: Bools, attributes: Sequence[Attribute], folds: Ints, clusters: Ints, probing: Probing
) -> dict[str, SiteRecord]:
    """All tests of attributes that are known on ``some`` rows only, those of the activations."""
    found: dict[str, SiteRecord] = {}
    everything, shared = whiten(acts_md), dict[str, Any]()
    for attribute in attributes:
        known = attribute.known[some]
        whole = bool(known.all())
        acts, white = (acts_md, everything) if whole else (acts_md[known], whiten(acts_md[known]))
        record = SiteProbe(acts, white, attribute, folds, clusters, probing, shared if whole else {}).measure(None)
        asked = int(known.sum())
        tests = {name: replace(test, rows=asked) if test.rows is None and test.asked else test for name, test in record.tests.items()}
        found[attribute.name] = replace(record, tests=tests)
    return found


def _known_on(attribute: Attribute, some: Bools) -> Attribute:
    """The attribute, known on some rows only."""
    codes = np.array(attribute.codes)
    codes[~some] = np.nan if attribute.kind == "continuous" else -1
    return replace(attribute, codes=codes)


def fewer_rows(clusters_n: Ints, most: int, root: int) -> Bools:
    """Whole clusters at random, up to so many rows."""
    ids = np.unique(clusters_n, return_inverse=True)[1]
    order = stream(root, "fewer rows").permutation(int(ids.max()) + 1)
    return np.isin(ids, order[np.cumsum(np.bincount(ids)[order]) <= most])


def _by_known(attributes: tuple[Attribute, ...]) -> dict[bytes, list[Attribute]]:
    """Attributes that are known on the same rows."""
    found: dict[bytes, list[Attribute]] = {}
    for attribute in attributes:
        found.setdefault(np.asarray(attribute.known, dtype=bool).tobytes(), []).append(attribute)
    return found


def _linear(
    white: LargeWhitened, attribute: Attribute, folds: Ints, clusters: Ints, probing: Probing, shared: dict[str, Any]
) -> SiteRecord:
    probe = SiteProbe(white.x_nd, white, attribute, folds, clusters, probing, shared)
    rank = white.z_nr.shape[1]
    record = SiteRecord(len(probe.labels), rank, white.constant, white.dropped, silent=rank == 0)
    if record.silent:
        return record
    try:
        if attribute.classes:
            score = cross_fit_classes(white.z_nr, probe.labels, attribute.classes, probe.folds)
        else:
            score = cross_fit_values(white.z_nr, probe.labels, probe.folds)
    except TooFewRowsError as error:
        return replace(record, reason=str(error))
    return replace(record, tests={"linear": probe.linear_test(None, score)})
