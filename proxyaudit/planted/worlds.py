"""The registry of planted worlds and the draws from it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from proxyaudit.arrays import Floats
from proxyaudit.planted import construction as plants
from proxyaudit.planted.construction import Case, Rng, World

LINEAR_MARGIN = 0.02
NONLINEAR_MARGIN = 0.10
_FOUR_RATES = np.array([0.4, 0.3, 0.2, 0.1])
_LABEL_VALUES = np.array(["no", "yes"])


def _linear(case: Case) -> World:
    acts, z = plants.whitened(case)
    if case.kind == "multiclass":
        labels = plants.plant_labels(case, z @ plants.directions(case.d, 3, case.rng), case.rng.permutation(_FOUR_RATES))
        return case.world(acts, labels, "linear", "Four classes of unequal size with logits linear along three random directions.")
    rates = plants.two_rates(case.rate_or(0.05 if case.kind == "rare" else 0.5))
    if case.kind == "low_variance":
        scores, detail = z[:, 0], "The log-odds are linear along the axis of lowest variance of the standardised units."
    else:
        scores = z @ plants.directions(case.d, 1, case.rng)
        detail = "The log-odds of the attribute are linear along one random whitened direction."
    return case.world(acts, plants.plant_labels(case, scores, rates), "linear", detail)


def _sparse(case: Case) -> World:
    acts = plants.activations(case.n, case.d, case.rng)

    def leak_at(t: float) -> float:
        return float(1 + ((1 - t) * np.log2((1 - t) / (2 - t)) - np.log2(2 - t)) / 2)

    # The balanced leak depends only on the share of one class that has the unit on. Rounding to whole rows
    # is taken up by the base rate, which moves a little, so that the leak stays exact.
    within = plants.solve_strength(case, leak_at, 1e-9, 1 - 1e-9)
    code = int(case.rng.integers(2))
    rate = plants.two_rates(case.rate_or(0.5))[code]
    on = round(within * rate * case.n)
    rate_off = (on / within - on) / (case.n - on)
    if on < 3 or rate_off >= 1:
        raise ValueError(f"world {case.kind!r} cannot carry a leak of {case.leak:g} with n={case.n}: the unit would be on for {on} rows")
    is_on = case.rng.permutation(case.n) < on
    in_class = is_on | (case.rng.random(case.n) < rate_off)
    unit = int(case.rng.integers(case.d))
    acts[:, unit] = is_on * case.rng.uniform(0.8, 1.2, case.n) * case.rng.uniform(1, 5)
    if case.kind == "rotated_sparse":
        acts = acts @ plants.rotation(case.d, case.rng)
    side = "the rarer" if rate < 0.5 else "the commoner" if rate > 0.5 else "one"
    hidden = ", then all units are rotated" if case.kind == "rotated_sparse" else ""
    detail = f"One unit is on for {on} of {case.n} rows, all in {side} class{hidden}."
    return case.world(acts, plants.class_names(np.where(in_class, code, 1 - code), 2), "linear", detail)


def _continuous(case: Case) -> World:
    acts, z = plants.whitened(case)
    score = (z @ plants.directions(case.d, 1, case.rng))[:, 0]
    score = (score - score.mean()) / score.std()
    values = np.sqrt(case.leak) * score + np.sqrt(1 - case.leak) * case.rng.normal(size=case.n)
    return case.world(acts, values, "linear", "A continuous attribute is one whitened direction plus Gaussian noise.")


def _grouped(case: Case) -> World:
    rng = case.rng
    groups = plants.person_numbers(case.n, 3, 8, rng)
    persons = int(groups.max()) + 1
    codes = (rng.random(persons) < case.rate_or(0.5)).astype(np.int64)
    plants.class_names(codes, 2)
    jitter = rng.uniform(0.05, 0.2)
    latent = rng.normal(size=(persons, case.d))[groups] + jitter * rng.normal(size=(case.n, case.d))
    latent /= np.sqrt(1 + jitter**2)
    shift = plants.solve_strength(case, plants.shift_leak, 1e-6, 12.0)
    latent += shift * codes[groups][:, None] * plants.directions(case.d, 1, rng).T
    detail = f"{persons} persons with 3 to 8 near-duplicate rows each; the attribute shifts a person along one whitened direction."
    return case.world(plants.gaussian_activations(latent, rng), plants.class_names(codes[groups], 2), "linear", detail, groups)


def _beside_label(case: Case) -> World:
    rng, through = case.rng, case.kind == "only_through_label"
    # A fair label that is independent of the attribute makes the exclusive-or independent of it as well.
    channel, carries = "beyond", "exclusive-or of attribute and task label: nothing alone, the attribute once the label is known."
    agreement = rng.uniform(0.8, 0.95) if through else 0.5
    leak_at: Callable[[float], float] = plants.shift_leak
    if through:
        if plants.linear_leak_through(12.0, agreement) <= 1.2 * case.leak:
            agreement = 0.99
        channel, leak_at = "linear", partial(plants.linear_leak_through, agreement=agreement)
        carries = f"task label, which agrees with the attribute in {agreement:.0%} of rows: explained by the label."
    shift = plants.solve_strength(case, leak_at, 1e-6, 12.0)
    attribute = (rng.random(case.n) < case.rate_or(0.5)).astype(np.int64)
    label = np.where(rng.random(case.n) < agreement, attribute, 1 - attribute) if through else rng.integers(0, 2, case.n)
    carried = label if through else attribute ^ label
    latent = rng.normal(size=(case.n, case.d)) + shift * carried[:, None] * plants.directions(case.d, 1, rng).T
    acts = plants.gaussian_activations(latent, rng)
    return case.world(
        acts, plants.class_names(attribute, 2), channel, f"The activations carry the {carries}", condition_n=_LABEL_VALUES[label]
    )


def _even_feature(case: Case, shape: str, z_nd: Floats, axes_d3: Floats) -> Floats:
    """A non-linear feature of Gaussian rows, which is even, so that linear readers get nothing."""
    first, second = z_nd @ axes_d3[:, 0], z_nd @ axes_d3[:, 1]
    feature = {"product": first * second, "sign": np.sign(first * second), "square": first**2, "norm": (z_nd**2).sum(axis=1)}[shape]
    if case.n >= 50 * case.d:
        # Evenness holds on average only. Fitted on fewer rows, the correction would plant more than it removes.
        design = np.column_stack([np.ones(case.n), z_nd])
        feature = feature - design @ np.linalg.lstsq(design, feature, rcond=None)[0]
    return np.asarray(feature * case.rng.choice([-1, 1]))


_SHAPES = {"xor": ["product", "sign"], "variance": ["square"], "norm": ["norm"], "leace_cleaned": ["product", "square"]}


def _nonlinear(case: Case) -> World:
    rng = case.rng
    z = rng.normal(size=(case.n, case.d))
    axes = plants.directions(case.d, 3, rng)
    shape = str(rng.choice(_SHAPES[case.kind]))
    labels = plants.plant_labels(case, _even_feature(case, shape, z, axes), plants.two_rates(case.rate_or(0.5)))
    words = {"product": "product of two directions", "sign": "sign of the product of two directions", "square": "square of one direction"}
    detail = f"The log-odds follow the {words.get(shape, 'squared norm')} of the whitened activations"
    if case.kind != "leace_cleaned":
        return case.world(plants.gaussian_activations(z, rng), labels, "nonlinear", f"{detail}.")
    if case.n < 10 * case.d:
        raise ValueError(f"world 'leace_cleaned' needs n >= 10 d for its eraser, got n={case.n}, d={case.d}")
    is_b = labels == "b"
    acts = plants.gaussian_activations(z + rng.uniform(0.5, 1.5) * is_b[:, None] * axes[:, 2], rng)
    # Remove, in whitened coordinates, the direction between the class means: LEACE on these rows.
    centred = acts - acts.mean(axis=0)
    gap = centred[is_b].mean(axis=0) - centred[~is_b].mean(axis=0)
    reader = np.linalg.solve(centred.T @ centred / len(centred), gap)
    acts = acts - np.outer(centred @ reader, gap) / (gap @ reader)
    return case.world(acts, labels, "nonlinear", f"{detail}; a linear shift beside it was erased on these rows.")


def _absent(case: Case) -> World:
    rng, n = case.rng, case.n
    if case.kind == "few_rows":
        n = min(n, 2 * case.d)
    acts, rate = plants.activations(n, case.d, rng), case.rate_or(0.5)
    detail = "The attribute is independent of the activations."
    if case.kind == "absent_rare":
        rate = case.rate_or(rng.uniform(0.01, 0.05))
    elif case.kind == "base_rate_shift":
        rate = case.rate_or(abs(int(rng.integers(2)) - rng.uniform(0.03, 0.12)))
        acts = np.exp(0.7 * (acts - acts.mean(axis=0)) / acts.std(axis=0))
        detail = "An independent attribute far from even, beside skewed activations."
    elif case.kind == "row_id":
        half, hashed = case.d // 2, case.d // 4
        acts[:, :half] = rng.choice([-1.0, 1.0], size=(n, half))
        acts[:, half : half + hashed] = rng.integers(0, max(hashed, 1), n)[:, None] == np.arange(hashed)
        detail = "Units hold a random code of the row, which can be memorised; the attribute is independent of them."
    elif case.kind == "absent_multiclass":
        codes = rng.choice(4, size=n, p=rng.permutation(_FOUR_RATES))
        return case.world(acts, plants.class_names(codes, 4), "none", "Four classes, independent of the activations.")
    elif case.kind == "absent_continuous":
        values = rng.normal(size=n) if rng.random() < 0.5 else rng.exponential(size=n)
        return case.world(acts, values, "none", "A continuous attribute, independent of the activations.")
    return case.world(acts, plants.class_names((rng.random(n) < rate).astype(np.int64), 2), "none", detail)


def _absent_groups(case: Case) -> World:
    rng, rate = case.rng, case.rate_or(0.5)
    groups = plants.person_numbers(case.n, 4, 10, rng)
    persons = int(groups.max()) + 1
    centres = plants.activations(persons, case.d, rng)
    varying = case.kind == "absent_varying_groups"
    noise = rng.uniform(0.5, 1.5) if varying else rng.uniform(0.02, 0.2)
    acts = centres[groups] + noise * centres.std(axis=0) * rng.normal(size=(case.n, case.d))
    if varying:
        codes = (rng.random(case.n) < rng.beta(rate, 1 - rate, persons)[groups]).astype(np.int64)
        detail = f"{persons} persons share activations and a tendency to one class; neither depends on the other."
    else:
        codes = (rng.random(persons) < rate).astype(np.int64)
        plants.class_names(codes, 2)
        codes = codes[groups]
        detail = f"{persons} persons with 4 to 10 near-duplicate rows each and an independent attribute per person."
    return case.world(acts, plants.class_names(codes, 2), "none", detail, groups)


_PRESENT: dict[str, Callable[[Case], World]] = {
    "linear": _linear,
    "rare": _linear,
    "low_variance": _linear,
    "sparse_unit": _sparse,
    "rotated_sparse": _sparse,
    "multiclass": _linear,
    "continuous": _continuous,
    "grouped": _grouped,
    "only_through_label": _beside_label,
    "conditional_xor": _beside_label,
    **dict.fromkeys(_SHAPES, _nonlinear),
}
_GROUPED_ABSENT = ("absent_grouped", "absent_varying_groups")
_SINGLE_ABSENT = ("absent", "absent_rare", "absent_multiclass", "absent_continuous", "base_rate_shift", "few_rows", "row_id")
_ABSENT = dict.fromkeys(_SINGLE_ABSENT, _absent) | dict.fromkeys(_GROUPED_ABSENT, _absent_groups)

WORLDS: dict[str, Callable[[Case], World]] = _PRESENT | _ABSENT
PRESENT: tuple[str, ...] = tuple(_PRESENT)
ABSENT: tuple[str, ...] = tuple(_ABSENT)


def make_world(kind: str, *, n: int, d: int, leak: float, rng: Rng, rate: float | None = None) -> World:
    """Build one planted world of a kind in ``WORLDS``, of ``n`` rows (``few_rows`` cuts them down to ``2 d``) and ``d`` units.

    The leak is a fraction of ``log2 K`` (R squared for continuous attributes), ignored by worlds in ``ABSENT``. ``rate`` is the share of
    class ``b``, the world's own if not given, and not used with four classes or continuous attributes. Raises ``ValueError`` where the kind
    is unknown, sizes or base rate are out of range, or the world cannot carry the leak.
    """
    if kind not in WORLDS:
        raise ValueError(f"unknown world {kind!r}; known: {', '.join(WORLDS)}")
    if n < 20 or d < 4:
        raise ValueError(f"a world needs n >= 20 and d >= 4, got n={n}, d={d}")
    if rate is not None and not 0 < rate < 1:
        raise ValueError(f"rate must lie between 0 and 1, got {rate:g}")
    if kind in PRESENT and not 0 < leak < 1:
        raise ValueError(f"leak of world {kind!r} must lie between 0 and 1, got {leak:g}")
    return WORLDS[kind](Case(kind, n, d, float(leak), rate, rng))


def sample_case(rng: Rng, *, present: bool, at_margin: bool = False) -> dict[str, Any]:
    """Draw arguments of ``make_world``: half of the present cases leak 2 to 4 margins, the others 4 to 10, at most .8 (or exactly one)."""
    kind = str(rng.choice(PRESENT if present else ABSENT))
    margin = NONLINEAR_MARGIN if kind in _SHAPES else LINEAR_MARGIN
    multiple = rng.uniform(2, 4) if rng.random() < 0.5 else rng.uniform(4, 10)
    leak = min(0.8, margin * (1.0 if at_margin else multiple)) if present else 0.0
    rate = float(rng.uniform(0.15, 0.85)) if rng.random() < 0.5 else None
    if kind in ("rare", "absent_rare", "base_rate_shift"):
        rate = None
    n = round(float(np.exp(rng.uniform(np.log(300), np.log(12000)))))
    return {"kind": kind, "n": n, "d": int(rng.choice([16, 32, 64, 128, 256, 384, 768])), "leak": float(leak), "rate": rate}


def draw_world(rng: Rng, *, present: bool, at_margin: bool = False) -> World:
    """Draw a world as ``sample_case`` does; ``ValueError`` where 100 cases in a row cannot be built."""
    for _ in range(100):
        try:
            return make_world(**sample_case(rng, present=present, at_margin=at_margin), rng=rng)
        except ValueError as error:
            last = error
    raise ValueError(f"no world could be built in 100 draws; the last: {last}")
