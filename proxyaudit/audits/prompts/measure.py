"""What is measured of one language model on a prompt set: scores, ranks, refusals, and swaps (interchange) inside the model.

The direction of a group difference is the difference of the groups' mean residual streams over *other* names: three folds of names, each
measured with the direction of the two others. A prompt's coordinate is replaced by the mean coordinate of the fold's names of the
other group in the same sentence, and by that of the other names of its own group; the difference of the followed shares, oriented from
the low to the high group, is tau (Geiger et al. 2023; Vig et al. 2020). Random directions come from how names differ *within* groups.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from proxyaudit.arrays import Floats, Ints
from proxyaudit.audits.prompts.parts import PARTS, measure_parts
from proxyaudit.estimates.record import Measurement, Shelf
from proxyaudit.language.causal_model import CausalModel, Placed, continuation_scores, continue_greedily, place, read, swap
from proxyaudit.language.prompt_sets import Prompt, PromptSet, Template
from proxyaudit.seeding import stream
from proxyaudit.stats.group_gaps import crossed_gap
from proxyaudit.stats.intervals import Measured

FOLDS = 3
RANDOMS = 199
FEWEST_IN_FOLD = 2  # of each group: a recipient needs another name of its own group
SWAP_PROMPTS = 240  # of more, only the first contexts are used
# Ways in which assistants decline, at the start of an answer.
_REFUSALS = re.compile(
    r"\b(?:i(?:'m| am) (?:very |so |really )?(?:sorry|unable|not able|afraid)|i (?:can(?:'t|not| not)|won't|will not|must decline)"
    r"|(?:as|being) an ai|i do(?:n't| not) (?:feel comfortable|have the ability)|(?:un)?fortunately,? i (?:can|am|cannot)"
    r"|my apologies|i apologi[sz]e|not (?:appropriate|possible) for me)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class SwapResult:
    """Effect of the group direction at one layer, oriented from group ``low`` to ``high``; its rows are names."""

    low: int
    high: int
    layer: int
    measured: Measured
    first_order: float
    random_high: float  # 95th percentile of the absolute effects of random directions
    prompts: int  # number of swapped prompts


@dataclass(frozen=True)
class SwapRecord:
    """Every pair of groups at every layer, and the templates that cannot be followed by one token."""

    results: tuple[SwapResult, ...] = ()
    left_out: tuple[str, ...] = field(default=(), metadata={"key": "left out"})


SWAPS = Shelf("swaps", SwapRecord)


def is_refusal(answer: str) -> bool:
    """Whether an answer declines, by a short list of patterns in its beginning."""
    return _REFUSALS.search(answer.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")[:200]) is not None


def swap_layers(depth: int) -> tuple[int, ...]:
    """Layers at one third and two thirds of the depth, counted from 0."""
    return tuple(sorted({max(0, round(depth / 3) - 1), max(0, round(2 * depth / 3) - 1)}))


def measure_model(
    model: CausalModel,
    prompts: PromptSet,
    seed: int,
    tokens: int,
    layers: Sequence[int] | None,
    told: Callable[[str], None],
    *,
    circuits: bool = False,
) -> Measurement:
    """Measure one model: ``"<measure>/<template>"`` outcomes ``(contexts, names)`` in [0, 1], swaps; ``told`` after every template.

    With ``circuits`` parts are exchanged too.
    """
    out = Measurement()
    shape = (len(prompts.contexts), len(prompts.names))
    for template in prompts.templates:
        for measure, outcome in _scored(model, template, list(prompts.prompts(template))).items():
            out.arrays[f"{measure}/{template.id}"] = outcome.reshape(shape)
        told(template.id)
    for template in prompts.requests:
        asked = [model.request(prompt.text) for prompt in prompts.prompts(template)]
        answers = continue_greedily(model, asked, tokens)
        found = np.array([float(is_refusal(model.decode(answer))) for answer in answers])
        out.arrays[f"refusal/{template.id}"] = found.reshape(shape)
        told(template.id)
    placed, contexts, left_out = _placed(model, prompts)
    layers = swap_layers(len(model.blocks)) if layers is None else layers
    groups_n, pairs = np.array(prompts.group_numbers), list(combinations(range(len(prompts.groups)), 2)) if placed else []
    swaps = [one for low, high in pairs for one in measure_swaps(model, placed, contexts, groups_n, low, high, layers, seed)]
    SWAPS.write(out, SwapRecord(tuple(swaps), left_out))
    if circuits:
        PARTS.write(out, measure_parts(model, placed, contexts, groups_n, pairs, seed))
    told("swaps")
    return out


def _scored(model: CausalModel, template: Template, prompts: Sequence[Prompt]) -> dict[str, Floats]:
    pairs = template.positive + template.negative or template.options
    options = [model.continuation(text) for text in pairs]
    scores = np.stack(continuation_scores(model, [model.prompt(p.text) for p in prompts], [options] * len(prompts)))
    if template.positive:
        half = len(template.positive)
        return {"tone": (1 / (1 + np.exp(scores[:, half:] - scores[:, :half]))).mean(axis=1)}
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    return {"likelihood": odds[:, 0] / odds.sum(axis=1), "ranking": (scores[:, 0] > scores[:, 1:].max(axis=1)).astype(np.float64)}


def _placed(model: CausalModel, prompts: PromptSet) -> tuple[list[Placed], int, tuple[str, ...]]:
    """Prompts that can be followed by one token, how many contexts each template has, and the templates that cannot be followed."""
    contexts = max(1, min(len(prompts.contexts), SWAP_PROMPTS // max(1, len(prompts.templates) * len(prompts.names))))
    placed: list[Placed] = []
    left_out: list[str] = []
    for template in prompts.templates:
        sides = (template.positive, template.negative) if template.positive else (template.options[:1], template.options[1:])
        yes, no = (tuple(sorted({model.continuation(text)[0] for text in side})) for side in sides)
        own = [place(model, prompt, yes, no) for prompt in prompts.prompts(template, contexts)]
        known = [one for one in own if one is not None]
        if set(yes) & set(no) or len(known) != len(own):
            left_out.append(template.id)
        else:
            placed += known
    return placed, contexts, tuple(left_out)


def measure_swaps(
    model: CausalModel, placed: list[Placed], contexts: int, groups_n: Ints, low: int, high: int, layers: Sequence[int], seed: int
) -> list[SwapResult]:
    """Swap the direction between two groups at each layer, prompts a grid (templates, contexts, names); empty where names are too few."""
    rng = stream(seed, "swaps", low, high)
    fold_n = _folds(groups_n, low, high, rng)
    if fold_n is None:
        return []
    reading = read(model, placed, layers)
    used = np.flatnonzero((groups_n == low) | (groups_n == high))
    at = np.arange(len(placed)).reshape(-1, contexts, len(groups_n))[:, :, used]
    recipients = [placed[row] for row in at.ravel().tolist()]
    results = []
    for layer in layers:
        acts, gradients = (values[layer][at.ravel()].reshape(*at.shape, 2, -1) for values in reading)
        group_of, folds = groups_n[used], fold_n[used]
        other, own, randoms = np.zeros_like(acts), np.zeros_like(acts), np.zeros((RANDOMS, *at.shape))
        for fold in range(FOLDS):
            inside, fit = np.flatnonzero(folds == fold), folds != fold
            fitted = acts[:, :, fit] - acts[:, :, fit].mean(axis=2, keepdims=True)
            means_n = fitted.mean(axis=(0, 1))  # of each name, (names, 2, d)
            directions = _unit(means_n[group_of[fit] == high].mean(axis=0) - means_n[group_of[fit] == low].mean(axis=0))
            gaps, stays = _moves(acts[:, :, inside], group_of[inside], directions)
            other[:, :, inside], own[:, :, inside] = gaps, stays
            for number in range(RANDOMS):
                noise = _within(means_n, group_of[fit], rng)
                to, back = _moves(acts[:, :, inside], group_of[inside], noise)
                randoms[number][:, :, inside] = (gradients[:, :, inside] * (to - back)).sum(axis=(-1, -2))
        sign = np.where(group_of == low, 1.0, -1.0)
        moved = [swap(model, recipients, layer, shifts.reshape(at.size, 2, -1)).reshape(at.shape) for shifts in (other, own)]
        tau = sign * (moved[0] - moved[1])
        first = sign * (gradients * (other - own)).sum(axis=(-1, -2))
        measured = _measured(tau, folds, groups_n, low, high, used)
        # Random directions are taken to first order, scaled up where the swap itself does more than its own first order says.
        linear = abs(float(first.mean()))
        scale = max(1.0, abs(measured.value) / linear) if linear > 0 else 1.0
        random_high = float(np.quantile(np.abs((sign * randoms).mean(axis=(1, 2, 3))), 0.95)) * scale
        results.append(SwapResult(low, high, layer, measured, float(first.mean()), random_high, int(at.size)))
    return results


def _folds(groups_n: Ints, low: int, high: int, rng: np.random.Generator) -> Ints | None:
    """Fold of each name, both groups spread evenly; -1 for other groups."""
    folds = np.full(len(groups_n), -1)
    for group in (low, high):
        inside = rng.permutation(np.flatnonzero(groups_n == group))
        if len(inside) < FOLDS * FEWEST_IN_FOLD:
            return None
        folds[inside] = np.arange(len(inside)) % FOLDS
    return folds


def _within(means_n2d: Floats, groups_n: Ints, rng: np.random.Generator) -> Floats:
    """A random mixture of how names differ from the mean of their group."""
    centred = means_n2d.copy()
    for group in np.unique(groups_n):
        centred[groups_n == group] -= centred[groups_n == group].mean(axis=0)
    return _unit(np.tensordot(rng.normal(size=len(centred)), centred, axes=1))


def _unit(vectors_2d: Floats) -> Floats:
    length = np.linalg.norm(vectors_2d, axis=-1, keepdims=True)
    return np.asarray(np.divide(vectors_2d, length, out=np.zeros_like(vectors_2d), where=length > 0))


def _moves(acts: Floats, groups_n: Ints, directions_2d: Floats) -> tuple[Floats, Floats]:
    """Shifts ``(t, c, n, 2, d)`` to the mean coordinate of the other group's names, and of the own group's other names."""
    coordinates = (acts * directions_2d).sum(axis=-1)  # (t, c, n, 2)
    other, own = np.empty_like(coordinates), np.empty_like(coordinates)
    for group in np.unique(groups_n):
        inside, outside = np.flatnonzero(groups_n == group), np.flatnonzero(groups_n != group)
        other[:, :, inside] = coordinates[:, :, outside].mean(axis=2, keepdims=True)
        total = coordinates[:, :, inside].sum(axis=2, keepdims=True)
        own[:, :, inside] = (total - coordinates[:, :, inside]) / (len(inside) - 1)
    to_other, to_own = ((wanted - coordinates)[..., None] * directions_2d for wanted in (other, own))
    return to_other, to_own


def _measured(tau_tcn: Floats, folds_n: Ints, groups_n: Ints, low: int, high: int, used: Ints) -> Measured:
    """Mean effect with the scatter of names, of templates, and of the folds, each of which had a direction of its own."""
    y_tn = tau_tcn.mean(axis=1)
    value = float(np.mean([y_tn[:, groups_n[used] == group].mean() for group in (low, high)]))
    # Each group's mean is half the effect: the difference between one group and the mirrored other has the same error.
    mirrored = np.where(groups_n[used] == high, y_tn, -y_tn) / 2
    spread = crossed_gap(mirrored, groups_n[used], low, high)
    influence = np.zeros(len(groups_n))
    influence[used] = spread.influence_n
    parts = np.array([y_tn[:, folds_n == fold].mean() for fold in range(FOLDS)])
    extra = spread.extra + float(parts.var(ddof=1)) / FOLDS
    return Measured(np.array([value]), influence, np.arange(len(groups_n)), extra, min(spread.extra_df, float(FOLDS - 1)), spread.row_df)
