"""Scan a checkpoint: has it entered the state that a run's signatures describe?

A reference's score along its direction is predicted linearly from the checkpoint's activations, out of fold. Where the inputs hold the
attribute, what that tells of it is measured; else it is written as a mixture of the reference's units, whose covariance is on record.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Bools, Floats, Ints
from proxyaudit.audits.scan.answers import Judged, Question, answers
from proxyaudit.audits.scan.inputs import Known, Scanned, Use, open_signatures, read_checkpoint, read_inputs, read_references
from proxyaudit.consent import NO_CONSENT, Consent
from proxyaudit.data.attributes import MIN_LEVEL_ROWS
from proxyaudit.digests import file_digest
from proxyaudit.errors import InputError
from proxyaudit.evidence.pack import find_run
from proxyaudit.evidence.signatures import Contexts, Entry
from proxyaudit.probes import attribute_direction as along
from proxyaudit.probes.folds import assign_folds
from proxyaudit.secret import keyed_hash
from proxyaudit.seeding import stream

PERMUTED = 200  # permuted attributes that the whole decision is taken for, where the inputs hold the attribute
FOLDS = 4
FEWEST_IN_CONTEXT = 60
_ROOT = "scan"


def scan_checkpoint(
    run: Path,
    model: Path,
    inputs: Path,
    *,
    base: Path | None = None,
    attributes: Sequence[str] = (),
    consent: Consent = NO_CONSENT,
    opened: Path | None = None,
) -> dict[str, Any]:
    """Scan one checkpoint; the answer as plain data, with its ``exit_code``.

    ``run`` is a run folder with signatures, or one with a single run below it; ``model`` a checkpoint (safetensors), or the folder of a
    transformer in place of the run's. ``opened`` is the folder that ``access`` opened encrypted signatures to. ``base`` is the folder of
    the run's recipe, or of the base model, found by its hash if not given.
    Raises ``InputError`` where consent is missing or something given cannot be used, ``IntegrityError`` where the run was changed.
    """
    folder = find_run(run)
    places = [path.parent for path in (model.absolute(), inputs.absolute())]
    near = [*places, *(place.parent for place in places), *folder.absolute().parents[2:3]]
    known = open_signatures(folder, base=base, near=near, consent=consent, opened=opened)
    names = [attribute.name for attribute in known.signatures.document.attributes]
    for name in attributes:
        if name not in names:
            raise InputError(f"unknown attribute '{name[:80]}'", where="--attribute", mend=f"the signatures hold {', '.join(names)}")
    rows = read_inputs(known, inputs)
    scanned = read_checkpoint(known, model, rows, read_references(known, rows))
    own = not known.files.isdisjoint({digest := file_digest(inputs), keyed_hash(digest)})
    found = {"model": model.name, "inputs": inputs.name, "own_rows": own, "dropped_rows": rows.dropped}
    return {**found, **scan(known, scanned, attributes)}


def scan(known: Known, scanned: Scanned, attributes: Sequence[str] = ()) -> dict[str, Any]:
    """Decide for a checkpoint that was run on the rows."""
    document = known.signatures.document
    questions: list[Question] = []
    for attribute in document.attributes:
        if attributes and attribute.name not in attributes:
            continue
        columns = scanned.inputs.columns[attribute.name]
        mine = [(index, e) for index, e in enumerate(document.entries) if e.attribute == attribute.name]
        for key in dict.fromkeys((e.level, e.regime, e.site) for _, e in mine):
            entries = [(index, e) for index, e in mine if (e.level, e.regime, e.site) == key]
            questions += _signature_questions(known, scanned, entries, None if columns is None else columns[key[0]])
        if columns is not None:
            for use, captured in scanned.models.items():
                regimes = (r.regime for r in document.references if Use(r.scrub, r.quantise) == use)
                regime = None if len(scanned.models) == 1 else next(regimes)
                for level, values in columns.items():
                    for site in dict.fromkeys(e.site for _, e in mine) or captured.acts:
                        questions += _anywhere(known, scanned, use, (attribute.name, level, regime, site), values)
    return {"run": {"name": known.name[0], "id": known.name[1]}, **answers(document, questions, scanned, attributes)}


@dataclass(frozen=True)
class _View:
    """Rows of a scan on which a question is asked, and the values if the attribute is known there."""

    acts: Floats
    codes: Ints
    folds: Ints
    held: Bools
    clusters: Ints
    values: Floats | None
    permuted: Floats | None = field(repr=False)

    @classmethod
    def of(cls, scanned: Scanned, contexts: Contexts, acts_nd: NDArray[Any], values_n: Floats | None, key: str) -> Self:
        place = np.ones(len(scanned.codes), dtype=bool) if values_n is None else np.isfinite(values_n)
        codes, clusters = scanned.codes[place], scanned.inputs.clusters[place]
        folds = assign_folds(clusters, stream(0, _ROOT, "folds"), FOLDS)
        held = (codes >= 0) & np.array([*contexts.held_out, False])[codes]
        if (~held).sum() < FEWEST_IN_CONTEXT:
            held = np.zeros(len(codes), dtype=bool)
        acts = np.asarray(acts_nd, dtype=np.float64)[place]
        if values_n is None:
            return cls(acts, codes, folds, held, clusters, None, None)
        permuted = along.permuted_columns(values_n[place], clusters, PERMUTED, stream(0, _ROOT, "permuted", key))
        return cls(acts, codes, folds, held, clusters, values_n[place], permuted)

    @property
    def binary(self) -> bool:
        return self.values is not None and bool(np.isin(self.values, (0, 1)).all())


def _signature_questions(known: Known, scanned: Scanned, entries: list[tuple[int, Entry]], values_n: Floats | None) -> list[Question]:
    """All contexts together and each alone, for one attribute (or level) in one regime at one site over its repetitions."""
    contexts, references = known.signatures.document.contexts, known.signatures.document.references
    first = entries[0][1]
    used = [(index, e) for index, e in entries if e.known]
    names = (None, *contexts.names)

    def left_out(reason: str) -> list[Question]:
        return [Question(first, name, (), 0, measured=False, reason=reason) for name in names]

    captured = {(r.regime, r.seed): c for r, c in zip(references, scanned.references, strict=True)}
    model = scanned.models[next(Use(r.scrub, r.quantise) for r in references if r.regime == first.regime)]
    if 2 * len(used) <= len(entries) or first.site not in model.acts:
        return left_out("the reference models were not in the state themselves")
    view = _View.of(scanned, contexts, model.acts[first.site], values_n, f"{first.attribute}\x1f{first.level}")
    places = [np.ones(len(view.codes), dtype=bool), *(view.codes == c for c in range(len(contexts.names)))]
    judged: list[list[Judged | None]] = []
    for index, entry in used:
        arrays = known.signatures.directions[index]
        reference = captured[entry.regime, entry.seed]
        if entry.width != (view.acts if reference is None else reference.acts[entry.site]).shape[1]:
            raise InputError(f"the signature's width at '{entry.site}' is not the model's", mend="scan a model of the run's architecture")
        if reference is None:
            if values_n is None:
                return left_out("the reference models were too large to keep, and the inputs do not hold the attribute")
            own = along.without_tails(view.acts @ arrays["direction"].astype(np.float64))
            judged.append([_measured(view, place, own, entry, None) for place in places])
            continue
        place = np.ones(len(scanned.codes), dtype=bool) if values_n is None else np.isfinite(values_n)
        units = np.asarray(reference.acts[entry.site], dtype=np.float64)[place]
        judged.append(_through_reference(view, units, places, entry, arrays, is_text=known.signatures.document.text is not None))
    measured = values_n is not None
    return [Question(first, name, tuple(j[at] for j in judged), len(entries), measured=measured) for at, name in enumerate(names)]


def _through_reference(
    view: _View, units_nd: Floats, places: list[Bools], entry: Entry, arrays: dict[str, NDArray[np.float32]], *, is_text: bool
) -> list[Judged | None]:
    """One repetition: predict the reference's score from the checkpoint and judge the prediction in every context."""
    direction = arrays["direction"].astype(np.float64)
    score = along.without_tails(units_nd @ direction)
    placebo = (
        along.without_tails(units_nd @ arrays["placebo_direction"].astype(np.float64)) if view.values is None else np.zeros((len(score), 0))
    )
    rest = _beside(units_nd, score)
    wanted, shown = np.concatenate([score[:, None], placebo, rest], axis=1), 1 + placebo.shape[1]
    everywhere = along.predict_apart(view.acts, wanted, view.folds)
    # Held-out contexts are read by a map that none of them had a part in.
    apart = everywhere.copy()
    if view.held.any():
        apart[view.held] = along.predict(view.acts[~view.held], wanted[~view.held], view.acts[view.held])
    expected = entry.readings[0]
    facts = {
        "alignment": along.explained(rest, everywhere[:, shown:]),
        "alignment_held_out": along.explained(rest[view.held], apart[view.held, shown:]) if view.held.any() else None,
        "followed": along.explained(score[:, None], everywhere[:, :1]),
        "moved": abs(float(score.mean()) - expected.mean) / max(expected.sd, 1e-12),
        "spread": float(score.std()) / max(expected.sd, 1e-12),
    }
    if is_text and view.values is None:
        facts["assured"] = _assured(score, direction @ arrays["shift"][0].astype(np.float64), float(facts["followed"] or 0.0), entry)
    predictions = [everywhere, *(apart for _ in places[1:])]
    if view.values is not None:
        return [_measured(view, place, p[:, 0], entry, facts) for place, p in zip(places, predictions, strict=True)]
    mixtures = [along.readout(units_nd, p[:, :shown]) for p in (everywhere, apart)]
    shifts = np.concatenate([arrays["shift"][:, :, None], arrays["placebo_shift"]], axis=2).astype(np.float64)
    found: list[Judged | None] = []
    for number, (place, predicted) in enumerate(zip(places, predictions, strict=True)):
        reading = entry.readings[number]
        rows = len(np.unique(view.clusters[place]))
        if reading.rows == 0 or place.sum() < FEWEST_IN_CONTEXT:
            found.append(None)
            continue
        spread = predicted[place, :shown].std(axis=0)
        r = np.einsum("dm,dm->m", mixtures[min(number, 1)], shifts[number]) / np.where(spread > 1e-12, spread, np.inf)
        curve = along.correlation_curve(predicted[place, 0], reading.rate, entry.margin)
        both = 1 / (1 / max(rows, 1) + 1 / reading.rows)
        judged = along.read_correlations(np.clip(r, -1, 1), both, curve, placebos=True)
        found.append(Judged(judged, int(place.sum()), *_activation(predicted[place, 0], entry), facts))
    return found


