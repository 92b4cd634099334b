"""Model files of the libraries of trees: read as data, and held against the table that the audit hands them."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from proxyaudit.data.dataset import Dataset
from proxyaudit.data.encoding import CategoricalPart, Encoder
from proxyaudit.data.precision import in_single
from proxyaudit.data.tables import resolve_path
from proxyaudit.data.text import TextEncoder
from proxyaudit.data.unseen import NOTED, REFUSED, Unseen
from proxyaudit.errors import InputError, safe_line
from proxyaudit.files import read_file
from proxyaudit.limits import MOST_LEAVES, MOST_TREES, at_most, how_to_raise
from proxyaudit.models.kinds.trees import TreeSpec
from proxyaudit.models.libraries import Unfit, imported, library_of, refusing
from proxyaudit.models.tree_nodes import MOST_CODES, Ensemble
from proxyaudit.recipe.recipe import Recipe
from proxyaudit.types import NotTested

_OWN = ".safetensors"  # the audit's own layout
_PICKLES = frozenset({".pkl", ".pickle", ".joblib", ".dill", ".pt", ".pth", ".npy", ".npz"})
_MOST_VALUES = 50_000_000  # that all these leaves say: a forest's leaf has one for each class


def read_trees(spec: TreeSpec, path: Path, *, what: str, shape: tuple[int, int, int], columns: int, n_inputs: int) -> Ensemble | None:
    """The trees of a model file in its library's own format, which fit a module of a ``shape``; ``None`` of the audit's own layout.

    ``columns`` are those of the logit and ``n_inputs`` those of the table. Raises ``InputError``: the file cannot be read, holds a pickle
    or another kind of model, or does not fit.
    """
    if path.suffix.lower() == _OWN:
        return None
    found, where = _read(spec, path, what=what), str(path)
    if len(found.baseline) != columns and not found.is_number:
        theirs, ours = (n + 1 if n == 1 or spec.votes else n for n in (len(found.baseline), columns))
        mend = "take the target that the model was trained for"
        raise InputError(f"{what} tells {theirs} classes apart, and the target has {ours}", where=where, mend=mend)
    if found.n_inputs != n_inputs:
        raise InputError(f"{what} reads {found.n_inputs} columns, and the table has {n_inputs}", where=where, mend=_SAME_COLUMNS)
    trees, leaves = found.size
    if len(found.trees) > shape[0] or 2 * leaves - 1 > shape[1]:
        mend = "audit it in a run of its own, which makes room for it"
        raise InputError(f"{what} has {trees} trees of up to {leaves} leaves, more than the run's models", where=where, mend=mend)
    return found


_SAME_COLUMNS = "hand it the columns that it was trained on, in the same order: see data.exclude, and the order of the table's columns"


def with_room(recipe: Recipe, base: Path, dataset: Dataset) -> tuple[Recipe, Dataset, tuple[NotTested, ...]]:
    """The recipe with room for the largest model file that it names, the data coded as the files have it, and what is taken as given.

    Every file is checked. Raises ``InputError``: a library is not installed, or a file cannot be read, is no data, or was trained on other
    columns or classes.
    """
    spec = recipe.model
    if not isinstance(spec, TreeSpec):
        return recipe, dataset, ()
    named = [(regime.name, text) for regime in recipe.regimes for text in regime.checkpoints or ()]
    paths = [(name, resolve_path(text, base=base, what=f"checkpoint of regime '{name}'")) for name, text in named]
    files = [(name, path) for name, path in paths if path.suffix.lower() != _OWN]
    if any(not regime.given for regime in recipe.regimes) and spec.package != "sklearn":
        imported(spec.package)
    read = []
    for name, path in files:
        what = f"checkpoint of regime '{name}'"
        found = check_given(recipe, path, dataset.encoder.columns, what=what)
        assert found is not None
        check_task(found, dataset.read.task == "number", what, str(path))
        _check_classes(found.classes, dataset.classes, what, str(path))
        read.append(found)
    dataset = _split(read, dataset)
    dataset, asked = _coded(spec, read, dataset, [(f"checkpoint of regime '{name}'", str(path)) for name, path in files])
    spec = spec.model_copy(update={"codes": asked})
    recipe = recipe.model_copy(update={"model": spec})
    if not read:
        return recipe, dataset, ()
    # What is trained here, or kept in the audit's own layout, is of the size that the keys say.
    others = any(not regime.given for regime in recipe.regimes) or len(files) < len(paths)
    trees, leaves = zip(*(found.size for found in read), *([spec.size] if others else []), strict=True)
    sized = recipe.model_copy(update={"model": spec.model_copy(update={"room": (max(trees), max(leaves))})})
    return sized, dataset, _given(read, dataset)


def _split(read: Sequence[Ensemble], dataset: Dataset) -> Dataset:
    """The data with numbers that lie on the same side of all splits as in the table; raises as :func:`in_single`."""
    encoder = split_encoder(read, dataset.encoder)
    if not isinstance(encoder, Encoder) or encoder is dataset.encoder:
        return dataset
    for name, column in ((part.name, part) for part in encoder.parts if not isinstance(part, CategoricalPart)):
        in_single(dataset.audit[name].to_numpy(dtype=np.float64), column.splits, name)
    return replace(dataset, encoder=encoder)


def split_encoder(read: Sequence[Ensemble], encoder: Encoder | TextEncoder) -> Encoder | TextEncoder:
    """The encoder that keeps numbers on their side of all splits of models whose library compares in double precision, if there are any."""
    splits = [found.splits for found in read if found.in_double]
    if not isinstance(encoder, Encoder) or not splits:
        return encoder
    return encoder.with_splits([tuple(sorted(set().union(*own))) for own in zip(*splits, strict=True)])


def _coded(spec: TreeSpec, read: Sequence[Ensemble], dataset: Dataset, named: Sequence[tuple[str, str]]) -> tuple[Dataset, tuple[int, ...]]:
    """The data with categories coded as model files have them, and the numbers of all columns that hold codes.

    Raises ``InputError``: files differ in their categories, or one reads numbers where the table has words.
    """
    encoder = dataset.encoder
    if not isinstance(encoder, Encoder) or not encoder.native:
        return dataset, ()
    levels: list[tuple[Any, ...] | None] = [None] * len(encoder.columns)
    for found, (what, where) in zip(read, named, strict=True):
        for column, own in enumerate(_named_levels(spec, found, dataset)):
            if own is None and column in encoder.categories:
                mend = "train it on pandas' categories, whose names it keeps, or hand it over in numbers"
                raise InputError(f"{what} reads numbers in column '{encoder.columns[column]}', which holds words", where=where, mend=mend)
            if levels[column] not in (None, own):
                mend = "audit models whose categories differ in runs of their own"
                raise InputError(f"{what} has other categories in '{encoder.columns[column]}' than another model", where=where, mend=mend)
            levels[column] = own
    encoder, unseen = encoder.with_codes(levels), () if any(found.hashed for found in read) else _unseen(dataset, levels)
    notes = (*dataset.notes, *(found.note() for found in unseen))
    dataset = replace(dataset, encoder=encoder, unseen=(*dataset.unseen, *unseen), notes=notes)
    return dataset, tuple(sorted({*encoder.categories}.union(*(found.codes for found in read))))


def _unseen(dataset: Dataset, levels: Sequence[tuple[Any, ...] | None]) -> tuple[Unseen, ...]:
    """Columns of which many audit rows hold what no category of the given models stands for, so that these take it for missing."""
    found = []
    for name, own in zip(dataset.encoder.columns, levels, strict=True):
        column = dataset.audit[name]
        share = 0.0 if own is None else float((column.notna() & ~column.isin(own)).mean())
        if share > REFUSED:
            what = f"column '{name}' hardly holds a category that the given models know (they know {', '.join(map(str, own or ()))[:80]})"
            raise InputError(what, where="the audit rows", mend="write its values as they were in training")
        if share > NOTED:
            found.append(Unseen("the audit rows", name, share, len(column)))
    return tuple(found)


def _named_levels(spec: TreeSpec, found: Ensemble, dataset: Dataset) -> list[tuple[Any, ...] | None]:
    """What the codes of each column stand for, as the table writes it; nothing stands for a category that the table lacks."""
    levels: list[tuple[Any, ...] | None] = []
    for name, own in zip(dataset.encoder.columns, found.levels or [None] * found.n_inputs, strict=True):
        words = next(kind for kind in dataset.kinds if kind.name == name).kind == "categorical"
        if own is not None and found.hashed:
            known = {str(level) for rows in (dataset.train, dataset.audit) for level in rows[name].dropna().unique()}
            hashes = library_of(spec).hashes_of(sorted(known))
            own = tuple(hashes.get(one, "") for one in own)
        levels.append(own if own is None else tuple(map(str if words else _number, own)))
    return levels


def _number(value: Any) -> float:
    """A category of a column of numbers; those that are none occur in no row."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def check_given(recipe: Recipe, path: Path, columns: Sequence[str], *, what: str) -> Ensemble | None:
    """A model file of a library, held against the columns that a run hands it; ``None`` of another file, or of another kind of model.

    Raises ``InputError``: it cannot be read or was trained on other columns, or the run encodes them.
    """
    spec = recipe.model
    if not isinstance(spec, TreeSpec) or path.suffix.lower() == _OWN:
        return None
    if recipe.data.encode != "none":
        mend = "write 'encode: none' under data: columns are then handed over unchanged, in the order of the table"
        raise InputError(f"{what} reads columns as they are, and this audit encodes them", where=str(path), mend=mend)
    found = _read(spec, path, what=what)
    _check_columns(found, columns, what, str(path))
    return found


