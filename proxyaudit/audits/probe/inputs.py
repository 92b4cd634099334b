"""What `probe` reads: activations of one's own model, and the labels of the same rows.

Rows that repeat one another are joined into one cluster as copies of one person. But if different people share a profile (an embedded zip
code), whoever knows it can look the attribute up, which no reader would see. Where copies agree in it more than chance, absence is
therefore not claimed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from proxyaudit.arrays import Ints
from proxyaudit.data.attributes import Attribute, code_attribute
from proxyaudit.data.columns import EXACT_INTEGER, Column, ColumnKind, coerce, infer_kind, labels
from proxyaudit.data.encoding import spelling_notes
from proxyaudit.data.public_counts import SMALLEST_CELL, count_words
from proxyaudit.data.splits import alike, connected, group_numbers
from proxyaudit.errors import InputError, did_you_mean
from proxyaudit.names import check_names, check_regime_names
from proxyaudit.probes.whitening import whiten
from proxyaudit.recipe.recipe import Margins
from proxyaudit.seeding import stream
from proxyaudit.types import REFERENCES, NotTested

Floating = NDArray[np.floating[Any]]
Acts = dict[str, dict[str, Floating]]

FEWEST_ROWS = 100
_NEAR = 0.01  # squared distance, as a share of that of two rows at random, below which rows count as copies
_TELLING_RANK = 8  # with fewer dimensions unrelated rows come that close as well
_LARGEST_CLUSTER = 0.1
_ROWS_AT_ONCE = 512
_FEWEST_PAIRS = 20
LOOKED_UP = (
    "rows that repeat one another agree in it, so absence is not claimed: if they are one person's, name the column that tells people "
    "apart as the group; if they are several people's, it can be looked up"
)
_SURELY = 0.01
_PERMUTATIONS = 499


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
    places: Ints  # (n,) place of each row in the file


def read_activation_file(path: Path) -> dict[str, Floating]:
    """Sites of one safetensors file, each ``(n, d)`` of any number type; ``InputError`` if it cannot be read or holds no matrices."""
    where = str(path)
    if not path.is_file():
        raise InputError("no such file", where=where, mend="give the path of a safetensors file")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        mend = "write it with safetensors: one (n, d) tensor for each site"
        raise InputError(f"not a safetensors file ({line[:80]})", where=where, mend=mend) from None
    if not tensors:
        raise InputError("the file holds no tensors", where=where, mend="write one (n, d) tensor for each site")
    return {name: _matrix(tensor, f"{where}, tensor '{name}'") for name, tensor in sorted(tensors.items())}


def _matrix(tensor: Any, where: str) -> Floating:
    """One site in single precision, in double where single would lose anything; ``InputError`` if it is no finite real matrix."""
    if isinstance(tensor, np.ma.MaskedArray):
        raise InputError("the activations are masked", where=where, mend="leave the masked rows out of every site and of the labels")
    if isinstance(tensor, torch.Tensor) and tensor.is_complex():
        raise InputError("the activations are no real numbers", where=where, mend="give real and imaginary parts as two sites")
    try:
        found = _as_array(tensor.detach().cpu()) if isinstance(tensor, torch.Tensor) else np.asarray(tensor)
    except TypeError:
        found = np.empty(0, dtype=object)
    if found.dtype.kind not in "fiub":
        raise InputError("the activations are no real numbers", where=where, mend="give a matrix of numbers")
    if found.ndim != 2:
        what = f"the activations have shape {tuple(found.shape)}, not (rows, dimensions)"
        raise InputError(what, where=where, mend="pool them to one vector for each row")
    if found.shape[1] == 0:
        raise InputError("the activations have no columns", where=where, mend="leave this site out")
    if found.dtype.itemsize >= 8 and _beyond_double(found):
        mend = "subtract an offset from each unit, or split it in two, so that every value is a double"
        raise InputError("the activations hold values that double precision would round", where=where, mend=mend)
    with np.errstate(over="ignore"):
        single = found.astype(np.float32)
    bad = ~np.isfinite(single)
    if bad.any():
        what = f"{bad.sum()} values in {bad.any(axis=1).sum()} rows are NaN, infinite or too large for single precision"
        mend = "find out why the model gives them; leave those rows out of every file and of the labels"
        raise InputError(what, where=where, mend=mend)
    # What single precision would round away is kept: what was never looked at cannot be called absent.
    return single if np.array_equal(single, found) else found.astype(np.float64)


def _as_array(tensor: torch.Tensor) -> NDArray[Any]:
    """Floats in double precision, whole numbers as they are."""
    return np.asarray((tensor.to(torch.float64) if tensor.is_floating_point() else tensor).numpy())


def _beyond_double(found: NDArray[Any]) -> bool:
    """Whether what tells values apart would be rounded away: whole numbers beyond 2**53, or longer floats that are no doubles."""
    if found.dtype.kind in "iu":
        return bool(((found > EXACT_INTEGER) | (found < -EXACT_INTEGER)).any())
    double = found.astype(np.float64)
    return bool(((double != found) & np.isfinite(double)).any())


def _named(sites: Mapping[Any, Any], what: str) -> dict[str, Any]:
    """Entries by their names as text; ``InputError`` where two are written alike."""
    named = {str(name): value for name, value in sites.items()}
    if len(named) < len(sites):
        raise InputError(f"two {what} are written alike", where="activations", mend="give each a name of its own")
    return named


def check_regimes(acts: Mapping[str, Mapping[str, Any]], rows: int, real: str | None, untrained: str | None = None) -> Acts:
    """Activations of every regime as matrices over the same rows and sites; ``InputError`` where they are not."""
    if not acts:
        raise InputError("no activations were given", where="--activations", mend="write --activations NAME=FILE.safetensors")
    if not isinstance(acts, Mapping) or not all(isinstance(sites, Mapping) for sites in acts.values()):
        mend = "write {'real': {'penultimate': array}}: a name for each regime, and within it one for each site"
        raise InputError("the activations are no mapping of regimes to their sites", where="activations", mend=mend)
    checked: Acts = {}
    for regime, given in _named(acts, "regimes").items():
        sites = _named(given, f"sites of regime '{regime}'")
        if regime.lower() in REFERENCES:
            raise InputError(f"'{regime}' is reserved for a reference", where="--activations", mend="choose another name")
        if not sites:
            raise InputError(f"regime '{regime}' has no sites", where="--activations", mend="give one (n, d) matrix for each site")
        checked[regime] = {site: _matrix(values, f"regime '{regime}', site '{site}'") for site, values in sorted(sites.items())}
    first = next(iter(checked))
    for regime, matrices in checked.items():
        if list(matrices) != list(checked[first]):
            odd = sorted(set(matrices) ^ set(checked[first])) or sorted(matrices)
            what = f"regimes '{first}' and '{regime}' do not have the same sites ('{odd[0]}' is in one only)"
            raise InputError(what, where="--activations", mend="give every regime the same sites")
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


def make_inputs(acts: Mapping[str, Mapping[str, Any]], table: pd.DataFrame, request: ProbeRequest, where: str = "labels") -> ProbeInputs:
    """Check everything (``InputError``), put the rows into an order of their own, so that the file's has no say, and code attributes."""
    attributes, group = request.attributes, request.group
    checked = check_regimes(acts, len(table), request.real, request.untrained)
    named = [*attributes, *request.condition_on, *([group] if group else [])]
    _check_columns(table, attributes, named, where)
    check_names(attributes, "attribute", where, map(str, table.columns))
    order = _own_order(checked, [table[column] for column in named])
    checked = {regime: {name: np.ascontiguousarray(values[order]) for name, values in sites.items()} for regime, sites in checked.items()}
    table = table.iloc[order].reset_index(drop=True)
    people = table[group] if group else None
    coded, unfit, notes = _coded(table, attributes, people, where)
    apart, clusters = join_copies([next(iter(sites.values())) for sites in checked.values()], people, notes)
    doubts = {a.name: LOOKED_UP for a in coded if looked_up(a, apart, clusters)}
    conditions = {name: _condition(table, name, where, notes) for name in request.condition_on}
    return ProbeInputs(checked, tuple(coded), unfit, clusters, conditions, tuple(notes), doubts, order)


