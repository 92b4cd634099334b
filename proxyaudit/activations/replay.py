"""Outputs with sites shifted or set; at (n, tokens, d) a shift goes to every token, which moves their mean by exactly the shift."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from proxyaudit.activations.capture import BATCH_ROWS, check_table, run_probabilities
from proxyaudit.errors import InputError
from proxyaudit.models.base import TabularModule, TrainedModel, as_tensor, batch_rows, inference, pooled
from proxyaudit.models.erasing import without_map
from proxyaudit.models.hooks import tail_of, tapped
from proxyaudit.models.places import columns_of

_REPLAY_ROWS = 16384
_TOKEN_CACHE_FLOATS = 2**27  # tokens of a three-dimensional site that a replayer keeps: 512 MiB at most

Replay = Callable[[NDArray[Any], NDArray[np.int64]], NDArray[np.float64]]


def replayer(model: TrainedModel, x: NDArray[np.float32], site: str, known: NDArray[np.float32] | None = None) -> Replay:
    """Return a function that gives the outputs when one site's activation of chosen rows is shifted.

    ``replay(shift, rows)`` takes shifts (m, d) and row numbers (m,) into ``x`` and returns probabilities (m, C). Where the rest of the
    model runs from the site's value alone (the package's own architectures; a user's head at the penultimate site), only that is run;
    otherwise every call is a whole forward pass, and both agree to 1e-6. ``known`` are the site's own captured activations, which spare
    reading. Raises ``InputError``: unknown site, or what ``capture`` raises.
    """
    run, cached = _shifted(model, x, (site,), known)
    # A token sequence costs attention as the whole model does; a vector costs one small product.
    asked = BATCH_ROWS if cached is None else _REPLAY_ROWS
    size = asked if cached is not None and cached.ndim == 2 else batch_rows(model.module, asked)

    def replay(shift: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        if np.ndim(shift) != 2 or np.shape(rows) != (len(shift),):
            raise ValueError(f"shift {np.shape(shift)} and rows {np.shape(rows)} do not belong together")
        if len(rows) and (np.min(rows) < 0 or np.max(rows) >= len(x)):
            raise ValueError(f"row numbers must lie in 0..{len(x) - 1}")
        index = torch.from_numpy(np.array(rows, dtype=np.int64))
        out = np.empty((len(index), columns_of(model.n_classes, model.task)))
        with inference(model.module):
            for start in range(0, len(index), size):
                part = slice(start, start + size)
                out[part] = run_probabilities(model, partial(run, rows=index[part]), as_tensor(shift[part]))
        return out

    return replay


def differentiable(
    model: TrainedModel, x: NDArray[np.float32], sites: Sequence[str], known: NDArray[np.float32] | None = None
) -> Callable[[Tensor, Tensor], Tensor]:
    """What :func:`replayer` returns, as logits (m, C) that can be differentiated by the shift; raises the same.

    ``run(shift, rows)`` takes tensors (m, d), (m,); shifts of several sites stand side by side. Weights get no gradient unless asked.
    """
    run, _ = _shifted(model, x, tuple(sites), known)

    def logits(shift: Tensor, rows: Tensor) -> Tensor:
        with inference(model.module), torch.enable_grad():
            return model.logits(run(shift, rows), len(rows))

    return logits


def _shifted(
    model: TrainedModel, x: NDArray[np.float32], sites: tuple[str, ...], known: NDArray[np.float32] | None
) -> tuple[Callable[..., Any], Tensor | None]:
    """The raw output of rows after shifts, and the site's values where only what follows them is run."""
    check_table(x)
    check_sites(model, sites)
    tail = tail_of(model, sites[0], model.taps[sites[0]]) if len(sites) == 1 else None
    cached = _site_values(model, x, sites[0], known) if tail is not None else None

    def run(shift: Tensor, rows: Tensor) -> Any:
        if tail is not None and cached is not None:
            # The value went through the site's own map (if it has one) when it was read: mapped again, the shift would be erased.
            with without_map(model.module, sites[0]):
                return tail(shifted(cached[rows], shift, sites[0]))
        left = [shift]

        def add(name: str, value: Tensor) -> Tensor:
            own = shift if len(sites) == 1 else left[0][:, : value.shape[-1]]
            left[0] = left[0][:, value.shape[-1] :]
            return shifted(value, own, name)

        with tapped(model, add, sites):
            return model.module(as_tensor(x[rows.numpy()]))

    return run, cached


def outputs_with(
    model: TrainedModel, x: NDArray[np.float32], wanted: Mapping[str, tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]
) -> NDArray[np.float64]:
    """Outputs with coordinates of several sites set to wanted values in one forward pass, whatever an earlier site brings about.

    ``wanted``: by site, maps that read coordinates ``(d, r)``, write changes of them ``(r, d)``, values ``(n, r)``. Raises as ``capture``.
    """
    check_table(x)
    check_sites(model, wanted)
    reads, writes, values = ({site: as_tensor(maps[k], torch.float64) for site, maps in wanted.items()} for k in range(3))
    results = []
    batch = slice(0, 0)

    def put(site: str, value: Tensor) -> Tensor:
        now = pooled(model.module, value).to(torch.float64)
        return shifted(value, (values[site][batch] - now @ reads[site]) @ writes[site], site)

    size = batch_rows(model.module, BATCH_ROWS)
    with inference(model.module), tapped(model, put, tuple(wanted)):
        for start in range(0, len(x), size):
            batch = slice(start, min(start + size, len(x)))
            results.append(run_probabilities(model, model.module, as_tensor(x[batch])))
    return np.concatenate(results)


def _site_values(model: TrainedModel, x: NDArray[np.float32], site: str, known: NDArray[np.float32] | None) -> Tensor | None:
    """Read a site's values unpooled; None where they are too many to keep."""
    if known is not None and isinstance(model.module, TabularModule) and model.module.is_vector(site):
        return as_tensor(known)
    kept: list[Tensor] = []
    size = batch_rows(model.module, BATCH_ROWS)
    with inference(model.module), tapped(model, lambda _, value: kept.append(value.clone()), (site,)):
        for start in range(0, len(x), size):
            run_probabilities(model, model.module, as_tensor(x[start : start + size]))
            if kept[0].ndim == 3 and kept[0][0].numel() * len(x) > _TOKEN_CACHE_FLOATS:
                return None
    return torch.cat(kept)


def shifted(value: Tensor, shift: Tensor, site: str) -> Tensor:
    """A site's value with a shift ``(m, d)`` added, to every token where there are tokens."""
    if value.shape[0] != shift.shape[0] or value.shape[-1] != shift.shape[-1]:
        raise ValueError(f"shift at '{site}' has shape {tuple(shift.shape)} for values of shape {tuple(value.shape)}")
    shift = shift.to(value.dtype)
    return value + (shift[:, None, :] if value.ndim == 3 else shift)


def check_sites(model: TrainedModel, names: Mapping[str, Any] | tuple[str, ...]) -> None:
    """Refuse names that are no sites of the model."""
    for name in names:
        if name not in model.taps:
            raise InputError(f"unknown site '{name}'", mend=f"sites of this model: {', '.join(model.sites)}")
