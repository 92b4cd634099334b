"""The real data of an audit: roles settled, rows split, attributes coded, inputs encoded."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Ints
from proxyaudit.data.attributes import MIN_LEVEL_ROWS, Attribute, code_attribute, nothing_to_tell
from proxyaudit.data.column_checks import check_feature, check_spelling
from proxyaudit.data.columns import Bands, Column, ColumnKind, check_one_reading, coerce, infer_kind
from proxyaudit.data.encoding import Encoder, FeatureColumn, check_seen, fit_encoder
from proxyaudit.data.faults import Faults, NoNumbers
from proxyaudit.data.frames import table_digest
from proxyaudit.data.histories import Histories
from proxyaudit.data.identifiers import find_identifiers, identifier_note
from proxyaudit.data.intersections import check_intersections, cross_all
from proxyaudit.data.many_levels import fewer_rows_notes
from proxyaudit.data.odd_columns import input_notes, people_notes
from proxyaudit.data.sdv_metadata import Metadata
from proxyaudit.data.shards import weights_file_digest
from proxyaudit.data.sources import Roles, Source, check_files, find_source, load_source, published_digests, require_columns
from proxyaudit.data.spellings import spelling_notes
from proxyaudit.data.splits import coerce_rows, read_holdout, row_hashes, split_rows, split_thirds
from proxyaudit.data.tables import resolve_path
from proxyaudit.data.target import Target, settle_target, target_kind
from proxyaudit.data.text import TextEncoder
from proxyaudit.data.unseen import Unseen
from proxyaudit.errors import InputError
from proxyaudit.names import check_names
from proxyaudit.recipe.recipe import DataSpec, Recipe
from proxyaudit.secret import public_hashes
from proxyaudit.seeding import stream
from proxyaudit.types import NotTested, Role


@dataclass(frozen=True)
class Dataset:
    """Real rows, split once for every regime."""

    name: str
    train: pd.DataFrame  # training rows, coerced, with every role column; what synthesizers are fitted on
    audit: pd.DataFrame  # held-out rows with the same columns
    features: tuple[FeatureColumn, ...]  # the model's inputs in file order
    target: str
    classes: tuple[str, ...]  # of two, the second is the positive one; of a number its bands
    attributes: tuple[Attribute, ...]  # protected ones, then proxies, coded on the audit rows
    parts: Ints  # (n_audit,) part 0, 1 or 2 of each audit row; clusters never straddle
    clusters: Ints  # (n_audit,) dense numbers of rows that belong together
    encoder: Encoder | TextEncoder
    hashes: dict[str, str]  # digest of each input file, of the split and of the audit rows, as published
    notes: tuple[NotTested, ...]
    holdout: bool  # whether the audit rows are data.holdout, which releases were not made from
    kinds: tuple[ColumnKind, ...] = ()  # of every column of train, for bringing other tables to it
    reading: Target | None = None  # how the target is read; where it is not given, as the classes themselves
    legitimate: tuple[str, ...] = ()  # columns whose influence is accepted
    group: str | None = None  # the column that says which rows belong together
    text: str | None = None  # the text column that the model reads, then its only input
    unseen: tuple[Unseen, ...] = ()  # inputs of which the encoder cannot see some audit rows
    metadata: Metadata = field(default_factory=Metadata)  # kinds of columns that data.metadata says
    histories: Histories = field(default_factory=Histories)  # what made one row of several
    dotted: Mapping[str, bool] = field(default_factory=dict)  # as those that were told of the table

    def target_codes(self, frame: pd.DataFrame) -> Ints:
        """The ``(n,)`` class numbers, of a number its bands, of rows brought to this data set's kinds; ``InputError``: as of ``Target``."""
        return self.read.codes(frame[self.target])

    def learnt(self, frame: pd.DataFrame) -> NDArray[Any]:
        """What models are trained to say of such rows: class numbers, or a number in standard deviations from its mean."""
        return self.read.learnt(frame[self.target])

    def truth(self, frame: pd.DataFrame) -> Floats:
        """What each output would be if a model knew the target, ``(n, C)``."""
        return self.read.truth(frame[self.target])

    @property
    def read(self) -> Target:
        """How the target is read."""
        return self.reading or Target(self.classes)

    @property
    def protected(self) -> tuple[str, ...]:
        """Names of the protected columns."""
        return tuple(a.name for a in self.attributes if a.role == "protected")

    def synthesis_columns(self, *, sees_protected: bool) -> tuple[str, ...]:
        """Return what a synthesizer is shown, in file order: features, target, attributes; never the group."""
        wanted = {feature.name for feature in self.features} | {self.target} | {attribute.name for attribute in self.attributes}
        hidden = set() if sees_protected else set(self.protected)
        return tuple(kind.name for kind in self.kinds if kind.name in wanted - hidden)


