"""Log-probabilities of given continuations: what a model would say next, without making it say anything."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from proxyaudit.arrays import Floats
from proxyaudit.language.causal_model import CausalModel
from proxyaudit.language.sampling import equal_lengths

__all__ = ["continuation_scores"]


@torch.no_grad()
def continuation_scores(model: CausalModel, prompts: Sequence[Sequence[int]], options: Sequence[Sequence[Sequence[int]]]) -> list[Floats]:
    """Log-probability of every option after its prompt, summed over the option's tokens.

    Args:
        model: The model.
        prompts: Tokens of each prompt.
        options: For each prompt its options, each a list of at least one token.

    Returns:
        For each prompt the ``(k,)`` log-probabilities of its options, in nats.
    """
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
