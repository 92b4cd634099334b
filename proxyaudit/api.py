"""The Python face of a finished run: findings and estimates as tables."""

import operator
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from pydantic import BaseModel

from proxyaudit.errors import InputError, check_name
from proxyaudit.evidence.pack import EvidencePack, find_run
from proxyaudit.types import Estimate, Finding
from proxyaudit.verification.run import read_verified

if TYPE_CHECKING:
    from proxyaudit.reporting.plots import Plot

_NAME_OUT = "name a folder, such as 'reports'"


@dataclass(frozen=True)
class Audit:
    """A finished audit: everything in its pack, and its run directory (``None`` where nothing was written)."""

    folder: Path | None
    pack: EvidencePack

    @cached_property
    def findings(self) -> pd.DataFrame:
        """One row for each attribute and regime."""
        return _table(Finding, self.pack.evidence.findings)

    @cached_property
    def estimates(self) -> pd.DataFrame:
        """One row for each estimate, indexed by its id."""
        return _table(Estimate, self.pack.evidence.estimates).set_index("id")

    def plot(self, kind: str = "profile", attribute: str | None = None) -> "Plot":
        """A chart of the report as an object: shown by a notebook, ``.save("chart.svg")`` writes it.

        ``kind`` is ``profile`` (leak along the model's sites) or ``surface`` (what outputs show against what is inside), ``attribute`` an
        attribute or proxy, the first one if not given. Raises ``InputError``: unknown kind or attribute, or nothing of it was measured.
        """
        from proxyaudit.reporting.plots import make_plot

        return make_plot(self.pack, kind, attribute)

    def __repr__(self) -> str:
        run = self.pack.evidence.run
        verdicts = ", ".join(f"{f.attribute}/{f.regime}: {f.verdict}" for f in self.pack.evidence.findings)
        return f"Audit({run.name!r}, {run.status}, {verdicts})"

    def _repr_html_(self) -> str:
        from html import escape

        run, shown = self.pack.evidence.run, self.findings[["attribute", "regime", "verdict", "at_least", "sentence"]]
        shown = shown.assign(verdict=[f"{v}, at least {a}" if a else v for v, a in zip(shown["verdict"], shown["at_least"], strict=True)])
        partial = "" if run.status == "complete" else ", partial: a task failed"
        head = f"<p><b>{escape(run.name)}</b>, run {escape(run.id)}{partial}</p>"
        return head + str(shown.drop(columns="at_least").to_html(index=False, escape=True))


def _table(kind: type[BaseModel], found: Sequence[BaseModel]) -> pd.DataFrame:
    return pd.DataFrame([one.model_dump() for one in found], columns=list(kind.model_fields))


def open_audit(folder: str | Path) -> Audit:
    """Open a run directory, or a folder that holds exactly one, as ``verify`` does; what could not be checked here is warned of.

    ``InputError``: no complete run; ``IntegrityError``: it was changed.
    """
    notes: list[str] = []
    found = find_run(_path(folder, "folder", "name the folder of a run, such as 'reports/quickstart'"))
    pack = read_verified(found, notes, strict=False)
    for note in notes:
        warnings.warn(note, stacklevel=2)
    return Audit(found, pack)


def run(recipe: str | Path, *, out: str | Path = "reports", jobs: int | None = None, fresh: bool = False) -> Audit:
    """Run the audit of a recipe file, or reuse it where complete. Raises ``InputError``: the recipe or a file it names cannot be used."""
    from proxyaudit.cache import Cache, cache_folder
    from proxyaudit.keeping.room import make_room
    from proxyaudit.pipeline.run import run_audit

    file, folder = _path(recipe, "recipe", _mend_of_recipe(recipe)), _path(out, "out", _NAME_OUT)
    workers = None if jobs is None else _whole(jobs, "jobs")
    try:
        return open_audit(run_audit(file, out=folder, jobs=workers, fresh=fresh).folder)
    finally:
        if removed := make_room(cache := Cache(cache_folder())):
            warnings.warn(removed.words(cache.root), stacklevel=2)


