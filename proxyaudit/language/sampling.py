"""What a causal model writes after a prompt, each row with its own random numbers, and how probable given continuations are.

``generate`` of transformers draws from torch's global generator. Here the uniform numbers of every row and step are given, so
that a row's text depends on the model, the prompt and those numbers alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from proxyaudit.arrays import Floats
from proxyaudit.language.causal_model import CausalModel

__all__ = ["continuation_scores", "continue_greedily", "equal_lengths", "sample_continuations"]

_BATCH_TOKENS = 2048


def sample_continuations(
    model: CausalModel,
    prompt: Sequence[int],
    uniforms_nt: Floats,
    temperature: float = 1.0,
    top_p: float = 1.0,
    stops: frozenset[int] = frozenset(),
) -> list[list[int]]:
    """Continue one prompt many times: ``n`` lists of at most ``t`` tokens, without the one that ended the text.

    Args:
        model: The model.
        prompt: Its tokens; the cache of the prompt is computed once.
        uniforms_nt: ``(n, t)`` numbers in [0, 1): row by row and step by step, where in the distribution the next token is taken.
        temperature: Divides the logits.
        top_p: The smallest set of tokens whose probability reaches this is drawn from (Holtzman et al. 2020).
        stops: Tokens that end a text, beside the model's own.
    """
    n, steps = uniforms_nt.shape

    def choose(logits: Tensor, rows: NDArray[np.int64], step: int) -> Tensor:
        return _draw(logits, torch.as_tensor(uniforms_nt[rows, step]), temperature, top_p)

    return _continue(model, torch.tensor([list(prompt)]), n, steps, choose, model.stops | stops)


def continue_greedily(model: CausalModel, prompts: Sequence[Sequence[int]], tokens: int) -> list[list[int]]:
    """Continue each prompt with its most probable tokens; prompts of one length go through together."""
    found: list[list[int]] = [[] for _ in prompts]
    for rows in equal_lengths([len(prompt) for prompt in prompts], extra=tokens):
        ids = torch.tensor([list(prompts[row]) for row in rows])
        for row, text in zip(
            rows, _continue(model, ids, len(rows), tokens, lambda logits, *_: logits.argmax(dim=-1), model.stops), strict=True
        ):
            found[row] = text
    return found


@torch.no_grad()
def continuation_scores(model: CausalModel, prompts: Sequence[Sequence[int]], options: Sequence[Sequence[Sequence[int]]]) -> list[Floats]:
    """Log-probability, in nats, of every option (at least one token) after its prompt, summed over the option's tokens."""
    # What must be read: the prompt, and of longer options all but the last token. Equal rows are read once.
    readers: dict[tuple[int, ...], list[tuple[int, int]]] = {}
    scores = [np.empty(len(own)) for own in options]
    keep = 1
    for place, (prompt, own) in enumerate(zip(prompts, options, strict=True)):
        for number, option in enumerate(own):
            if not option:
                raise ValueError("an option has no tokens")
            readers.setdefault((*prompt, *option[:-1]), []).append((place, number))
            keep = max(keep, len(option))
    rows = list(readers)
    for batch in equal_lengths([len(row) for row in rows]):
        # The positions that options are read at lie among the last ``keep`` of a row.
        logits, _ = model.forward(torch.tensor([rows[row] for row in batch]), keep=min(keep, len(rows[batch[0]])))
        for row, log in zip(batch, torch.log_softmax(logits.double(), dim=-1), strict=True):
            for place, number in readers[rows[row]]:
                option = options[place][number]
                scores[place][number] = float(sum(log[len(log) - len(option) + at, token] for at, token in enumerate(option)))
    return scores


def equal_lengths(lengths: Sequence[int], *, extra: int = 0) -> list[list[int]]:
    """Row numbers in batches of one length, memory bounded: no padding, so no mask and no positions to get wrong."""
    order = sorted(range(len(lengths)), key=lambda row: (lengths[row], row))
    batches: list[list[int]] = []
    for row in order:
        size = max(1, _BATCH_TOKENS // max(lengths[row] + extra, 1))
        if batches and lengths[batches[-1][0]] == lengths[row] and len(batches[-1]) < size:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


def _draw(logits: Tensor, uniform: Tensor, temperature: float, top_p: float) -> Tensor:
    p, tokens = torch.sort(torch.softmax(logits.double() / temperature, dim=-1), dim=-1, descending=True, stable=True)
    before = p.cumsum(dim=-1) - p
    p = torch.where(before < top_p, p, torch.zeros((), dtype=p.dtype))
    total = p.cumsum(dim=-1)
    place = (total <= uniform[:, None] * total[:, -1:]).sum(dim=-1).clamp_max(p.shape[-1] - 1)
    return tokens.gather(1, place[:, None])[:, 0]


@torch.no_grad()
def _continue(
    model: CausalModel, ids: Tensor, n: int, steps: int, choose: Callable[[Tensor, NDArray[np.int64], int], Tensor], stops: frozenset[int]
) -> list[list[int]]:
    """Grow ``n`` rows; one row of ``ids`` stands for all. Rows that have ended leave the batch."""
    texts: list[list[int]] = [[] for _ in range(n)]
    steps = min(steps, model.longest - ids.shape[1])
    if steps <= 0 or n == 0:
        return texts
    logits, cache = model.forward(ids, use_cache=True, keep=1)
    if len(ids) == 1 and n > 1:
        cache.batch_repeat_interleave(n)
        logits = logits.expand(n, -1, -1)
    rows = np.arange(n)
    for step in range(steps):
        tokens = choose(logits[:, -1], rows, step)
        going = [place for place, token in enumerate(tokens.tolist()) if token not in stops]
        for place in going:
            texts[int(rows[place])].append(int(tokens[place]))
        if not going or step == steps - 1:
            break
        if len(going) < len(rows):
            cache.batch_select_indices(torch.tensor(going))
            tokens, rows = tokens[going], rows[going]
        logits, cache = model.forward(tokens[:, None], cache=cache, use_cache=True, keep=1)
    return texts
