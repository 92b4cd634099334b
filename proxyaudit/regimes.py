"""Training regimes: which rows a model is trained on, from real data to synthetic, mixed and reweighed."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from proxyaudit.data.columns import level_codes
from proxyaudit.data.dataset import Dataset, conform
from proxyaudit.data.public_counts import SMALLEST_CELL, public_count
from proxyaudit.data.splits import group_numbers
from proxyaudit.data.tables import resolve_path
from proxyaudit.data.text import TextEncoder
from proxyaudit.errors import InputError, TaskError
from proxyaudit.recipe.recipe import Recipe, SyntheticSpec, file_name
from proxyaudit.recipe.repetitions import Design, design_of
from proxyaudit.registry import check_plugin, load_plugin
from proxyaudit.seeding import integer_seed
from proxyaudit.types import NotTested

_FEW_STEPS = 30  # of the optimiser

RegimeKind = Literal["real", "synthetic", "release", "mixed", "checkpoints", "untrained", "reweighed", "scrubbed", "quantised"]
MIN_TRAINING_ROWS = 30


@dataclass(frozen=True)
class Regime:
    """One way of making training data, or a reference beside them."""

    name: str
    kind: RegimeKind
    of: str | None = None
    ratio: float | None = None
    synthetic: SyntheticSpec | None = None
    checkpoints: tuple[Path, ...] = ()
    folder: str | None = None  # of a model that is given, where it is another than the recipe's
    erase: tuple[str, ...] = ()
    scrub: tuple[str, ...] = ()
    quantise: str | None = None

    @property
    def is_reference(self) -> bool:
        """Shown beside every regime, never given a verdict."""
        return self.kind in ("untrained", "reweighed")

    @property
    def needs_training(self) -> bool:
        """Whether models of this regime are trained here."""
        return self.kind not in ("checkpoints", "untrained", "quantised")

    def describe(self, size: int) -> dict[str, Any]:
        """As a plan holds it; ``size`` rows train each regime."""
        sees = self.synthetic.sees_protected if self.kind == "synthetic" and self.synthetic is not None else None
        found: dict[str, Any] = {"name": self.name, "kind": self.kind, "of": self.of, "ratio": self.ratio, "sees_protected": sees}
        found["training_rows"] = public_count(size) if self.needs_training else None
        more: dict[str, Any] = {"erase": list(self.erase), "scrub": list(self.scrub), "quantise": self.quantise}
        more["folder"] = file_name(self.folder or "")
        return {**found, **{key: value for key, value in more.items() if value}}


@dataclass(frozen=True)
class TrainingData:
    """Encoded training rows: inputs ``(n, p)``, targets and weights (of mean 1) ``(n,)``, and what they are, for the report."""

    x: NDArray[np.float32]
    y: NDArray[Any]  # class numbers, or a number in standard deviations from its mean
    weight: NDArray[np.float32]
    summary: dict[str, float | int | str]


def make_regimes(recipe: Recipe, base: Path) -> tuple[Regime, ...]:
    """The regimes in the recipe's order, then the references; ``InputError`` for an unknown synthesizer or a missing checkpoint."""
    regimes: list[Regime] = []
    for entry in recipe.regimes:
        name, spec = entry.names[0], entry.synthetic
        if entry.path is not None or (entry.real and recipe.model.given):
            regimes.append(Regime(name, "checkpoints", folder=entry.path))
        elif entry.real:
            regimes.append(Regime(name, "real"))
        elif spec is not None:
            if spec.path is None:
                check_plugin("synthesizers", spec.plugin, where="regimes: synthetic")
            regimes.append(Regime(name, "release" if spec.path is not None else "synthetic", synthetic=spec))
        elif entry.mixed is not None:
            mixtures = zip(entry.names, entry.mixed.ratios, strict=True)
            regimes += [Regime(mixture, "mixed", of=entry.mixed.of, ratio=ratio) for mixture, ratio in mixtures]
        elif entry.scrub is not None:
            regimes.append(Regime(name, "scrubbed", scrub=entry.scrub))
        elif entry.quantise is not None:
            regimes.append(Regime(name, "quantised", of=entry.of, quantise=entry.quantise))
        else:
            paths = tuple(resolve_path(text, base=base, what=f"checkpoint of regime '{name}'") for text in entry.checkpoints or ())
            regimes.append(Regime(name, "checkpoints", checkpoints=paths, erase=entry.erase or ()))
    # A quantised model meets the texts that its original meets.
    by_name = {regime.name: regime for regime in regimes}
    own = {r.name: by_name[str(r.of)] if r.kind == "quantised" else r for r in regimes}
    regimes = [replace(r, scrub=own[r.name].scrub, folder=own[r.name].folder) for r in regimes]
    references = [Regime("untrained", "untrained")]
    if recipe.references.reweighed and any(regime.needs_training for regime in regimes):
        references.append(Regime("reweighed", "reweighed"))
    return (*regimes, *references)


