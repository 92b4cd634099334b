"""Make the signatures that 'scan' reads: for each attribute, regime, repetition and verdict site the direction that tells the attribute.

The direction is fitted on some rows; what it tells and the covariance of the attribute with every unit (``shift``) are measured on
others. On the same rows the product of both noises would look like a leak of about ``.7 d / n``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Bools, Floats, Ints, Singles
from proxyaudit.channels.contexts import context_codes, followed_output, make_contexts
from proxyaudit.data.attributes import MIN_LEVEL_ROWS, Attribute
from proxyaudit.data.dataset import Dataset
from proxyaudit.data.described_encoder import describe_encoder
from proxyaudit.data.text import TextEncoder
from proxyaudit.estimates.rounding import significant
from proxyaudit.evidence.signatures import Contexts, Document, Entry, Kind, KnownAttribute, Reading, Reference, Signatures
from proxyaudit.probes import attribute_direction as along
from proxyaudit.recipe.recipe import SignaturesSpec
from proxyaudit.seeding import stream
from proxyaudit.types import State

PLACEBOS = 40
KNOWN_LEVEL = 0.01
LARGEST_MODEL = 64 * 2**20  # bytes of weights that a signature keeps for each model
_FIT_PARTS = (0, 1)


@dataclass(frozen=True)
class ReferenceModel:
    """A model of the run on the audit rows."""

    regime: str
    seed: int
    acts: Mapping[str, NDArray[Any]]
    outputs: Floats
    weights: dict[str, NDArray[Any]] = field(repr=False)  # its weights by tensor name
    erase: tuple[str, ...] = ()  # sites with a map
    scrub: tuple[str, ...] = ()  # rules by which its texts are scrubbed
    quantise: str | None = None  # how it is quantised

    @property
    def kept(self) -> bool:
        """Whether the weights are small enough to be kept."""
        return 0 < sum(value.nbytes for value in self.weights.values()) <= LARGEST_MODEL


def build_signatures(
    models: Sequence[ReferenceModel],
    states: Mapping[tuple[str, str, str], State],
    *,
    dataset: Dataset,
    sites: Sequence[str],
    spec: SignaturesSpec,
    margin: float,
    root: int,
    plan_digest: str,
) -> Signatures:
    """Signatures of models on the audit rows; ``states`` are those of the linear channel by (attribute, regime, site)."""
    kept = [followed_output(model.outputs) for model in models if model.kept]
    output = np.mean(kept, axis=0) if kept else np.zeros(len(dataset.audit))
    contexts = make_contexts(spec, dataset, output)
    codes = context_codes(contexts, dataset.audit, output)
    # A proxy that the model is fed is in every model; what is asked of one is whether the protected attribute came in.
    protected = [attribute for attribute in dataset.attributes if attribute.role == "protected"]
    chosen = [
        (a.name, level, rows)
        for a in protected
        for level, values in attribute_columns(a, np.asarray(a.codes))
        if (rows := _Rows.choose(dataset, contexts, codes, values, root, margin)) is not None
    ]
    entries, directions = [], []
    for model in models:
        for attribute, level, rows in chosen:
            for site in sites:
                named = {"attribute": attribute, "level": level, "regime": model.regime, "seed": model.seed, "site": site}
                state = states.get((attribute, model.regime, site))
                entry, arrays = rows.entry(np.asarray(model.acts[site], dtype=np.float64), {**named, "state": state})
                entries.append(entry)
                directions.append(arrays)
    wanted = {f.name for f in dataset.features} | {a.name for a in protected} | {dataset.group, contexts.column}
    document = Document(
        plan_digest=plan_digest,
        kinds=tuple(
            Kind(name=k.name, kind=k.kind, date=k.date, edges=k.bands.edges if k.bands else (), levels=k.bands.levels if k.bands else ())
            for k in dataset.kinds
            if k.name in wanted
        ),
        features=tuple(feature.name for feature in dataset.features),
        text=dataset.text,
        encoder=() if isinstance(dataset.encoder, TextEncoder) else tuple(describe_encoder(dataset.encoder)),
        classes=dataset.read.n_classes,
        group=dataset.group,
        attributes=tuple(KnownAttribute(name=a.name, role=a.role, kind=a.kind, levels=a.levels) for a in protected),
        contexts=contexts,
        references=tuple(Reference.model_validate(model, from_attributes=True) for model in models),
        entries=tuple(entries),
        placebos=PLACEBOS,
    )
    return Signatures(document, tuple(directions), tuple(model.weights if model.kept else {} for model in models))


def attribute_columns(attribute: Attribute, codes_n: NDArray[Any]) -> list[tuple[str | None, Floats]]:
    """The attribute as columns of numbers, NaN where it is missing: its second level, each of several levels, or the number itself."""
    if attribute.kind == "continuous":
        return [(None, codes_n.astype(np.float64))]
    levels = (1,) if len(attribute.levels) == 2 else range(len(attribute.levels))
    return [(attribute.levels[k], np.where(codes_n < 0, np.nan, (codes_n == k).astype(np.float64))) for k in levels]


@dataclass(frozen=True)
class _Rows:
    """Rows on which one column of an attribute is known, and what each is for."""

    root: int
    margin: float
    contexts: Contexts
    binary: bool
    known: Bools
    values: Floats  # the column on them
    codes: Ints  # their contexts
    clusters: Ints
    fit: Bools  # those that directions are fitted on
    weights: Floats  # weight of the others when all contexts are taken together, 0 for rows of ``fit``

    @classmethod
    def choose(cls, dataset: Dataset, contexts: Contexts, codes_n: Ints, values_n: Floats, root: int, margin: float) -> Self | None:
        """Choose the rows; ``None`` where a group is too small to fit or to measure anything."""
        known = np.isfinite(values_n)
        values, codes, parts = values_n[known], codes_n[known], dataset.parts[known]
        held = (codes >= 0) & np.array([*contexts.held_out, False])[codes]
        fit = ~held & np.isin(parts, _FIT_PARTS)
        apart = ~held & ~fit
        binary = bool(np.isin(values, (0, 1)).all())
        if any(_smallest(values[rows], binary) < MIN_LEVEL_ROWS for rows in (fit, ~fit)):
            return None
        # Of the contexts that are not held out, only a part is left to measure on: it stands for all of them.
        weights = held.astype(np.float64)
        weights[apart] = (apart.sum() + fit.sum()) / max(apart.sum(), 1)
        return cls(root, margin, contexts, binary, known, values, codes, dataset.clusters[known], fit, weights)

    def entry(self, acts_nd: Floats, named: dict[str, Any]) -> tuple[Entry, dict[str, Singles]]:
        acts = acts_nd[self.known]
        # Stored in single precision: the numbers below are those of the direction as stored.
        direction = along.discriminants(acts[self.fit], self.values[self.fit, None])[:, 0].astype(np.float32)
        placebos = along.permuted_columns(self.values, self.clusters, PLACEBOS, stream(self.root, "signatures", "placebos"))
        placebo_direction = along.discriminants(acts[self.fit], placebos[self.fit]).astype(np.float32)
        score = along.without_tails(acts @ direction.astype(np.float64))
        curve = along.correlation_curve(score[~self.fit], self._rate(~self.fit), self.margin)
        places = [self.weights > 0, *(~self.fit & (self.codes == c) for c in range(len(self.contexts.names)))]
        names = (None, *self.contexts.names)
        shifts, readings = [], []
        for name, place in zip(names, places, strict=True):
            weights = self.weights[place] if name is None else np.ones(int(place.sum()))
            reading = self._reading(name, place, score, curve)
            readings.append(reading)
            columns = np.concatenate([self.values[place, None], placebos[place]], axis=1)
            shifts.append(_covariance(columns, acts[place], weights) if reading.rows else np.zeros((acts.shape[1], 1 + PLACEBOS)))
        r, rows = self._pooled(score)
        judged = along.read_correlations(np.array(r), rows, curve)
        at_margin = curve.at_margin
        entry = Entry(
            **named,
            margin=self.margin,
            low=_share(judged.low),
            high=_share(judged.high),
            threshold=None if at_margin is None or r <= at_margin else significant((at_margin / r) ** 2),
            known=bool(judged.leak >= self.margin and judged.p_null <= KNOWN_LEVEL),
            width=acts.shape[1],
            readings=(readings[0].model_copy(update={"leak": _share(judged.leak)}), *readings[1:]),
        )
        shift = np.array(shifts, dtype=np.float32)
        arrays = {"direction": direction, "shift": shift[..., 0], "placebo_direction": placebo_direction, "placebo_shift": shift[..., 1:]}
        return entry, arrays

    def _rate(self, place: Bools) -> float | None:
        return float(self.values[place].mean()) if self.binary else None

    def _pooled(self, score_n: Floats) -> tuple[float, float]:
        """Weighted correlation over the rows that are not fitted on, and the independent rows behind it."""
        place = self.weights > 0
        weights = self.weights[place]
        found = _covariance(self.values[place, None], score_n[place, None], weights)[0, 0]
        centred = score_n[place] - np.average(score_n[place], weights=weights)
        spread = float(np.sqrt(np.average(centred**2, weights=weights)))
        rows = along.independent_rows(self.values[place], score_n[place], self.clusters[place])
        return (found / spread if spread > 0 else 0.0), rows * float(weights.sum() ** 2 / (weights @ weights)) / len(weights)

    def _reading(self, name: str | None, place: Bools, score_n: Floats, curve: along.Curve) -> Reading:
        values, score = self.values[place], score_n[place]
        if _smallest(values, self.binary) < MIN_LEVEL_ROWS or len(score) < 2 * MIN_LEVEL_ROWS:
            # Too few people of a group to state anything of it here.
            return Reading(context=name, rows=0, rate=None, mean=0, sd=0, by_group=None, leak=0)
        rows = self._pooled(score_n)[1] if name is None else along.independent_rows(values, score, self.clusters[place])
        own = along.correlation_curve(score, self._rate(place), self.margin) if name is not None else curve
        means = (float(score[values == 0].mean()), float(score[values == 1].mean())) if self.binary else None
        return Reading(
            context=name,
            rows=float(int(rows) // 10 * 10),
            rate=round(float(values.mean()), 3) if self.binary else None,
            mean=significant(float(score.mean())) or 0.0,
            sd=significant(float(score.std())) or 0.0,
            by_group=None if means is None else (significant(means[0]) or 0.0, significant(means[1]) or 0.0),
            leak=_share(own.leak(np.array(max(along.correlation(values, score), 0.0)))),
        )


def _smallest(values_n: Floats, binary: bool) -> int:
    return int(min((values_n == 0).sum(), (values_n == 1).sum())) if binary else len(values_n)


def _covariance(columns_nm: Floats, acts_nd: Floats, weights_n: Floats) -> Floats:
    """Weighted covariance ``(d, m)`` of activations with standardised columns; zero for a constant column."""
    share = weights_n / weights_n.sum()
    columns = columns_nm - share @ columns_nm
    spread = np.sqrt(share @ columns**2)
    columns = columns / np.where(spread > 0, spread, np.inf)
    return np.asarray((acts_nd - share @ acts_nd).T @ (columns * share[:, None]))


def _share(value: Floats) -> float:
    return float(np.clip(significant(float(value)) or 0.0, 0.0, 1.0))