def load_dataset(recipe: Recipe, base: Path) -> Dataset:
    """Load, check and split the real data of a recipe, paths relative to ``base``; ``InputError`` for any fault in files, roles, values."""
    spec = recipe.data
    check_files(recipe, base)
    source = load_source(spec, base, recipe.values, seed=recipe.seed, gather=True)
    notes: list[NotTested] = []
    features, apart = _without_identifiers(source, source.inputs(notes), spec, notes)
    if not features:
        source.faults.settle(source.roles.exclude)
        raise InputError("no column is left for the model to read", where="data.exclude", mend="exclude fewer columns")
    rows = _split(recipe, base, source, features, apart, notes)
    train, audit = rows.train, rows.audit
    features = _drop_constant(train, features, spec.encode, notes)
    aim = settle_target(train, audit, source.roles, rows.kinds, where=source.where)
    kept = tuple(FeatureColumn(name, "text" if name == source.roles.text else rows.kinds[name].kind) for name in features)
    if spec.encode == "none" and any(rows.kinds[name].date for name in features):
        mend = "exclude it, or use data.encode: standard"
        raise InputError("a date column is no plain number, which encode: none needs", where=source.where, mend=mend)
    made = check_intersections(spec.intersections or (), source.roles.protected, source.columns)
    check_names((*source.roles.protected, *made, *source.roles.proxies), "attribute", source.where, rows.kinds)
    attributes = _code_attributes(source, spec, rows.kinds, train, audit, notes)
    notes.extend(fewer_rows_notes(attributes) if recipe.effort != "everything" else ())
    notes.extend(_odd_columns(source, rows, features, aim.codes(rows.all[source.roles.target])))
    _check_makers(recipe, features, source.roles, notes)
    notes += aim.notes(source.roles.target)
    encoder = _fit_encoder(recipe, source, kept, train, audit)
    table, where = ("data.holdout", str(spec.holdout)) if rows.held_out else ("the audit rows", source.where)
    unseen = check_seen(encoder, audit, table=table, where=where, group=source.roles.group)
    notes.extend(found.note() for found in unseen)
    return Dataset(
        name=source.name,
        train=train,
        audit=audit,
        features=kept,
        target=source.roles.target,
        classes=aim.classes,
        attributes=attributes,
        parts=rows.parts,
        clusters=rows.clusters,
        encoder=encoder,
        hashes=public_hashes(rows.hashes | _other_files(recipe, base) | rows.digests(), published_digests()),
        notes=tuple(notes),
        holdout=spec.holdout is not None,
        kinds=tuple(rows.kinds.values()),
        reading=aim,
        legitimate=source.roles.legitimate,
        group=source.roles.group,
        text=source.roles.text,
        unseen=unseen,
        metadata=source.reading.metadata,
        dotted=source.told.dotted,
        histories=replace(source.reading.histories.like(rows.kinds), tables=()),  # people of other tables are none of the second one's
    )