@dataclass(frozen=True)
class Repetitions:
    """How often each regime is repeated, with the table and model of each repetition, and how far that has gone."""

    regimes: tuple[Regime, ...]
    designs: Mapping[str, Design]  # by regime: of rows that are made here tables times models, of others models, of given models those
    counts: Mapping[str, int] = field(default_factory=dict)  # of regimes that have more than at first

    @classmethod
    def planned(cls, recipe: Recipe, regimes: tuple[Regime, ...]) -> Self:
        """What a recipe asks for."""
        by_name, found = {regime.name: regime for regime in regimes}, {}
        for regime in regimes:
            origin = by_name[str(regime.of)] if regime.kind == "quantised" else regime
            if origin.kind == "checkpoints":
                found[regime.name] = Design((max(len(origin.checkpoints), 1),))
            elif origin.kind == "reweighed" and recipe.effort != "everything":
                found[regime.name] = Design((1,))  # shown beside the others, and nothing is compared with it
            else:
                source = by_name[str(origin.of)] if origin.kind == "mixed" else origin
                found[regime.name] = design_of(recipe.seeds, makes_tables=source.kind == "synthetic")
        return cls(regimes, found)

    def of(self, name: str) -> int:
        """Repetitions of a regime, as many as there are so far."""
        return self.counts.get(name, self.designs[name].looks[0])

    def looks(self) -> dict[str, int]:
        """How often the results of each regime may be looked at."""
        return {name: len(design.looks) for name, design in self.designs.items()}

    def at_most(self) -> Self:
        """The repetitions of the last look."""
        return replace(self, counts={name: design.looks[-1] for name, design in self.designs.items()})

    def as_done(self, done: Mapping[str, int]) -> Self:
        """The repetitions of a finished run, which may have gone on to later looks."""
        return replace(self, counts={name: done[name] for name, design in self.designs.items() if done.get(name) in design.looks[1:]})

    def next_look(self, wanted: Collection[str]) -> Self | None:
        """The ``wanted`` regimes with as many as at their next look; ``None`` where none of them may have more.

        Quantised models are made of trained ones: they have as many as these.
        """
        asked = {str(r.of) if r.kind == "quantised" else r.name for r in self.regimes if r.name in wanted}
        more = {name: next((count for count in self.designs[name].looks if count > self.of(name)), None) for name in sorted(asked)}
        found = {name: count for name, count in more.items() if count is not None}
        found |= {r.name: found[str(r.of)] for r in self.regimes if r.kind == "quantised" and r.of in found}
        return replace(self, counts={**self.counts, **found}) if found else None

    def resting_on(self, source: str, table: int | None = None) -> list[tuple[str, int]]:
        """Regimes and their repetitions that are trained on a table of a synthesizer, or on any."""
        of = [r.name for r in self.regimes if source in (r.name, r.of) and r.kind != "quantised"]
        found = [(name, number) for name in of for number in range(self.of(name))]
        return [(name, number) for name, number in found if table in (None, self.designs[name].place(number)[0])]

    def tables_of(self, source: str) -> list[int]:
        """The tables of a synthesizer that models are trained on."""
        return sorted({self.designs[name].place(number)[0] for name, number in self.resting_on(source)})

    def describe(self) -> dict[str, Any]:
        """Tables, models and looks of every regime but the references, as a plan holds them."""
        return {r.name: self.designs[r.name].describe() for r in self.regimes if not r.is_reference}


def lone_tables(recipe: Recipe, regimes: Sequence[Regime]) -> list[NotTested]:
    """What is not tested where every model of a synthesizer is trained on the same table."""
    names = [regime.name for regime in regimes if regime.kind == "synthetic"]
    lone = not isinstance(recipe.seeds, int) and recipe.seeds.tables == 1 and recipe.seeds.up_to is None
    what = f"other tables of {', '.join(names)}"
    return [NotTested(what=what, why="'seeds.tables' is 1: what is said holds for models trained on that table")] if lone and names else []


