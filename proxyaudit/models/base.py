"""What every model of an audit is: a torch module in eval mode, its outputs as probabilities, its named sites."""

import copy
import random
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from proxyaudit.errors import InputError
from proxyaudit.models.places import Tap, columns_of
from proxyaudit.models.sae import SparseAutoencoder
from proxyaudit.types import Task


@dataclass(frozen=True)
class TrainedModel:
    """A torch module with the places where an audit looks into it; immutable: training and loading return new objects."""

    module: nn.Module  # on the CPU and in eval mode
    n_classes: int  # number of target classes K; outputs have one column for K = 2 and K columns otherwise; 1 for a number
    sites: tuple[str, ...]  # profiled hidden sites in forward order; contains ``verdict_sites``
    verdict_sites: tuple[str, ...]  # the sites that decide the verdict
    taps: dict[str, Tap]  # where each site is read, by site name
    details: dict[str, Any] = field(default_factory=dict)  # how the weights came to be (origin, epochs run, ...), JSON-able
    aliases: dict[str, str] = field(default_factory=dict)  # other names of sites
    unprofiled: tuple[str, ...] = ()  # blocks that no site looks at
    unread: str = ""  # in words, what inside the blocks could be read and is not
    saes: tuple[SparseAutoencoder, ...] = ()  # sparse autoencoders that read some of its places
    task: Task = "classes"  # what it predicts
    scale: tuple[float, float] | None = None  # mean and standard deviation of a number that it predicts
    in_units: bool = False  # whether its module predicts the number in the number's own units

    def logits(self, raw: Any, n_rows: int, *, what: str = "the model") -> Tensor:
        """What its module returned as logits of shape ``(n, C)``, or as numbers in standard deviations; raises as :func:`to_logits`."""
        found = to_logits(raw, self.n_classes, n_rows, what=what, task=self.task)
        return (found - self.scale[0]) / self.scale[1] if self.in_units and self.scale is not None else found

    def outputs(self, logits: Tensor) -> NDArray[np.float64]:
        """Logits as what the audit reads, of the same shape: probabilities, or numbers as they are."""
        return probabilities(logits, self.task)


class TabularModule(nn.Module):
    """Base of the package's own architectures: they can run their last part alone."""

    batch_limit: int | None = None

    @property
    def no_block(self) -> str:
        """Why no part of it can be trained again; empty where one can."""
        return ""

    def tail(self, site: str, value: Tensor) -> Tensor:
        """Return the raw output from the value at ``site``: the forward pass without what lies before the site."""
        raise NotImplementedError

    def site_taps(self) -> dict[str, Tap]:
        """Return where each site is read, in forward order."""
        raise NotImplementedError

    def fine_taps(self) -> dict[str, Tap]:
        """Return all sites that can be asked for by name, those of ``site_taps`` among them."""
        return self.site_taps()

    def site_aliases(self) -> dict[str, str]:
        """Return other names of sites."""
        return {}

    def unread(self, sites: Collection[str]) -> str:
        """Return in words which kinds of places of ``fine_taps`` inside the blocks are not among ``sites``; empty where all are."""
        return ""

    def undecayed(self) -> set[str]:
        """Return names of the parameters that are trained without weight decay."""
        return set()

    def branch_taps(self) -> dict[str, Tap]:
        """Return where what each residual branch adds can be read, in forward order; none where values are never added."""
        return {}

    def read_own(self, path: Path, *, what: str, scale: tuple[float, float] | None = None) -> bool:
        """Fill it in place from a file in a format of its kind; ``False`` where it is none (``InputError``: it cannot be used).

        What predicts a number is brought to its ``scale``, from units to standard deviations from the mean.
        """
        return False

    def last_block(self) -> tuple[Tap | None, nn.Module]:
        """Return where the last block's input is read (``None`` for the table itself) and the block as a module of its own."""
        raise NotImplementedError

    def pool(self, value: Tensor) -> Tensor:
        """Pool a token site ``(n, tokens, d)`` of the pass that is running."""
        return _mean_of_tokens(value)

    def is_vector(self, site: str) -> bool:
        """Whether it is known that a site is one vector a row, so that captured activations are the site's own values."""
        return False

    @property
    def fixed(self) -> frozenset[str]:
        """Names of state that no training changes."""
        return frozenset()

    @property
    def optional(self) -> frozenset[str]:
        """Names of state that a checkpoint may lack; it then stays as it is built."""
        return frozenset()

    def batches(self, x: NDArray[np.float32], size: int) -> Iterator[NDArray[np.int64]]:
        """Row numbers of each batch of a capture."""
        yield from _in_order(len(x), size)


def pooled(module: nn.Module, value: Tensor) -> Tensor:
    """A site's value as one vector a row: token sites are pooled as their model says, or by their mean."""
    if value.ndim != 3:
        return value
    return module.pool(value) if isinstance(module, TabularModule) else _mean_of_tokens(value)


def _mean_of_tokens(value: Tensor) -> Tensor:
    return value.mean(dim=1, dtype=torch.float64 if value.dtype == torch.float64 else torch.float32)


def row_batches(module: nn.Module, x: NDArray[np.float32], asked: int) -> Iterator[NDArray[np.int64]]:
    """Row numbers of each batch of a capture, in a fixed order."""
    size = batch_rows(module, asked)
    yield from module.batches(x, size) if isinstance(module, TabularModule) else _in_order(len(x), size)


def _in_order(n: int, size: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, n, size):
        yield np.arange(start, min(start + size, n))


