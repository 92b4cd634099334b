"""What `probe` reads: activations of one's own model, and the labels of the same rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from proxyaudit.activations.layouts import find_layout
from proxyaudit.activations.stored import Floating, How, Stored
from proxyaudit.arrays import Ints
from proxyaudit.audits.probe.copies import LOOKED_UP, join_copies, looked_up
from proxyaudit.audits.probe.labels import no_numbers
from proxyaudit.data.attributes import Attribute, code_attribute
from proxyaudit.data.columns import EXACT_INTEGER, Column, ColumnKind, coerce, infer_kind, labels
from proxyaudit.data.faults import Faults
from proxyaudit.data.intersections import check_intersections, cross_all
from proxyaudit.data.public_counts import SMALLEST_CELL
from proxyaudit.data.reading import Told
from proxyaudit.data.sitting_out import NOTE, stay
from proxyaudit.data.spellings import spelling_notes
from proxyaudit.data.splits import group_numbers, row_hashes
from proxyaudit.errors import InputError, did_you_mean
from proxyaudit.estimates.few_people import hide_few
from proxyaudit.names import check_names, check_regime_names
from proxyaudit.probes.row_blocks import LargeRows, WhitenedRows, in_blocks
from proxyaudit.recipe.recipe import Margins
from proxyaudit.types import REFERENCES, NotTested

Acts = dict[str, dict[str, "Floating | Stored"]]

FEWEST_ROWS = 100


@dataclass(frozen=True)
class ProbeRequest:
    """What to ask of bare activations; the run lies in ``<out>/<name>/<run id>``."""

    attributes: tuple[str, ...]  # columns of the labels that are sensitive
    real: str | None = None  # regime that the others are compared with
    group: str | None = None  # column of rows that belong together
    condition_on: tuple[str, ...] = ()  # columns that legitimately explain the attribute
    margins: Margins = field(default_factory=Margins)
    seed: int = 0
    name: str = "probe"
    untrained: str | None = None  # regime of the same network before training
    intersections: tuple[tuple[str, ...], ...] = ()  # attributes asked together, by their names
    recipients: tuple[str, ...] = ()  # age recipients that the restricted tier is encrypted to
    pool: How | None = None  # how the vectors of a row's tokens become one
    mask: str | None = None  # file that says which tokens are tokens
    memory: float | None = None  # gigabytes that one measurement may take; rows beyond it are left out


@dataclass(frozen=True)
class ProbeInputs:
    """Activations of the same rows in several regimes, and what is known of the rows."""

    acts: Acts  # regime -> site -> activations (n, d)
    attributes: tuple[Attribute, ...]
    unfit: dict[str, str]  # attributes that could not be coded, each with the reason
    clusters: Ints  # (n,) rows that belong together
    conditions: dict[str, NDArray[Any]]  # columns conditioned on, (n,) each
    notes: tuple[NotTested, ...]  # what was left out, or done beside what was asked for
    doubts: dict[str, str]  # attributes whose absence is not claimed, each with the reason
    places: Ints  # (n,) place of each row among those of the file that take part
    fewer: int | None = None  # rows that all but the linear tests are asked on, where memory holds no more


def read_activation_file(path: Path) -> dict[str, Floating]:
    """Sites of one file or folder, each ``(n, d)`` of any number type; ``InputError`` if it cannot be read or holds no matrices."""
    found = find_layout(path, None)
    return {name: _matrix(np.asarray(site), f"{path}, tensor '{name}'") for name, site in found.sites.items()}


def _matrix(tensor: Any, where: str) -> Floating:
    """One site in single precision, in double where single would lose anything; ``InputError`` if it is no finite real matrix.

    What is single precision already is not copied.
    """
    if isinstance(tensor, np.ma.MaskedArray):
        raise InputError("the activations are masked", where=where, mend="leave the masked rows out of every site and of the labels")
    if isinstance(tensor, torch.Tensor) and tensor.is_complex():
        raise InputError("the activations are no real numbers", where=where, mend="give real and imaginary parts as two sites")
    try:
        found = _as_array(tensor.detach().cpu()) if isinstance(tensor, torch.Tensor) else np.asarray(tensor)
    except (TypeError, ValueError, RuntimeError):  # of several lengths, without data, or what an object of somebody else raises
        found = np.empty(0, dtype=object)
    if found.dtype.kind not in "fiub":
        raise InputError("the activations are no real numbers", where=where, mend="give a matrix of numbers")
    _check_shape(found.shape, where)
    if found.dtype.itemsize >= 8 and any(_beyond_double(block) for _, block in in_blocks(found)):
        mend = "subtract an offset from each unit, or split it in two, so that every value is a double"
        raise InputError("the activations hold values that double precision would round", where=where, mend=mend)
    with np.errstate(over="ignore"):
        single = found.astype(np.float32, copy=False)
    bad = [~np.isfinite(block) for _, block in in_blocks(single)]
    values = sum(int(one.sum()) for one in bad)
    if values:
        rows = sum(int(one.any(axis=1).sum()) for one in bad)
        what = f"{values} values in {rows} rows are NaN, infinite or too large for single precision"
        mend = "find out why the model gives them; leave those rows out of every file and of the labels"
        raise InputError(what, where=where, mend=mend)
    # What single precision would round away is kept: what was never looked at cannot be called absent.
    lossless = single is found or all(np.array_equal(block, found[place]) for place, block in in_blocks(single))
    return single if lossless else found.astype(np.float64, copy=False)


def _check_shape(shape: tuple[int, ...], where: str) -> None:
    if len(shape) != 2:
        what = f"the activations have shape {tuple(shape)}, not (rows, dimensions)"
        raise InputError(what, where=where, mend="pool them to one vector for each row")
    if shape[1] == 0:
        raise InputError("the activations have no columns", where=where, mend="leave this site out")


def _by_header(values: Any, where: str) -> "Floating | Stored":
    """One site that lies on disk, by its shape alone."""
    _check_shape(values.shape, where)
    return values  # type: ignore[no-any-return]


def _settled(values: Any, where: str) -> "Floating | Stored":
    """One site as :func:`_matrix` gives it; of what lies on disk only the type that it is handed over as is kept."""
    if not isinstance(values, Stored):
        return _matrix(values, where)
    try:
        return replace(values, dtype=_matrix(np.asarray(values), where).dtype)
    except ValueError as error:
        raise InputError(str(error), where=where, mend="give a mask of 0 and 1, with a 1 in each row") from None


def _as_array(tensor: torch.Tensor) -> NDArray[Any]:
    """Floats in single precision where that holds them, else in double; whole numbers as they are."""
    short = tensor.is_floating_point() and tensor.element_size() <= 4
    return np.asarray((tensor.to(torch.float32) if short else tensor).resolve_neg().numpy())


def _beyond_double(found: NDArray[Any]) -> bool:
    """Whether what tells values apart would be rounded away: whole numbers beyond 2**53, or longer floats that are no doubles."""
    if found.dtype.kind in "iu":
        return bool(((found > EXACT_INTEGER) | (found < -EXACT_INTEGER)).any())
    if found.dtype.itemsize == 8:
        return False
    double = found.astype(np.float64)
    return bool(((double != found) & np.isfinite(double)).any())


def _named(sites: Mapping[Any, Any], what: str) -> dict[str, Any]:
    """Entries by their names as text; ``InputError`` where two are written alike."""
    named = {str(name): value for name, value in sites.items()}
    if len(named) < len(sites):
        raise InputError(f"two {what} are written alike", where="activations", mend="give each a name of its own")
    if any("\ud800" <= letter <= "\udfff" for name in named for letter in name):  # as names of files that are no UTF-8 are read
        raise InputError(f"one of the {what} has a name that is no text", where="activations", mend="name it in UTF-8")
    return named


def check_regimes(
    acts: Mapping[str, Mapping[str, Any]],
    rows: int,
    real: str | None,
    untrained: str | None = None,
    settle: Callable[[Any, str], "Floating | Stored"] = _settled,
) -> Acts:
    """Activations of every regime as matrices over the same rows and sites, each as ``settle`` takes it; ``InputError`` if they are not."""
    is_mapping = isinstance(acts, Mapping)  # an array has no truth value
    if acts is None or (is_mapping and not acts):
        raise InputError("no activations were given", where="--activations", mend="write --activations NAME=FILE.safetensors")
    if not is_mapping or not all(isinstance(sites, Mapping) for sites in acts.values()):
        mend = "write {'real': {'penultimate': array}}: a name for each regime, and within it one for each site"
        raise InputError("the activations are no mapping of regimes to their sites", where="activations", mend=mend)
    checked: Acts = {}
    for regime, given in _named(acts, "regimes").items():
        sites = _named(given, f"sites of regime '{regime}'")
        if regime.lower() in REFERENCES:
            raise InputError(f"'{regime}' is reserved for a reference", where="--activations", mend="choose another name, such as 'before'")
        if not sites:
            raise InputError(f"regime '{regime}' has no sites", where="--activations", mend="give one (n, d) matrix for each site")
        checked[regime] = {site: settle(values, f"regime '{regime}', site '{site}'") for site, values in sorted(sites.items())}
    first = next(iter(checked))
    for regime, matrices in checked.items():
        if list(matrices) != list(checked[first]):
            odd = sorted(set(matrices) ^ set(checked[first])) or sorted(matrices)
            what = f"regimes '{first}' and '{regime}' do not have the same sites ('{odd[0]}' is in one only)"
            mend = "give every regime the same sites, called alike: a site is a tensor of a safetensors file, or a file of a folder"
            raise InputError(what, where="--activations", mend=mend)
        for site, values in matrices.items():
            if len(values) != rows:
                what = f"site '{site}' of regime '{regime}' has {len(values)} rows, the labels have {rows}"
                raise InputError(what, where="--activations", mend="give activations and labels of the same rows in the same order")
    for option, name in (("--real", real), ("--untrained", untrained)):
        if name is not None and name not in checked:
            raise InputError(f"'{name}' is none of the regimes ({', '.join(checked)})", where=option, mend="name one of them")
    check_regime_names(checked, real, "--activations")
    if real is not None and real == untrained:
        raise InputError(f"'{real}' cannot be both", where="--untrained", mend="name the network before training, or leave it out")
    if rows < FEWEST_ROWS:
        raise InputError(f"{rows} rows are too few", where="--labels", mend=f"give at least {FEWEST_ROWS} rows")
    return checked


def make_inputs(
    acts: Mapping[str, Mapping[str, Any]],
    table: pd.DataFrame,
    request: ProbeRequest,
    where: str = "labels",
    *,
    published: bool = False,
    told: Told | None = None,
    remarks: Sequence[NotTested] = (),
) -> ProbeInputs:
    """Check everything (``InputError``), put the rows into an order of their own, so that the file's has no say, and code attributes.

    Of what is to be ``published`` a few people sit out, and no two regimes differ by few people alone. ``remarks`` say how rows were read.
    """
    group = request.group
    checked = check_regimes(acts, len(table), request.real, request.untrained)
    named = _check_labels(table, request, where)
    del acts  # what nobody else holds goes as it is put in order, site by site
    order = _own_order(checked, [table[column] for column in named])
    if published:
        order = order[_staying(table, group)[order]]
    for sites in checked.values():
        for name in sites:
            values = sites[name]
            sites[name] = values.take(order) if isinstance(values, Stored) else np.ascontiguousarray(values[order])
    table = table.iloc[order].reset_index(drop=True)
    people = table[group] if group else None
    coded, unfit, notes = _coded(table, request, people, where)
    notes += [*remarks, *(told.notes(named, "labels", recipe=False) if told is not None else [])]
    if published:
        notes.append(NOTE)
        checked = _without_few(checked, people)
    apart, clusters = join_copies([next(iter(regime.values())) for regime in checked.values()], people, notes)
    doubts = {a.name: LOOKED_UP for a in coded if looked_up(a, apart, clusters)}
    conditions = {name: _condition(table, name, where, notes, request.group) for name in request.condition_on}
    return ProbeInputs(checked, tuple(coded), unfit, clusters, conditions, tuple(notes), doubts, np.argsort(np.argsort(order)))


def check_request(layouts: Mapping[str, Mapping[str, Stored]], table: pd.DataFrame, request: ProbeRequest, where: str) -> None:
    """Refuse (``InputError``) whatever :func:`make_inputs` refuses, as far as it shows without reading activations."""
    check_regimes(layouts, len(table), request.real, request.untrained, _by_header)
    _check_labels(table, request, where)
    _coded(table, request, table[request.group] if request.group else None, where)


def _check_labels(table: pd.DataFrame, request: ProbeRequest, where: str) -> list[str]:
    """The columns that a request names; ``InputError`` if one cannot be used as it is asked."""
    named = [*request.attributes, *request.condition_on, *([request.group] if request.group is not None else [])]
    _check_columns(table, request.attributes, named, request.group, where)
    made = check_intersections(request.intersections, request.attributes, map(str, table.columns), "--intersection")
    check_names([*request.attributes, *made], "attribute", where, map(str, table.columns))
    return named


def _staying(table: pd.DataFrame, group: str | None) -> NDArray[np.bool_]:
    """Rows of people who do not sit out, in the order of the file."""
    plain = pd.DataFrame({number: labels(table.iloc[:, number]).fillna("").astype(str) for number in range(table.shape[1])})
    people = np.arange(len(table)) if group is None else group_numbers(table[group])
    return stay(row_hashes(plain, list(plain.columns)), people)


def _without_few(acts: Acts, people: Column | None) -> Acts:
    """Activations of which no two regimes' differ by few people alone, at any site."""
    sites = list(next(iter(acts.values())))
    rows = len(acts[next(iter(acts))][sites[0]])
    whose = np.arange(rows) if people is None else group_numbers(people)
    if len(acts) == 1:
        return acts
    shown = {site: _hidden([regime[site] for regime in acts.values()], whose) for site in sites}
    return {name: {site: shown[site][place] for site in sites} for place, name in enumerate(acts)}