@dataclass(frozen=True)
class _Rows:
    """Real rows, coerced and split; ``held_out`` where the audit rows are a file of their own."""

    train: pd.DataFrame
    audit: pd.DataFrame
    clusters: Ints
    parts: Ints
    kinds: dict[str, ColumnKind]
    hashes: dict[str, str]
    held_out: bool

    @property
    def all(self) -> pd.DataFrame:
        """Training and audit rows."""
        return pd.concat([self.train, self.audit], ignore_index=True)

    def digests(self) -> dict[str, str]:
        """Digests of the audit rows and of the split."""
        audit, parts = _frame_hash(self.audit), hashlib.sha256(self.parts.tobytes() + self.clusters.tobytes()).hexdigest()
        return {"audit": audit, "split": hashlib.sha256("\n".join([_frame_hash(self.train), audit, parts]).encode()).hexdigest()}


def _without_identifiers(
    source: Source, features: tuple[str, ...], spec: DataSpec, notes: list[NotTested]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The model's inputs without columns that name rows (with them where ``encode: none`` needs every column), and those columns."""
    roles = source.roles
    with source.faults.gathering():
        require_columns(spec.identifiers or (), list(source.columns), where="data.identifiers", role="identifier")
    used = next((name for name in spec.identifiers or () if name in roles.named), None)
    if used is not None:
        raise InputError(f"column '{used}' has another role", where="data.identifiers", mend="keep one of the two roles")
    searched = [name for name in features if name not in roles.named]
    named = spec.identifiers
    if named is None:
        named = (*find_identifiers(source.table, searched), *(n for n in source.reading.metadata.identifiers if n in searched))
    found = tuple(name for name in features if name in named)
    if found:
        notes.append(identifier_note(found, kept=spec.encode == "none"))
    return (features if spec.encode == "none" else tuple(name for name in features if name not in found)), found


def _split(recipe: Recipe, base: Path, source: Source, features: tuple[str, ...], apart: tuple[str, ...], notes: list[NotTested]) -> _Rows:
    roles, hashes = source.roles, dict(source.hashes)
    columns = [c for c in source.columns if c in features or c in roles.named]
    kinds = _settle_kinds(source, columns, features, held_out=recipe.data.holdout is not None)
    source.faults.settle(roles.exclude)
    notes.extend(source.told.notes(kinds, "real rows") + spelling_notes(source.table, kinds, "real rows", roles.group))
    real = coerce_rows(source.table, kinds, roles, source.faults, "real rows", notes)
    other = read_holdout(recipe, base, source, kinds, real, features, hashes, notes)
    # Texts tell people apart, so one text is one person's, whatever stands beside it.
    compared = [c for c in columns if c not in apart and (c != roles.group or c in features)] if roles.text is None else [roles.text]
    train, audit, clusters = split_rows(recipe, real, other, compared, source, notes)
    parts = split_thirds(clusters, stream(recipe.seed, "split", "parts"))
    if np.bincount(parts, minlength=3).min() < len(parts) / 10:
        what = "a few groups of rows that belong together hold most rows, so three audit parts cannot be made"
        raise InputError(what, where=source.where, mend="keep a few rows of each large group, or name a data.group with more groups")
    parts.flags.writeable = clusters.flags.writeable = False
    return _Rows(train, audit, clusters, parts, kinds, hashes, other is not None)


def _fit_encoder(
    recipe: Recipe, source: Source, features: tuple[FeatureColumn, ...], train: pd.DataFrame, audit: pd.DataFrame
) -> Encoder | TextEncoder:
    text = source.roles.text
    if text is not None:
        return TextEncoder(text, train[text], recipe.model.text_width)
    try:
        encoder = fit_encoder(train, features, recipe.data.encode, native=recipe.model.native, groups=_groups(source, train))
        encoder.transform(audit)
    except InputError as error:
        raise InputError(error.what, where=source.where, mend=error.mend) from None
    return encoder


def _settle_kinds(source: Source, columns: list[str], features: tuple[str, ...], *, held_out: bool) -> dict[str, ColumnKind]:
    """The kind of every column; what is wrong with any of them is gathered in the source's faults."""
    roles, kinds = source.roles, dict[str, ColumnKind]()
    for name in columns:
        with source.faults.gathering(name if name in features and name not in roles.named else None):
            kinds[name] = _settle_kind(source, name, is_input=name in features)
            if not held_out and len(source.table) >= MIN_LEVEL_ROWS:
                _check_varies(source, kinds[name])
    return kinds


def _check_varies(source: Source, kind: ColumnKind) -> None:
    """Refuse a target or protected column of one value, beside whatever else is wrong with the table."""
    if kind.name == source.roles.target and kind.spellings is not None and len(set(kind.spellings.values())) < 2:
        raise InputError(f"target '{kind.name}' has one value only", where=source.where, mend="choose another target")
    distinct = source.table[kind.name].nunique()
    if kind.name in source.roles.protected and distinct < 2:
        nothing_to_tell(kind.name, "protected", "has one value only" if distinct else "has no values", source.where)


def _settle_kind(source: Source, name: str, *, is_input: bool) -> ColumnKind:
    roles, column = source.roles, source.table[name]
    needed = {
        roles.group: ("group", "choose another column, or drop data.group"),
        roles.text: ("text column", "name the column that holds the texts"),
        roles.target: ("target", "choose another target"),
    }
    if name in needed and column.isna().all():
        role, mend = needed[name]
        raise InputError(f"{role} '{name}' has no values", where=source.where, mend=mend)
    if name == roles.target:
        return target_kind(column, roles, where=source.where)
    if name in (roles.group, roles.text):
        return ColumnKind(name, "categorical")
    kind = source.reading.metadata.settled(column, infer_kind(column, where=source.where), where=source.where)
    check_one_reading(column, name, where=source.where)
    if name in roles.bands and name in roles.protected:  # else that is the fault, told already
        kind = _banded(column, kind, roles.bands[name], source.where, is_input=is_input)
    if is_input:
        check_feature(coerce(column, kind, where=source.where), kind, where=source.where)
    elif kind.bands is None and name in (*roles.protected, *roles.proxies):
        # Taken for names, ages in other spellings would be so many levels that nothing could be read of them.
        leave = f"take it out of data.{'protected' if name in roles.protected else 'proxies'}"
        check_spelling(coerce(column, kind, where=source.where), kind, where=source.where, leave=leave)
    return kind


def _banded(column: Column, kind: ColumnKind, edges: tuple[float, ...], where: str, *, is_input: bool) -> ColumnKind:
    if kind.kind != "numeric" or kind.date:
        what = f"column '{kind.name}' holds no plain numbers, so it has no bands"
        raise NoNumbers(what, where=where, mend="remove it from data.bands", column=kind.name)
    if is_input:
        mend = f"add '{kind.name}' to data.exclude, or remove it from data.bands"
        raise InputError(f"the model reads '{kind.name}', which would reach it in bands", where="data.bands", mend=mend)
    values = coerce(column, kind, where=where).dropna()
    return ColumnKind(kind.name, "categorical", bands=Bands.of(edges, whole=bool((values == values.round()).all())))


def _drop_constant(train: pd.DataFrame, features: tuple[str, ...], encode: str, notes: list[NotTested]) -> tuple[str, ...]:
    if encode == "none":
        return features  # a user's own module expects every column where it is
    constant = [name for name in features if train[name].nunique(dropna=False) < 2]
    if constant:
        why = "each has one value in the training rows; they were dropped"
        notes.append(NotTested(what=f"columns {', '.join(constant)} as inputs", why=why))
    kept = tuple(name for name in features if name not in constant)
    if not kept:
        raise InputError("every input column has one value in the training rows", where="data", mend="give columns that vary")
    return kept


def _code_attributes(
    source: Source, spec: DataSpec, kinds: Mapping[str, ColumnKind], train: pd.DataFrame, audit: pd.DataFrame, notes: list[NotTested]
) -> tuple[Attribute, ...]:
    attributes: list[Attribute] = []
    roles: tuple[tuple[Role, tuple[str, ...]], ...] = (("protected", source.roles.protected), ("proxy", source.roles.proxies))
    for role, names in roles:
        for name in names:
            distinct = pd.concat([train[name], audit[name]]).nunique()
            attribute, remarks = code_attribute(
                audit[name], kinds[name], role, distinct=distinct, where=source.where, fewest=MIN_LEVEL_ROWS, groups=_groups(source, audit)
            )
            notes.extend(remarks)
            if attribute is not None:
                attributes.append(attribute)
        if role == "protected":
            attributes += cross_all(spec.intersections or (), attributes, _groups(source, audit), notes, fewest=MIN_LEVEL_ROWS)
    return tuple(attributes)


def _odd_columns(source: Source, rows: _Rows, features: tuple[str, ...], target_n: Ints) -> list[NotTested]:
    """What a team should look at first; texts are no columns."""
    if source.roles.text is not None:
        return []
    people = people_notes(source.table, source.roles.protected) if source.roles.group is None else []
    return people + input_notes(rows.all, rows.kinds, features, target_n)


def _groups(source: Source, frame: pd.DataFrame) -> Column | None:
    return None if source.roles.group is None else frame[source.roles.group]


def _check_makers(recipe: Recipe, features: tuple[str, ...], roles: Roles, notes: list[NotTested]) -> None:
    """What makers of synthetic rows may see, against what the model reads, and what they may have seen."""
    seen = [name for name in roles.protected if name in features]
    for spec in (regime.synthetic for regime in recipe.regimes if regime.synthetic is not None):
        if not spec.sees_protected and seen:
            what = f"the model reads '{seen[0]}', but synthesizer '{spec.regime}' may not see it"
            mend = f"add '{seen[0]}' to data.exclude, or let the synthesizer see it"
            raise InputError(what, where="regimes: sees_protected", mend=mend)
        if spec.path is not None and recipe.data.holdout is None:
            why = "it may have had them; name real rows that its maker never had under data.holdout to rule that out"
            notes.append(NotTested(what=f"whether the maker of release {spec.regime} had the audit rows", why=why))


def file_hashes(recipe: Recipe, base: Path) -> dict[str, str]:
    """Digest of each table and checkpoint that a recipe names, as in :attr:`Dataset.hashes` and under its names; none of them is parsed."""
    hashes = find_source(recipe.data, base).hashes
    if recipe.data.holdout is not None:
        hashes["holdout"] = table_digest(resolve_path(recipe.data.holdout, base=base, what="data.holdout", folders=True))
    return public_hashes(hashes | _other_files(recipe, base), published_digests())


def _other_files(recipe: Recipe, base: Path) -> dict[str, str]:
    """Hashes of the releases and checkpoints that the recipe names."""
    hashes = {}
    for regime in recipe.regimes:
        if regime.synthetic is not None and regime.synthetic.path is not None:
            what = f"release {regime.synthetic.regime}"
            hashes[what] = table_digest(resolve_path(regime.synthetic.path, base=base, what=what, folders=True))
        for number, text in enumerate(regime.checkpoints or ()):
            path = resolve_path(text, base=base, what=f"checkpoint of regime '{regime.name}'")
            hashes[f"checkpoint {regime.name} {number}"] = weights_file_digest(path)
    return hashes


def _frame_hash(frame: pd.DataFrame) -> str:
    return hashlib.sha256(row_hashes(frame, list(frame.columns)).tobytes() + "\x1f".join(map(str, frame.columns)).encode()).hexdigest()


def conform(
    dataset: Dataset, frame: pd.DataFrame, columns: tuple[str, ...], *, where: str, days: bool = False, faults: Faults | None = None
) -> pd.DataFrame:
    """Bring ``columns`` of another table to the real one's kinds, index fresh; ``days``: dates come as numbers already.

    ``InputError`` for a value that is not of its kind; where ``faults`` are gathered, it is noted there and the column left out.
    """
    kinds, own = {kind.name: kind for kind in dataset.kinds}, faults or Faults("the table", where)
    result: dict[str, Any] = {}
    for name in columns:
        kind = ColumnKind(name, kinds[name].kind) if days else kinds[name]
        with own.gathering():
            result[name] = coerce(frame[name], kind, where=where).to_numpy()
    if faults is None:
        own.settle()
    return pd.DataFrame(result)