def check_task(found: Ensemble, is_number: bool, what: str, where: str) -> None:
    """Refuse (``InputError``) trees of a number where there are classes, and trees of classes where there is a number."""
    if found.is_number == is_number:
        return
    of = {True: "predicts a number", False: "tells classes apart"}
    mend = "write 'task: regression' under data" if found.is_number else "leave out 'task: regression', or cut the target: target_threshold"
    said = "the target is a number" if is_number else "the target has classes"
    raise InputError(f"{what} {of[found.is_number]}, and {said}", where=where, mend=f"{mend}; or take a model of the other kind")


def _given(read: Sequence[Ensemble], dataset: Dataset) -> tuple[NotTested, ...]:
    """What model files do not say of themselves and is taken from the order of the table."""
    notes = []
    if any(not _named(found) for found in read):
        why = "a model file names none of them; they are taken in the order of the table"
        notes.append(NotTested(what="whether the columns are those that the given models were trained on", why=why))
    if dataset.read.number is None and any(tuple(found.classes) != tuple(dataset.classes) for found in read):
        order = ", ".join(f"{number} is {name}" for number, name in enumerate(dataset.classes[:6]))
        why = f"a model file gives them numbers or no names, which are taken for the classes of the target in their order ({order})"
        notes.append(NotTested(what="whether the classes of the given models are named right", why=why))
    return tuple(notes)