def _hidden(values: Sequence["Floating | Stored"], whose: Ints) -> list["Floating | Stored"]:
    """What :func:`hide_few` makes of one site of all regimes; of what lies on disk only the rows that it changed are kept."""
    before = [np.asarray(one) for one in values]
    out: list[Floating | Stored] = []
    for one, array, shown in zip(values, before, hide_few(before, whose), strict=True):
        if isinstance(one, Stored) and shown is not array:
            changed = np.flatnonzero((shown != array).any(axis=1))
            out.append(replace(one, instead=(changed, shown[changed])))
        else:
            out.append(one if isinstance(one, Stored) else shown)
    return out


def _check_columns(table: pd.DataFrame, attributes: Sequence[str], named: Sequence[str], group: str | None, where: str) -> None:
    """See that every column that was named is there, once, in one role, and of a kind; all that is wrong is told in one message."""
    faults = Faults("labels", where)
    for needed in dict.fromkeys(named):
        if needed not in table.columns:
            known = [str(column) for column in table.columns]
            mend = did_you_mean(needed, known, f"the columns are: {', '.join(known[:12])}{', ...' if len(known) > 12 else ''}")
            faults.add(f"there is no column '{needed}'", mend)
        elif isinstance(table[needed], pd.Series):
            with faults.gathering():
                kind = infer_kind(table[needed], where=where)
                coerce(table[needed], kind, where=where)
                if needed != group:  # whoever a row is of is a name
                    no_numbers(table[needed], kind, where=where)
    faults.settle()
    twice = sorted({str(column) for column in table.columns[table.columns.duplicated()]})
    if twice:
        raise InputError(f"two columns are named '{twice[0]}'", where=where, mend="give each column a name of its own")
    if not attributes:
        raise InputError("no attribute was named", where="--attribute", mend="write --attribute COLUMN")
    doubled = sorted({name for name in attributes if list(named).count(name) > 1})
    if doubled:
        raise InputError(f"column '{doubled[0]}' is named in two roles", where="--attribute", mend="give it one role")