def few_steps(recipe: Recipe, size: int) -> list[NotTested]:
    """Notes where training takes so few steps that models may hardly learn the task (``size`` rows train each), or took place elsewhere."""
    spec = recipe.model
    if any(regime.checkpoints for regime in recipe.regimes) and recipe.data.text is None:
        why = "they are audited as they are, and their files name no rows; audit rows that they were trained on would flatter them"
        elsewhere = [NotTested(what="which rows the given models were trained on", why=f"{why} (data.holdout names others)")]
    else:
        elsewhere = []
    epochs, batch, held_out = (getattr(spec, name, None) for name in ("epochs", "batch_size", "validation_share"))
    if not size or epochs is None or batch is None:
        return elsewhere
    # Of rounded rows: with a small batch the steps would count people.
    steps = int(epochs) * math.ceil(public_count(size) * (1 - float(held_out or 0.0)) / int(batch))
    mend = "if the task's AUROC stays near 0.5, raise model.epochs or lower model.batch_size: quiet outputs of such models prove nothing"
    if steps >= _FEW_STEPS:
        return elsewhere
    return [*elsewhere, NotTested(what="whether these models learn the task", why=f"training takes {steps} steps; {mend}")]


def common_training_size(recipe: Recipe, dataset: Dataset, releases: Mapping[str, pd.DataFrame]) -> int:
    """Training rows that every regime gets; ``InputError`` if ``training_size`` is more than one can offer, or too little to train on."""
    n_real = len(dataset.train)
    limits = {"real": n_real}
    for entry in recipe.regimes:
        if entry.synthetic is not None and entry.synthetic.path is not None:
            limits[entry.synthetic.regime] = len(releases[entry.synthetic.regime])
        elif entry.mixed is not None:
            for name, ratio in zip(entry.names, entry.mixed.ratios, strict=True):
                limits[name] = _mixed_limit(n_real, releases.get(entry.mixed.of), ratio)
    asked, trained = recipe.training_size, any(entry.checkpoints is None for entry in recipe.regimes)
    uses_real = any(entry.real or entry.scrub for entry in recipe.regimes) or (recipe.references.reweighed and trained)
    if asked is not None and not uses_real:
        del limits["real"]
    smallest = min(limits, key=lambda key: limits[key], default="")
    if asked is None and limits[smallest] < MIN_TRAINING_ROWS:
        what = f"regime '{smallest}' offers {limits[smallest]} rows, fewer than the {MIN_TRAINING_ROWS} that training needs"
        raise InputError(what, where=f"regimes: {smallest}", mend="use more rows")
    if asked is None:
        return limits[smallest]
    if asked < MIN_TRAINING_ROWS:
        what = f"training_size {asked} is fewer than the {MIN_TRAINING_ROWS} rows that training needs"
        raise InputError(what, where="training_size", mend="raise it")
    if limits and asked > limits[smallest]:
        what = f"training_size {asked} is more than the {limits[smallest]} rows that regime '{smallest}' can offer"
        raise InputError(what, where="training_size", mend="lower it")
    return asked


def _mixed_limit(n_real: int, release: pd.DataFrame | None, ratio: float) -> int:
    """Largest size of which ``round(ratio * size)`` rows are synthetic and the rest real, none used twice."""
    size = math.ceil((n_real + 1) / (1 - ratio))
    n_synthetic = len(release) if release is not None else size
    while size - round(ratio * size) > n_real or round(ratio * size) > n_synthetic:
        size -= 1
        if release is not None:
            size = min(size, math.ceil((n_synthetic + 1) / ratio))
    return size


def synthesize(spec: SyntheticSpec, dataset: Dataset, size: int, seed: int, base: Path | None = None) -> pd.DataFrame:
    """Fit a synthesizer on the real training rows and sample from it: a pure function of its arguments.

    The audit rows are never shown to it. ``base`` is the folder that the path of a language model starts from. Raises ``InputError``: the
    plugin is unknown or cannot be loaded. Raises ``TaskError``: it failed, or returned rows that do not fit the real table.
    """
    plugin = load_plugin("synthesizers", spec.plugin, where="regimes: synthetic")
    columns = dataset.synthesis_columns(sees_protected=spec.sees_protected)
    options: dict[str, Any] = {}
    if spec.language_model is not None:
        options = {**spec.language_model.model_dump(), "base": base, "text": dataset.text}
    elif spec.ngram is not None:
        people = None if dataset.group is None else group_numbers(dataset.train[dataset.group]).tolist()
        options = {**spec.ngram.model_dump(), "text": dataset.text, "label": dataset.target, "people": people}
    synthesizer = plugin(epochs=spec.epochs, seed=integer_seed(seed, "synthesizer"), **options)
    raw = synthesizer.fit(dataset.train.loc[:, list(columns)]).sample(size, seed=integer_seed(seed, "sample"))
    if len(raw) != size or [name for name in columns if name not in raw.columns]:
        raise TaskError(f"synthesizer {spec.plugin} returned {len(raw)} of {size} rows, or lost a column")
    try:
        rows = conform(dataset, raw, columns, where=f"synthesizer {spec.plugin}", days=True)
        dataset.target_codes(rows)
    except InputError as error:
        raise TaskError(str(error)) from None
    return rows