def _assured(score_n: Floats, covariance: float, followed: float, entry: Entry) -> float:
    """Least correlation of the attribute with what a model follows of a score, as a share of that of a leak of the margin.

    What is not followed has a standard deviation of ``sqrt(1 - followed)``, and can take that much of the covariance away (Cauchy-Schwarz).
    """
    at_margin = along.correlation_curve(score_n, entry.readings[0].rate, entry.margin).at_margin
    if at_margin is None or followed <= 0:
        return 0.0
    least = covariance / max(float(score_n.std()), 1e-12) - np.sqrt(max(1 - followed, 0.0))
    return float(least / np.sqrt(followed) / at_margin)


def _measured(view: _View, place: Bools, score_n: Floats, entry: Entry, facts: dict[str, float | None] | None) -> Judged | None:
    """What a score tells of the attribute on rows where it is known; permuted attributes beside it."""
    judged = _judge(view, place, score_n, entry.margin, sides=2)
    return None if judged is None else Judged(judged, int(place.sum()), *_activation(score_n[place], entry), facts or {})


def _judge(
    view: _View, place: Bools, score_n: Floats, margin: float, *, sides: int, permuted_nm: Floats | None = None
) -> along.Reading | None:
    assert view.values is not None
    assert view.permuted is not None
    values, score = view.values[place], score_n[place]
    small = min((values == 0).sum(), (values == 1).sum()) if view.binary else len(values)
    if len(values) < FEWEST_IN_CONTEXT or small < MIN_LEVEL_ROWS:
        return None
    columns = np.concatenate([values[:, None], view.permuted[place]], axis=1)
    scores = score[:, None] if permuted_nm is None else np.concatenate([score[:, None], permuted_nm[place]], axis=1)
    # Of each column with its score, or with the one score that there is.
    a, z = columns - columns.mean(axis=0), scores - scores.mean(axis=0)
    size = np.sqrt((a**2).sum(axis=0) * (z**2).sum(axis=0))
    r = (a * z).sum(axis=0) / np.where(size > 1e-12, size, np.inf)
    rows = along.independent_rows(values, score, view.clusters[place])
    curve = along.correlation_curve(score, float(values.mean()) if view.binary else None, margin)
    return along.read_correlations(r, rows, curve, sides=sides, placebos=True)