def _coded(
    table: pd.DataFrame, request: ProbeRequest, people: Column | None, where: str
) -> tuple[list[Attribute], dict[str, str], list[NotTested]]:
    """Attributes and intersections that could be coded, attributes that could not with the reason, and what was left out."""
    coded: list[Attribute] = []
    unfit: dict[str, str] = {}
    notes: list[NotTested] = []
    for name in request.attributes:
        kind, column = _column(table, name, where, notes, request.group)
        distinct = int(column.nunique())
        try:
            found, more = code_attribute(column, kind, "protected", distinct=distinct, where=where, fewest=SMALLEST_CELL, groups=people)
        except InputError as error:
            unfit[name] = str(error.what)
            continue
        notes += more
        if found is not None:
            coded.append(found)
    if alone := next((name for names in request.intersections for name in names if name in unfit), None):
        raise InputError(f"an intersection with '{alone}' cannot be asked: {unfit[alone]}", where="--intersection", mend="leave it out")
    coded += cross_all(request.intersections, coded, people, notes, fewest=SMALLEST_CELL, where="--intersection")
    return coded, unfit, notes


def _column(table: pd.DataFrame, name: str, where: str, notes: list[NotTested], group: str | None) -> tuple[ColumnKind, Column]:
    """A column by its kind; ``notes`` takes how it is spelt."""
    kind = infer_kind(table[name], where=where)
    no_numbers(table[name], kind, where=where, notes=notes)
    notes += spelling_notes(table, [kind], "labels", group)
    return kind, coerce(table[name], kind, where=where)