def make_training_data(
    regime: Regime, dataset: Dataset, tables: Mapping[str, pd.DataFrame], size: int, rng: np.random.Generator
) -> TrainingData:
    """Choose and encode one repetition's training rows, made ones from ``tables``; ``TaskError``: too few, or all of one class."""
    rows, n_synthetic = draw_rows(regime, dataset, tables, size, rng)
    weight = reweigh(rows, dataset) if regime.kind == "reweighed" else np.ones(size)
    data = encode_rows(regime, dataset, rows, rng, weight)
    return replace(data, summary={"rows": size, "synthetic_rows": n_synthetic, "real_rows": size - n_synthetic, **data.summary})


def draw_rows(
    regime: Regime, dataset: Dataset, tables: Mapping[str, pd.DataFrame], size: int, rng: np.random.Generator
) -> tuple[pd.DataFrame, int]:
    """One repetition's training rows, made ones first, with the columns that all of them have; and how many are made ones."""
    if not regime.needs_training:
        raise ValueError(f"regime '{regime.name}' is not trained")
    share = {"synthetic": 1.0, "release": 1.0, "mixed": regime.ratio or 0.0}.get(regime.kind, 0.0)
    n_synthetic = round(share * size)
    pieces = []
    if n_synthetic:
        pieces.append(_draw(tables[regime.of or regime.name], n_synthetic, rng, regime.name))
    if size - n_synthetic:
        pieces.append(_draw(dataset.train, size - n_synthetic, rng, regime.name))
    rows = pd.concat(pieces, ignore_index=True, join="inner")
    return (dataset.encoder.scrubbed(rows, regime.scrub) if isinstance(dataset.encoder, TextEncoder) else rows), n_synthetic


def encode_rows(
    regime: Regime, dataset: Dataset, rows: pd.DataFrame, rng: np.random.Generator, weight_n: NDArray[np.float64]
) -> TrainingData:
    """Training rows as a model meets them, in random order; ``TaskError``: they are all of one class."""
    order = rng.permutation(len(rows))
    y, codes = dataset.learnt(rows)[order], dataset.target_codes(rows)
    if len(np.unique(y)) < 2:
        raise TaskError(_one_class(regime, dataset.target))
    summary: dict[str, float | int | str] = {}
    counts = np.bincount(codes, minlength=len(dataset.classes))
    if counts.min() >= SMALLEST_CELL:
        summary |= {f"share of {name}": round(float(count) / len(rows), 4) for name, count in zip(dataset.classes, counts, strict=True)}
    return TrainingData(dataset.encoder.transform(rows)[order], y, weight_n[order].astype(np.float32), summary)


def _one_class(regime: Regime, target: str) -> str:
    if regime.kind == "synthetic" and regime.synthetic is not None:
        more = "more epochs or more rows" if regime.synthetic.epochs is not None else "more rows"
        return f"the synthesizer of '{regime.name}' made one class of '{target}' only; give it {more}, or take another synthesizer"
    return f"all training rows of regime '{regime.name}' are of one class of '{target}'; a model needs rows of each"


def _draw(table: pd.DataFrame, n: int, rng: np.random.Generator, name: str) -> pd.DataFrame:
    if n > len(table):
        raise TaskError(f"regime '{name}' needs {n} rows and has {len(table)}")
    return table.iloc[rng.choice(len(table), size=n, replace=False)]


def reweigh(rows: pd.DataFrame, dataset: Dataset) -> NDArray[np.float64]:
    """Weigh real rows so that each protected attribute is independent of the target (Kamiran & Calders 2012).

    With one attribute the weight is ``P(a) P(y) / P(a, y)``. With several, the same step is repeated in turn
    until all hold at once (raking), which needs no joint cell to be populated. Numbers of more than ten
    values are taken by quarters. The weights ``(n,)`` have mean 1.
    """
    y = dataset.target_codes(rows)
    codes = [level_codes(rows[a.name], cut=a.kind == "continuous") for a in dataset.attributes if a.role == "protected"]
    weight = np.ones(len(rows))
    for _ in range(1 if len(codes) == 1 else 50):
        before = weight.copy()
        for a in codes:
            joint = np.zeros((a.max() + 1, len(dataset.classes)))
            np.add.at(joint, (a, y), weight)
            expected = np.outer(joint.sum(1), joint.sum(0)) / joint.sum()
            weight = weight * (expected / np.where(joint > 0, joint, 1.0))[a, y]
        if np.abs(weight - before).max() < 1e-6:
            break
    return np.asarray(weight / weight.mean(), dtype=np.float64)
