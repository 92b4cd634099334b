"""One real forward pass of a model of texts before any work: short and full texts, alone and in a batch, all sites and the outputs."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from proxyaudit.activations.capture import capture
from proxyaudit.arrays import Singles
from proxyaudit.data.dataset import Dataset
from proxyaudit.data.text import TextEncoder
from proxyaudit.errors import InputError
from proxyaudit.fence import limited_time
from proxyaudit.models.base import TrainedModel, as_tensor, inference
from proxyaudit.models.checkpoints import load_weights
from proxyaudit.models.huggingface import make_tokenizer
from proxyaudit.models.kinds.huggingface import HuggingFaceSpec
from proxyaudit.models.own_classifier import own_notes
from proxyaudit.models.text import placed
from proxyaudit.recipe.models import KindSpec
from proxyaudit.regimes import Regime
from proxyaudit.types import NotTested

CLOSE = 1e-4  # of logits, and of a site's values as a share of the largest of them (of numbers above one)
_COARSE = 0.05  # the same where the transformer runs in bfloat16


def check_first_pass(model: TrainedModel, x: Singles, *, where: str) -> None:
    """Refuse a model of texts that cannot be run, or whose value of a text depends on the texts beside it.

    Args:
        model: A model of texts.
        x: Token table of texts ``(n, width)``, -1 after the last token; their tokens fill the rows that are tried.
        where: What messages name.

    Raises:
        InputError: a pass fails, or a text's values alone and in a batch differ.
    """
    table = tried_rows(x)
    asked = replace(model, sites=tuple(dict.fromkeys((*model.sites, *model.verdict_sites))))
    length = table.shape[1]
    try:
        # The full length first: what is too long for the model fails there by itself.
        capture(asked, table[:1])
        whole, logits = capture(asked, table), _logits(model, table)
        alone = [(capture(asked, table[[row]]), _logits(model, table[[row]])) for row in range(len(table))]
    except InputError as error:
        mend = f"lower model.max_length, or use another model; texts of {length} tokens were tried, and shorter ones beside them"
        raise InputError(f"a forward pass of the model failed: {error.what}", where=where, mend=mend) from None
    close = CLOSE if all(value.dtype != torch.bfloat16 for value in model.module.parameters()) else _COARSE
    for site, values in whole.acts.items():
        apart = max(float(np.abs(one.acts[site][0] - values[row]).max()) for row, (one, _) in enumerate(alone))
        _refuse_apart(apart / max(1.0, float(np.abs(values).max())), close, f"at site '{site}'", where)
    apart = max(float((own[0] - logits[row]).abs().max()) for row, (_, own) in enumerate(alone))
    _refuse_apart(apart / (1.0 if close == CLOSE else max(1.0, float(logits.abs().max()))), close, "in the outputs", where)


def tried_rows(x: Singles) -> Singles:
    """Rows that are tried ``(m, width)``: full, half, two tokens and one of the texts' tokens, then the shortest and the longest text."""
    lengths, width = (x >= 0).sum(axis=1), x.shape[1]
    tokens = np.resize(np.floor(x[x >= 0])[: 4 * width], width).astype(np.float32)
    rows = [np.where(np.arange(width) < length, tokens, np.float32(-1)) for length in (width, max(width // 2, 1), 2, 1)]
    return np.stack([*rows, x[int(lengths.argmin())], x[int(lengths.argmax())]]).astype(np.float32)


def _logits(model: TrainedModel, x: Singles) -> torch.Tensor:
    with placed(model.module), inference(model.module):
        return model.logits(model.module(as_tensor(x)), len(x))


def _refuse_apart(apart: float, close: float, place: str, where: str) -> None:
    if apart > close:
        what = f"the model's values of a text depend on the texts beside it (they move by {apart:.2g} {place})"
        mend = "use a model that keeps padding out (attention with a mask)"
        raise InputError(what, where=where, mend=mend)


def check_models(
    spec: KindSpec, dataset: Dataset, base: Path, model: TrainedModel, regimes: Sequence[Regime], make: Callable[[Regime], TrainedModel]
) -> list[NotTested]:
    """Run every model of texts once and load every checkpoint before any work, and say what is taken as given of models that are.

    Args:
        spec: The recipe's model.
        dataset: Of texts, read by that model's tokenizer.
        base: Folder that paths are relative to.
        model: The model, before it is trained.
        regimes: All of them, some with a folder, sites to erase or checkpoints of their own.
        make: The model of a regime, before it is trained.

    Raises:
        InputError: a pass fails; a folder's tokens or places are others than those of the recipe's model; a checkpoint does not fit.
    """
    notes = _check_texts(spec, dataset, base, model, regimes, make)
    for regime in regimes:
        holder = make(regime) if regime.erase else model
        for path in regime.checkpoints:
            load_weights(holder, path, what=f"checkpoint of regime '{regime.name}'")
    return notes


def _check_texts(
    spec: KindSpec, dataset: Dataset, base: Path, model: TrainedModel, regimes: Sequence[Regime], make: Callable[[Regime], TrainedModel]
) -> list[NotTested]:
    if not (isinstance(spec, HuggingFaceSpec) and isinstance(dataset.encoder, TextEncoder)):
        return []
    x, notes = dataset.encoder.transform(dataset.audit), own_notes(model, spec, dataset.read)
    with limited_time(spec.outside):
        check_first_pass(model, x, where=f"model '{spec.path}'")
    mend = "audit it in a recipe of its own, then 'proxyaudit compare' the two runs"
    for regime in regimes:
        if regime.folder is None or regime.quantise:
            continue
        found, own, where = make(regime), spec.at(regime.folder), f"regime '{regime.name}'"
        tokens = replace(dataset.encoder, tokenize=make_tokenizer(own, base)).transform(dataset.audit)
        if not np.array_equal(tokens, x):
            raise InputError("its tokenizer splits the texts otherwise than that of model.path", where=where, mend=mend)
        if found.sites != model.sites:
            what = f"it is read at {len(found.sites)} places and the model of model.path at {len(model.sites)}"
            raise InputError(what, where=where, mend=f"read both after the pooling alone (sites: {{profile: penultimate}}), or {mend}")
        with limited_time(own.outside):
            check_first_pass(found, x, where=where)
        notes += [note for note in own_notes(found, own, dataset.read) if note not in notes]
    return notes