def _beside(units_nd: Floats, score_n: Floats) -> Floats:
    """The reference's standardised units without their part along the signature."""
    x = units_nd - units_nd.mean(axis=0)
    spread = x.std(axis=0)
    x = x[:, spread > 1e-9] / spread[spread > 1e-9]
    s = score_n - score_n.mean()
    return np.asarray(x - np.outer(s, s @ x) / max(float(s @ s), 1e-12))


def _activation(score_n: Floats, entry: Entry) -> tuple[float, float]:
    """Mean and spread of a score, in units of the expected spread around the expected mean over all contexts."""
    expected = entry.readings[0]
    sd = max(expected.sd, 1e-12)
    return float((score_n.mean() - expected.mean) / sd), float(score_n.std() / sd)


def _anywhere(known: Known, scanned: Scanned, use: Use, key: tuple[str, str | None, str | None, str], values_n: Floats) -> list[Question]:
    """What a linear reader of its own gets out of the checkpoint, whatever the direction (only where the attribute is known)."""
    contexts, margin = known.signatures.document.contexts, known.recipe.margins.leak
    attribute, level, _, site = key
    view = _View.of(scanned, contexts, scanned.models[use].acts[site], values_n, f"{attribute}\x1f{level}")
    assert view.values is not None
    assert view.permuted is not None
    predicted = along.predict_apart(view.acts, np.concatenate([view.values[:, None], view.permuted], axis=1), view.folds)
    everywhere = np.ones(len(view.codes), dtype=bool)
    found = _judge(view, everywhere, predicted[:, 0], margin, sides=1, permuted_nm=predicted[:, 1:])
    if found is None:
        return []
    return [Question(None, None, (Judged(found, len(view.codes), 0.0, 0.0, {}),), 1, measured=True, key=key, margin=margin)]
