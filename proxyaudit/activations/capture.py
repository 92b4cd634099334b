"""Reading activations: all sites and outputs in one forward pass, token sites by their mean; files are read as one memory map."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from proxyaudit.errors import InputError, safe_line
from proxyaudit.files import write_file
from proxyaudit.models.base import TrainedModel, as_tensor, inference, pooled, row_batches
from proxyaudit.models.hooks import tapped
from proxyaudit.models.places import columns_of
from proxyaudit.models.text import placed

BATCH_ROWS = 4096
_ACTS_PREFIX, _OUTPUTS = "acts/", "outputs"


@dataclass(frozen=True)
class Captured:
    """What one model did on one table."""

    acts: dict[str, NDArray[np.float32]]  # pooled activations by site, float32 (n, d), read-only, in the model's order of sites
    outputs: NDArray[
        np.float64
    ]  # probabilities, float64 (n, C): C = 1 (of the second class) for two classes, else one column a class; or a number


def capture(model: TrainedModel, x: NDArray[np.float32], *, batch_size: int = BATCH_ROWS) -> Captured:
    """Read all sites and the outputs. Raises ``InputError``: no rows; NaN or infinite activations or outputs; a user's forward raises."""
    check_table(x)
    acts: dict[str, NDArray[np.float32]] = {}
    outputs = np.empty((len(x), columns_of(model.n_classes, model.task)))
    ran: set[str] = set()
    batch = np.empty(0, dtype=np.int64)

    def keep(site: str, value: Tensor) -> None:
        # Copied at once: the module may go on to write into this memory.
        if site in ran:
            raise InputError(f"site '{site}' ran twice in one forward pass", mend="name a module that runs once")
        ran.add(site)
        rows = pooled(model.module, value)
        if rows.shape[0] != len(batch):
            given = f"{rows.shape[0]} rows for {len(batch)}"
            raise InputError(f"site '{site}' gave {given}", mend="the first dimension of a site must be the batch")
        if site not in acts:
            acts[site] = np.empty((len(x), rows.shape[1]), dtype=np.float32)
        read = rows.to("cpu", torch.float32)
        # A sum is finite only if all its terms are; large ones may overflow it, so only then each is looked at.
        if not bool(torch.isfinite(read.sum())) and not bool(torch.isfinite(read).all()):
            mend = "the training diverged, or the table's values are too large"
            raise InputError(f"activations at site '{site}' are NaN or infinite", mend=mend)
        acts[site][batch] = read.numpy()

    with placed(model.module), inference(model.module), tapped(model, keep, model.sites):
        for batch in row_batches(model.module, x, batch_size):
            ran.clear()
            outputs[batch] = run_probabilities(model, model.module, as_tensor(x[batch]))
            for site in model.sites:
                if site not in ran:
                    raise InputError(f"site '{site}' did not run", mend="name a module that runs in every forward pass")
    for array in acts.values():
        array.flags.writeable = False
    outputs.flags.writeable = False
    return Captured({site: acts[site] for site in model.sites}, outputs)


def run_probabilities(model: TrainedModel, run: Callable[[Tensor], Any], value: Tensor) -> NDArray[np.float64]:
    """Probabilities of what ``run``, a model or its last part, makes of ``value``. Raises ``InputError``: it raises, or they are NaN."""
    try:
        raw = run(value)
    except (InputError, ValueError):
        raise
    except Exception as error:
        # A module may put rows into its messages.
        raise InputError(f"the model's forward raised {safe_line(error)[:240]}", mend="mend the module's forward") from error
    probs = model.outputs(model.logits(raw, len(value)))
    if not np.isfinite(probs).all():
        raise InputError("the model's outputs are NaN", mend="the training diverged, or the table's values are too large")
    return probs


def check_table(x: NDArray[Any]) -> None:
    """Refuse a table without rows (``InputError``), and what has no two dimensions (``ValueError``)."""
    if np.ndim(x) != 2:
        raise ValueError(f"a table is (n, p), not {np.shape(x)}")
    if not len(x):
        raise InputError("there are no rows to run the model on", mend="check the audit rows")


def write_activations(captured: Captured, path: Path) -> None:
    """Write a capture as safetensors: ``acts/<site>`` float32 and ``outputs`` float64; whole or not at all."""
    tensors: dict[str, NDArray[Any]] = {_ACTS_PREFIX + site: np.ascontiguousarray(value) for site, value in captured.acts.items()}
    tensors[_OUTPUTS] = np.ascontiguousarray(captured.outputs)
    write_file(path, save(tensors, metadata={"sites": json.dumps(list(captured.acts))}))


def read_activations(path: Path) -> Captured:
    """Read-only views of one memory map of a capture's file. Raises ``InputError``: it is missing, is cut off, or is not such a file."""
    try:
        with safe_open(path, framework="pt") as file:  # torch's tensors, other than numpy's arrays, are views of one memory map
            arrays = {name: file.get_tensor(name).numpy() for name in file.keys()}  # noqa: SIM118
            sites = json.loads(file.metadata()["sites"])
        acts = {site: arrays.pop(_ACTS_PREFIX + site) for site in sites}
        outputs = arrays.pop(_OUTPUTS)
        fit = all(a.dtype == np.float32 and a.ndim == 2 and len(a) == len(outputs) for a in acts.values())
        if arrays or not fit or outputs.dtype != np.float64:
            raise ValueError("its tensors do not fit together")
    except FileNotFoundError:
        raise InputError("no such activations file", where=str(path), mend="run the audit again") from None
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        line = " ".join(str(error).split())[:120]
        raise InputError(f"not a readable activations file ({line})", where=str(path), mend="delete it and run the audit again") from None
    for array in (*acts.values(), outputs):
        array.flags.writeable = False
    return Captured(acts, outputs)