def _read(spec: TreeSpec, path: Path, *, what: str) -> Ensemble:
    where, library = str(path), library_of(spec)
    mend = f"save it as the library does: {library.FORMAT}"
    if path.suffix.lower() in _PICKLES:
        raise InputError(f"{what} is a '{path.suffix}' file, which can run code and is not read", where=where, mend=mend)
    try:
        if path.stat().st_size > at_most(MOST_TREES):
            large = f"{what} is larger than {at_most(MOST_TREES) / 2**30:,.0f} GiB"
            raise InputError(large, where=where, mend=f"take a model with fewer trees; {how_to_raise()}")
        data = read_file(path, MOST_TREES)
    except OSError as error:
        raise InputError(f"{what} cannot be read ({safe_line(error)})", where=where, mend="check the path and its permissions") from None
    if data[:1] == b"\x80":
        raise InputError(f"{what} holds a pickle, which can run code and is not read", where=where, mend=mend)
    with refusing(what, where=where, mend=mend):
        found: Ensemble = library.read(spec, data)
        trees, leaves = len(found.trees), found.size[1]
        if trees * leaves > at_most(MOST_LEAVES):
            raise Unfit(f"has {trees:,} trees of up to {leaves:,} leaves, too many for this audit", "bound the leaves or the depth")
        (values,) = {tree.value_mv.shape[1] for tree in found.trees}
        if trees * leaves * values > _MOST_VALUES:
            what_of = f"{trees:,} trees of up to {leaves:,} leaves for {values + 1:,} classes"
            raise Unfit(f"has {what_of}, too many for this audit", "bound the leaves or the depth")
        if found.codes and not spec.native:
            raise Unfit("splits by categories, which 'encoding: one_hot' hands over as columns of numbers", "leave 'model.encoding' out")
        found.nodes((trees, 2 * leaves - 1, values), MOST_CODES // 64 if found.codes else 0)
    return found


def _named(found: Ensemble) -> bool:
    """Whether somebody named the columns of a model; libraries call them by their numbers."""
    plain = all(name.removeprefix("Column_").removeprefix("f").isdigit() for name in found.columns)
    return len(found.columns) == found.n_inputs and not plain


def _check_columns(found: Ensemble, columns: Sequence[str], what: str, where: str) -> None:
    if found.n_inputs != len(columns):
        named = f": {', '.join(columns[:6])}{', ...' if len(columns) > 6 else ''}"
        raise InputError(f"{what} reads {found.n_inputs} columns, and the table has {len(columns)}{named}", where=where, mend=_SAME_COLUMNS)
    if not _named(found):
        return
    theirs, ours = ([name.replace(" ", "_") for name in names] for names in (found.columns, columns))
    other = next((place for place, names in enumerate(zip(theirs, ours, strict=True)) if names[0] != names[1]), None)
    if other is not None:
        why = "wants its columns in another order" if set(theirs) == set(ours) else "was trained on other columns"
        raise InputError(
            f"{what} {why}: column {other + 1} is '{found.columns[other][:60]}' there and '{columns[other][:60]}' in the table",
            where=where,
            mend=_SAME_COLUMNS,
        )


def _numbered(classes: Sequence[str]) -> list[float]:
    """Classes that are called by numbers, or false and true; empty where one of them has a name."""
    try:
        return [float({"False": "0", "True": "1"}.get(name, name)) for name in classes]
    except ValueError:
        return []


def _check_classes(theirs: Sequence[str], ours: Sequence[str], what: str, where: str) -> None:
    """Refuse (``InputError``) a model whose classes are others than the target's, or the same in another order.

    A model that gives numbers from 0 to its classes, or no names at all, has them by value where the target's are numbers; else in the
    order of the target.
    """
    if list(theirs) == list(ours):
        return
    places = [float(place) for place in range(len(ours))]
    told, known = _numbered(theirs) if theirs else places, _numbered(ours)
    if (known and told == known) or (told == places and (not known or (sorted(known) == known and known != sorted(places)))):
        return
    named = [", ".join(name[:30] for name in names[:6]) for names in (theirs or [f"{place:g}" for place in places], ours)]
    if sorted(theirs) != sorted(ours) and (not known or sorted(told) != sorted(known)) and told != places:
        mend = "take the target that it was trained for"
        raise InputError(f"{what} calls its classes {named[0]}, and the target has {named[1]}", where=where, mend=mend)
    last = theirs[-1] if sorted(theirs) == sorted(ours) else next(name for name, at in zip(ours, known, strict=True) if at == max(known))
    mend = "write the target's classes in the table so that they sort as the model has them: 00, 01, ..., 10"
    mend = f"write 'target_positive: {last[:60]}' under data" if len(ours) == 2 else mend
    raise InputError(f"{what} has its classes in the order {named[0]}, and the target in the order {named[1]}", where=where, mend=mend)