def _check_columns(table: pd.DataFrame, attributes: Sequence[str], named: Sequence[str], where: str) -> None:
    """See that every column that was named is there, once, and in one role."""
    for needed in named:
        if needed not in table.columns:
            known = [str(column) for column in table.columns]
            mend = did_you_mean(needed, known, f"the columns are: {', '.join(known[:12])}{', ...' if len(known) > 12 else ''}")
            raise InputError(f"there is no column '{needed}'", where=where, mend=mend)
    twice = sorted({str(column) for column in table.columns[table.columns.duplicated()]})
    if twice:
        raise InputError(f"two columns are named '{twice[0]}'", where=where, mend="give each column a name of its own")
    if not attributes:
        raise InputError("no attribute was named", where="--attribute", mend="write --attribute COLUMN")
    doubled = sorted({name for name in attributes if list(named).count(name) > 1})
    if doubled:
        raise InputError(f"column '{doubled[0]}' is named in two roles", where="--attribute", mend="give it one role")


def _coded(
    table: pd.DataFrame, attributes: Sequence[str], people: Column | None, where: str
) -> tuple[list[Attribute], dict[str, str], list[NotTested]]:
    """Attributes that could be coded, those that could not with the reason, and what was left out."""
    coded: list[Attribute] = []
    unfit: dict[str, str] = {}
    notes: list[NotTested] = []
    for name in attributes:
        kind, column = _column(table, name, where, notes)
        distinct = int(column.nunique())
        try:
            found, more = code_attribute(column, kind, "protected", distinct=distinct, where=where, fewest=SMALLEST_CELL, groups=people)
        except InputError as error:
            unfit[name] = str(error.what)
            continue
        notes += more
        if found is not None:
            coded.append(found)
    return coded, unfit, notes