def to_logits(raw: Any, n_classes: int, n_rows: int, *, what: str = "the model", task: Task = "classes") -> Tensor:
    """Bring what a module returned into logits of shape (n, 1) for two classes or a number, or (n, K) for more.

    Of two classes the logits may be ``(n,)``, ``(n, 1)`` or ``(n, 2)``: the two-column softmax keeps its second column, which equals the
    sigmoid of the difference of the columns. Raises ``InputError``: anything else came back; ``what`` is what it calls the model.
    """
    two, alone = n_classes == 2 and task == "classes", columns_of(n_classes, task) == 1
    wanted = f"({n_rows},), ({n_rows}, 1)" if alone else f"({n_rows}, {n_classes})"
    wanted = wanted.replace(", (", " or (") if task == "number" else f"{wanted} or ({n_rows}, 2)" if two else wanted
    mend = f"forward must return one float tensor of {'predictions' if task == 'number' else 'logits'} of shape {wanted}"
    if not isinstance(raw, Tensor):
        raise InputError(f"{what} returned a {type(raw).__name__}, not a tensor", mend=mend)
    shape = tuple(raw.shape)
    if raw.is_complex() or raw.dtype == torch.bool:
        raise InputError(f"{what} returned {str(raw.dtype).removeprefix('torch.')} values", mend=mend)
    values: Tensor = raw if raw.is_floating_point() else raw.to(torch.float32)
    if alone and shape == (n_rows,):
        return values[:, None]
    if two and shape == (n_rows, 2):
        return values[:, 1:] - values[:, :1]
    if shape == (n_rows, columns_of(n_classes, task)):
        return values
    asked = {"classes": f"{n_classes} classes", "number": "a number", "labels": f"{n_classes} labels"}[task]
    raise InputError(f"{what} returned shape {shape} for {n_rows} rows and {asked}", mend=mend)


def log_odds(logits: Tensor, output: int, task: Task = "classes") -> Tensor:
    """Log-odds ``(n,)`` of one output against all others; of a number itself."""
    if logits.shape[1] == 1 or task == "labels":
        return logits[:, output]
    others = torch.cat([logits[:, :output], logits[:, output + 1 :]], dim=1)
    return logits[:, output] - torch.logsumexp(others, dim=1)


def predictions(logits: Tensor, task: Task = "classes") -> Tensor:
    """Probabilities of classes or labels, or a number as it is, of the same shape; can be differentiated."""
    if task == "number":
        return logits
    return torch.sigmoid(logits) if logits.shape[1] == 1 or task == "labels" else torch.softmax(logits, dim=1)


def probabilities(logits: Tensor, task: Task = "classes") -> NDArray[np.float64]:
    """Turn logits (n, 1) or (n, K) into float64 probabilities of the same shape; a number stays as it is."""
    return np.asarray(predictions(logits.detach().to(torch.float64), task).numpy(), dtype=np.float64)


def as_tensor(array: NDArray[Any], dtype: torch.dtype = torch.float32) -> Tensor:
    """Copy an array into a tensor (a copy also for read-only memory maps, which torch will not share)."""
    return torch.tensor(np.asarray(array), dtype=dtype)


class NoGradientError(Exception):
    """A model's output cannot be differentiated with respect to its inner values."""


def gradients(value: Tensor, inputs: list[Tensor], *, of_site: bool) -> tuple[Tensor, ...]:
    """Gradients by the values of one site, or of any places: zero at one that nothing reads. Raises ``NoGradientError``: there are none."""
    if not value.requires_grad:
        raise NoGradientError(f"the model's output has no gradient with respect to {'this site' if of_site else 'its inner values'}")
    try:
        found = torch.autograd.grad(value, inputs, allow_unused=not of_site)
    except RuntimeError as error:
        line = " ".join(str(error).split())[:120]
        raise NoGradientError(f"the model cannot be differentiated{' at this site' if of_site else ''} ({line})") from error
    return tuple(torch.zeros_like(i) if g is None else g for g, i in zip(found, inputs, strict=True))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run code that draws from the global generators (initialisers, dropout, a user's factory) under ``seed``; leave them as found."""
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        try:
            torch.default_generator.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)  # noqa: NPY002


@contextmanager
def deterministic() -> Iterator[None]:
    """Use only deterministic algorithms, then restore the setting."""
    before = torch.get_deterministic_debug_mode()
    _set_determinism(2)
    try:
        yield
    finally:
        _set_determinism(before)


def _set_determinism(mode: int) -> None:
    """Set the flag of torch's kernels, and the compiler's own where a model uses that: else it would be imported, which takes seconds."""
    if "torch._dynamo" in sys.modules:
        torch.use_deterministic_algorithms(mode > 0, warn_only=mode == 1)
    else:
        torch.set_deterministic_debug_mode(mode)


@contextmanager
def inference(module: nn.Module) -> Iterator[None]:
    """Eval mode, no gradients, no fused attention (which skips submodules without hooks, and gives other last digits)."""
    fused = torch.backends.mha.get_fastpath_enabled()
    if any(part.training for part in module.modules()):
        module.eval()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def copy_module(module: nn.Module) -> nn.Module:
    """Copy a module with its weights. Raises ``InputError``: a user's module holds something that cannot be copied."""
    try:
        return copy.deepcopy(module)
    except Exception as error:
        line = " ".join(str(error).split())[:200]
        what = f"the module cannot be copied ({type(error).__name__}: {line})"
        raise InputError(what, mend="keep no results of forward on self") from error


def batch_rows(module: nn.Module, asked: int) -> int:
    """Return the rows per batch: what was asked, or less where attention would need too much memory."""
    if asked < 1:
        raise ValueError("batch_size must be positive")
    limit = module.batch_limit if isinstance(module, TabularModule) else None
    return asked if limit is None else max(1, min(asked, limit))