def _condition(table: pd.DataFrame, name: str, where: str, notes: list[NotTested], group: str | None) -> NDArray[Any]:
    """A column to condition on: numbers, or text."""
    kind, column = _column(table, name, where, notes, group)
    return column.to_numpy(dtype=np.float64) if kind.kind == "numeric" else column.fillna("(missing)").astype(str).to_numpy()


def _own_order(acts: Acts, columns: Sequence[Column]) -> Ints:
    """An order of the rows that neither the file nor names decide.

    By whitened length at each site, which rotating or rescaling does not change; equals (copies, more dimensions than rows) by
    the activations themselves, then by the values of their columns, those by how common they are and what activations they go with.
    """
    matrices = [values for sites in acts.values() for values in sites.values()]
    keys: list[NDArray[Any]] = []
    for length in _lengths(matrices):
        # Finer than what rotating single-precision rows does to a length: of rows that tie, other keys would decide.
        keys.append(np.round(length / max(float(length.max()), 1e-300), 9))
        order = np.lexsort(keys[::-1])
        if not np.logical_and.reduce([key[order][1:] == key[order][:-1] for key in keys]).any():
            return np.asarray(order, dtype=np.int64)  # no two rows tie, so that no other site has a say
    for values in map(np.asarray, matrices):
        keys += [np.array(values[:, column]) for column in range(min(values.shape[1], 3))]
    about = [np.asarray(key, dtype=np.float64) for key in keys]
    for column in columns:
        codes = pd.factorize(labels(column).fillna("").astype(str))[0]
        counts = np.bincount(codes)
        means = [np.round(np.bincount(codes, weights=key) / counts, 7) for key in about]
        ranks = np.empty(len(counts), dtype=np.int64)
        ranks[np.lexsort([*means[::-1], counts])] = np.arange(len(counts))
        keys.append(ranks[codes])
    return np.asarray(np.lexsort(keys[::-1]), dtype=np.int64)


def _lengths(matrices: Sequence["Floating | Stored"]) -> Iterator[NDArray[Any]]:
    """Whitened lengths of the rows at each site, one site in memory at a time."""
    for values in matrices:
        yield (LargeRows if isinstance(values, Stored) else WhitenedRows)(np.asarray(values)).lengths()