def _column(table: pd.DataFrame, name: str, where: str, notes: list[NotTested]) -> tuple[ColumnKind, Column]:
    """A column by its kind; ``notes`` takes how it is spelt."""
    kind = infer_kind(table[name], where=where)
    notes += spelling_notes(table, [kind], "labels")
    return kind, coerce(table[name], kind, where=where)


def _condition(table: pd.DataFrame, name: str, where: str, notes: list[NotTested]) -> NDArray[Any]:
    """A column to condition on: numbers, or text."""
    kind, column = _column(table, name, where, notes)
    return column.to_numpy(dtype=np.float64) if kind.kind == "numeric" else column.fillna("(missing)").astype(str).to_numpy()


def _own_order(acts: Acts, columns: Sequence[Column]) -> Ints:
    """An order of the rows that neither the file nor names decide.

    By whitened length at each site, which rotating or rescaling does not change; equals (copies, more dimensions than rows) by
    the activations themselves, then by the values of their columns, those by how common they are and what activations they go with.
    """
    matrices = [values for sites in acts.values() for values in sites.values()]
    lengths = [(whiten(values).z_nr ** 2).sum(axis=1) for values in matrices]
    # Finer than what rotating single-precision rows does to a length: of rows that tie, other keys would decide.
    keys: list[NDArray[Any]] = [np.round(length / max(float(length.max()), 1e-300), 9) for length in lengths]
    keys += [values[:, column] for values in matrices for column in range(min(values.shape[1], 3))]
    about = [np.asarray(key, dtype=np.float64) for key in keys]
    for column in columns:
        codes = pd.factorize(labels(column).fillna("").astype(str))[0]
        counts = np.bincount(codes)
        means = [np.round(np.bincount(codes, weights=key) / counts, 7) for key in about]
        ranks = np.empty(len(counts), dtype=np.int64)
        ranks[np.lexsort([*means[::-1], counts])] = np.arange(len(counts))
        keys.append(ranks[codes])
    return np.asarray(np.lexsort(keys[::-1]), dtype=np.int64)