def probe(
    activations: Any,
    labels: Any,
    *,
    attributes: str | Sequence[str],
    real: str | None = None,
    untrained: str | None = None,
    group: str | None = None,
    condition_on: str | Sequence[str] = (),
    intersections: Sequence[Sequence[str]] = (),
    recipients: Sequence[str] = (),
    leak_margin: float = 0.02,
    nonlinear_margin: float = 0.10,
    seed: int = 0,
    jobs: int | None = None,
    out: str | Path | None = None,
    name: str = "probe",
) -> Audit:
    """Audit bare activations: is the attribute still in them?

    ``activations`` map regime and site to ``(n, d)`` numbers, the same ``n`` rows in every regime: ``{"real": {"layer3": array}}``. One
    array alone is the site ``activations`` of a regime ``model``, and ``{"layer3": array}`` the sites of that regime. ``labels`` (a frame
    of pandas, polars or Arrow, or a mapping) are columns over them in the same order: sensitive ``attributes``, a ``group`` of rows that
    belong together (person, author, household), and columns that legitimately explain the attribute (``condition_on``). ``intersections``
    name attributes to be asked together, e.g. ``[("sex", "race")]``. The others are compared
    with regime ``real``, and with the same network before training, regime ``untrained``. Margins are the smallest leaks that matter,
    fractions of log2 K. Results do not depend on ``jobs``, the worker processes. Without ``out``, the folder of runs, nothing
    is written; of what is written a few people sit out (guide ``disclosure``), and what only age ``recipients`` may open is encrypted to
    them. Raises ``InputError``: the arrays or labels do not fit, or
    hold NaN or infinite activations.
    """
    from proxyaudit.audits.probe.inputs import ProbeRequest
    from proxyaudit.audits.probe.run import check_access, probe_arrays
    from proxyaudit.cache import Cache, cache_folder
    from proxyaudit.data.frames import as_frame
    from proxyaudit.publication import publish
    from proxyaudit.recipe.recipe import Margins
    from proxyaudit.recipe.yaml import validated

    check_name(_text(name, "name"), "name")
    check_access(_texts(recipients, "recipients"))
    given = {"leak": leak_margin, "nonlinear": nonlinear_margin}
    margins = validated(Margins, given, where="margins", mend="a margin lies between 0 and 1, e.g. 0.02 and 0.1")
    named, conditions = _texts(attributes, "attributes"), _texts(condition_on, "condition_on")
    together = tuple(_texts(one, "intersections") for one in _listed(intersections, "intersections"))
    given_names = (("real", real), ("untrained", untrained), ("group", group))
    first, before, people = (None if value is None else _text(value, what) for what, value in given_names)
    whole = _whole(seed, "seed")
    request = ProbeRequest(named, first, people, conditions, margins, whole, name, before, together, _texts(recipients, "recipients"))
    workers, reports = None if jobs is None else _whole(jobs, "jobs"), None if out is None else _path(out, "out", _NAME_OUT)
    pack = probe_arrays(activations, as_frame(labels), request, jobs=workers, published=reports is not None)
    if reports is None:
        return Audit(None, pack)
    folder = reports / name / pack.plan["run_id"]
    with Cache(cache_folder(), pack.plan["run_id"]).hold(folder):
        pack = publish(pack, folder)
    return Audit(folder, pack)


def _path(value: Any, what: str, mend: str) -> Path:
    if not isinstance(value, str | os.PathLike):
        raise InputError(f"{what} is no path, but a {type(value).__name__}", where=what, mend=mend)
    return Path(value)


def _mend_of_recipe(value: Any) -> str:
    """What to do with what is no path of a recipe: rows and settings are both read from files, whose bytes the evidence names."""
    if isinstance(value, Mapping):
        held = value.get("data")
        inside = [value, *(held.values() if isinstance(held, Mapping) else ())]
        rows = ", and any frame in it to a parquet or CSV file, named under data.path" if any(map(_is_frame, inside[1:])) else ""
        return f"write these settings to a file (yaml.safe_dump){rows}, and give the path of the file: run('recipe.yaml')"
    if _is_frame(value):
        return "write the rows to a parquet or CSV file, name it in a recipe (data: {path: rows.parquet}), and run the path of the recipe"
    return "give the path of a recipe file: run('recipe.yaml')"


def _is_frame(value: Any) -> bool:
    """Whether it is a table of pandas, polars or Arrow."""
    return hasattr(type(value), "columns")  # asked of the type: a lazy frame would have to read its file to answer


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"{what} is no text, but a {type(value).__name__}", where=what, mend="write it in quotes")
    return str(value)


def _listed(values: Any, what: str) -> tuple[Any, ...]:
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise InputError(f"{what} is no list, but a {type(values).__name__}", where=what, mend="write a list of names")
    return tuple(values)


def _texts(values: Any, what: str) -> tuple[str, ...]:
    return (str(values),) if isinstance(values, str) else tuple(_text(one, what) for one in _listed(values, what))


def _whole(value: Any, what: str) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise InputError(f"{what} is no whole number, but a {type(value).__name__}", where=what, mend="write e.g. 1") from None
