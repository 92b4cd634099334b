"""What is measured of one language model on a prompt set: scores, ranks, refusals, and swaps inside the model."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np

from proxyaudit.arrays import Floats
from proxyaudit.audits.prompts.swaps import SwapRecord, SwapResult, measure_swaps, write_swaps
from proxyaudit.estimates.record import Measurement
from proxyaudit.language.causal_model import CausalModel, continuation_scores, continue_greedily
from proxyaudit.language.prompt_sets import Prompt, PromptSet, Template
from proxyaudit.language.swapping import Placed, place
from proxyaudit.seeding import stream

SWAP_PROMPTS = 240  # of more, only the first contexts are used
# Ways in which assistants decline, at the start of an answer.
_REFUSALS = re.compile(
    r"\b(?:i(?:'m| am) (?:very |so |really )?(?:sorry|unable|not able|afraid)|i (?:can(?:'t|not| not)|won't|will not|must decline)"
    r"|(?:as|being) an ai|i do(?:n't| not) (?:feel comfortable|have the ability)|(?:un)?fortunately,? i (?:can|am|cannot)"
    r"|my apologies|i apologi[sz]e|not (?:appropriate|possible) for me)",
    re.IGNORECASE,
)


def is_refusal(answer: str) -> bool:
    """Whether an answer declines, by a short list of patterns in its beginning."""
    return _REFUSALS.search(answer.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")[:200]) is not None


def swap_layers(depth: int) -> tuple[int, ...]:
    """Layers at one third and two thirds of the depth, counted from 0."""
    return tuple(sorted({max(0, round(depth / 3) - 1), max(0, round(2 * depth / 3) - 1)}))


def measure_model(
    model: CausalModel, prompts: PromptSet, seed: int, tokens: int, layers: Sequence[int] | None, told: Callable[[str], None]
) -> Measurement:
    """Measure one model: ``"<measure>/<template>"`` outcomes ``(contexts, names)`` in [0, 1], swaps; ``told`` after every template."""
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
    write_swaps(out, _measure_swaps(model, prompts, seed, swap_layers(len(model.blocks)) if layers is None else layers))
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


def _measure_swaps(model: CausalModel, prompts: PromptSet, seed: int, layers: Sequence[int]) -> SwapRecord:
    """Swaps in the prompts that can be followed by one token, and the templates that cannot."""
    contexts = max(1, min(len(prompts.contexts), SWAP_PROMPTS // max(1, len(prompts.templates) * len(prompts.names))))
    placed: list[Placed] = []
    left_out: list[str] = []
    for template in prompts.templates:
        yes, no = _followed(model, template)
        own = [place(model, prompt, yes, no) for prompt in prompts.prompts(template, contexts)]
        known = [one for one in own if one is not None]
        if set(yes) & set(no) or len(known) != len(own):
            left_out.append(template.id)
        else:
            placed += known
    results: list[SwapResult] = []
    if placed:
        groups_n, shape = np.array(prompts.group_numbers), (len(prompts.templates) - len(left_out), contexts, len(prompts.names))
        for low, high in combinations(range(len(prompts.groups)), 2):
            results += measure_swaps(model, placed, shape, groups_n, low, high, layers, stream(seed, "swaps", low, high))
    return SwapRecord(tuple(results), tuple(left_out))


def _followed(model: CausalModel, template: Template) -> list[tuple[int, ...]]:
    """First tokens of both sides."""
    sides = (template.positive, template.negative) if template.positive else (template.options[:1], template.options[1:])
    return [tuple(sorted({model.continuation(text)[0] for text in side})) for side in sides]