def join_copies(acts: Sequence[NDArray[np.floating[Any]]], group: Column | None, notes: list[NotTested]) -> tuple[Ints, Ints]:
    """Clusters ``(n,)`` of rows by ``group``, and with copies at a regime's first site ``(n, d)`` joined; ``notes`` takes what was done."""
    n, pairs = len(acts[0]), [] if group is None else [alike(group_numbers(group))]
    apart, joined = connected(n, pairs), connected(n, [*pairs, *(_near_copies(values) for values in acts)])
    copies = int(apart.max()) - int(joined.max())
    if int(np.bincount(joined).max()) > max(int(np.bincount(apart).max()), _LARGEST_CLUSTER * n):
        why = "so many rows are alike that joining them would chain the table together; they count as separate people"
        notes.append(NotTested(what="copies of one person's row", why=why))
        return apart, apart
    if copies:
        why = f"{count_words(copies)} rows repeat others nearly exactly; copies were taken as belonging together"
        notes.append(NotTested(what="copies as separate people", why=why))
    return apart, joined


def _near_copies(acts_nd: NDArray[np.floating[Any]]) -> tuple[Ints, Ints]:
    """Pairs of rows that lie much closer than chance would bring them, in whitened coordinates."""
    z = torch.as_tensor(whiten(acts_nd).z_nr.astype(np.float32))
    n, rank = z.shape
    if rank == 0 or rank >= n - 1:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    near = _NEAR if rank >= _TELLING_RANK else 1e-8
    length = (z**2).sum(1)
    found: list[NDArray[np.int64]] = []
    for start in range(0, n, _ROWS_AT_ONCE):
        block = z[start : start + _ROWS_AT_ONCE]
        distance = length[start : start + _ROWS_AT_ONCE, None] + length - 2 * block @ z.T
        # Rows of ordinary length only differ by a copy's noise; long ones are compared with their own length.
        scale = torch.minimum(length[start : start + _ROWS_AT_ONCE, None], length).clamp_min(0.1 * rank)
        pair = torch.nonzero(distance < 2 * near * scale)
        pair[:, 0] += start
        found.append(pair[pair[:, 0] < pair[:, 1]].numpy().astype(np.int64))
    pairs = np.concatenate(found)
    return pairs[:, 0], pairs[:, 1]


def looked_up(attribute: Attribute, apart_n: Ints, joined_n: Ints) -> bool:
    """Whether people whose rows repeat one another agree in the attribute (a number: in its quarters) more than chance."""
    people = np.unique(apart_n, return_index=True)[1]  # one row of each person
    codes = np.asarray(attribute.codes)[people].astype(np.float64)
    if attribute.kind == "continuous":
        codes = np.where(np.isfinite(codes), np.searchsorted(np.nanquantile(codes, (0.25, 0.5, 0.75)), codes), -1)
    known = codes >= 0
    profiles, values = np.unique(joined_n[people][known], return_inverse=True)[1], codes[known].astype(np.int64)
    shared = np.bincount(profiles)[profiles] > 1
    profiles, values = np.unique(profiles[shared], return_inverse=True)[1], values[shared]
    if len(values) < 2 * _FEWEST_PAIRS:
        return False
    sizes = np.bincount(profiles)
    weights = 1.0 / (sizes - 1)  # a profile counts by its people, not by its pairs

    def agreement(order: Ints) -> float:
        table = np.zeros((len(sizes), int(values.max()) + 1))
        np.add.at(table, (profiles, order), 1.0)
        return float((weights * ((table**2).sum(axis=1) - sizes)).sum())

    rng = stream(0, "copies")
    found = agreement(values)
    chance = np.array([agreement(rng.permutation(values)) for _ in range(_PERMUTATIONS)])
    return bool((1 + (chance >= found).sum()) / (_PERMUTATIONS + 1) <= _SURELY)
