"""The tokenizer of a data set of texts, whether it knows their words, and what is not asked of texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from proxyaudit.data.dataset import Dataset
from proxyaudit.data.text import TextEncoder
from proxyaudit.errors import InputError
from proxyaudit.models.huggingface import Tokenizer, make_tokenizer
from proxyaudit.models.kinds.huggingface import HuggingFaceSpec
from proxyaudit.models.text import SPAN_STEPS
from proxyaudit.recipe.recipe import Recipe
from proxyaudit.types import NotTested

_MOST_UNKNOWN = 0.9  # of the tokens of all texts that are not special ones
_MOST_UNREAD = 0.5  # of the texts, in which no token at all is an ordinary one
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


def check_readable(tokenizer: Tokenizer, texts: Sequence[object], *, where: str) -> None:
    """Refuse texts of which a tokenizer knows next to nothing, as of texts in capitals where it knows small letters only.

    A model that reads nothing but unknown words would be cleared for what it never saw. Missing and blank texts do not count.

    Raises:
        InputError: over nine tenths of the tokens are unknown, or over half of the texts have no ordinary token.
    """
    lines = [text for text in texts if isinstance(text, str) and text.strip()]
    rows = [[int(token) for token in row] for row in tokenizer(lines)]  # fractions mark spans
    used = sorted({token for row in rows for token in row})
    # Neither special nor a mere blank, which some tokenizers put before every word, known or not.
    ordinary = {token for token, name in zip(used, tokenizer.names(used), strict=True) if name}
    known = sum(token in ordinary for row in rows for token in row)
    unknown = sum(token == tokenizer.unknown for row in rows for token in row)
    unread = sum(ordinary.isdisjoint(row) for row in rows)
    if unknown > _MOST_UNKNOWN * (known + unknown) or unread > _MOST_UNREAD * len(lines):
        mend = "check that tokenizer and model belong together, and that it knows the language and the capitals of these texts"
        raise InputError("the model's tokenizer knows next to no word of the texts", where=where, mend=mend)
