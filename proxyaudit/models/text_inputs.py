"""The tokenizer of a data set of texts, and what is not asked of texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from proxyaudit.data.dataset import Dataset
from proxyaudit.data.text import TextEncoder
from proxyaudit.models.huggingface import make_tokenizer
from proxyaudit.models.kinds.huggingface import HuggingFaceSpec
from proxyaudit.models.readable_texts import check_readable
from proxyaudit.models.text import SPAN_STEPS
from proxyaudit.recipe.recipe import Recipe
from proxyaudit.types import NotTested


def attach_tokenizer(recipe: Recipe, base: Path, dataset: Dataset) -> Dataset:
    """Give a data set of texts its model's tokenizer, and say what this version does not ask of texts."""
    if not isinstance(dataset.encoder, TextEncoder) or not isinstance(recipe.model, HuggingFaceSpec):
        return dataset
    tokenizer = make_tokenizer(recipe.model, base)
    check_readable(tokenizer, list(dataset.audit[dataset.encoder.column]), where=f"model.path '{recipe.model.path}'")
    encoder = replace(dataset.encoder, tokenize=tokenizer, token_names=tokenizer.names, special=tokenizer.special)
    table = encoder.transform(dataset.audit)
    longest = (table >= 0).sum(axis=1)
    notes = [*dataset.notes, *_NOTES]
    for digit, name in enumerate(recipe.model.spans):
        without = float((((table % 1 * SPAN_STEPS).astype(np.int64) >> digit) % 2 == 0).all(axis=1).mean())
        if name in (recipe.model.pooling, recipe.model.site_pooling) and without > 0:
            why = f"span '{name}' is not found in {without:.0%} of the audit texts, which are pooled over all of their tokens"
            notes.append(NotTested(what=f"span '{name}' in every text", why=why))
    cut = float((longest >= encoder.width).mean())
    if cut > 0:
        why = f"model.max_length cuts them; {cut:.0%} of the audit texts reach it"
        notes.append(NotTested(what=f"what stands after the first {encoder.width} tokens of a text", why=why))
    if recipe.model.trust_remote_code:
        why = "the recipe has it executed (model.trust_remote_code); it could do anything, and its forward pass is taken as it is"
        notes.append(NotTested(what="code that comes with the model", why=why))
    return replace(dataset, encoder=encoder, notes=tuple(notes))


_NOTES = (
    NotTested(
        what="what single tokens carry that their pooled value does not",
        why="sites inside the transformer are read as one vector a text (model.site_pooling), and so are all channels there",
    ),
    NotTested(
        what="the whole of the inputs' leak",
        why="the inputs are read as term and character patterns reduced to some 200 numbers: a lower bound of what the texts carry",
    ),
)
