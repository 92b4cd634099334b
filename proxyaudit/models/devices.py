"""Where transformers run: on the graphics processor that torch finds, else on the CPU. Everything else stays on the CPU.

``PROXYAUDIT_DEVICE`` (``auto``, ``cpu``, ``cuda`` or ``cuda:1``) decides otherwise. A model lies on the CPU and is brought to the device
for one pass over a table or one training, so nothing else needs to know of devices. Values of another device differ in the last digits,
which is why the device stands among the versions that a plan's digest is made of.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from proxyaudit.errors import InputError
from proxyaudit.models.text import TextClassifier

__all__ = ["VARIABLE", "accelerator", "device_name", "placed"]

VARIABLE = "PROXYAUDIT_DEVICE"
CPU = torch.device("cpu")


def accelerator() -> torch.device:
    """The device that transformers run on.

    Raises:
        InputError: the variable names no device, or one that torch does not find.
    """
    asked = os.environ.get(VARIABLE, "auto").strip().lower() or "auto"
    if not re.fullmatch(r"auto|cpu|cuda(?::\d+)?", asked):
        raise InputError(f"'{asked[:40]}' is no device", where=VARIABLE, mend="write auto, cpu, cuda or cuda:1")
    if asked == "cpu" or (asked == "auto" and not torch.cuda.is_available()):
        return CPU
    device = torch.device("cuda" if asked == "auto" else asked)
    if not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"torch finds no device '{asked}'", where=VARIABLE, mend="install torch for CUDA, name another, or write auto")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it no product on CUDA is deterministic
    return device


def device_name() -> str | None:
    """What the device is called, where it is not the CPU."""
    device = accelerator()
    return None if device == CPU else f"{device.type} {torch.cuda.get_device_name(device)}"


@contextmanager
def placed(module: nn.Module) -> Iterator[None]:
    """Keep a classifier of texts on the device for a while; other modules, which are small, stay where they are.

    It takes its inputs from, and gives its logits back to, the device of the inputs.
    """
    device = accelerator() if isinstance(module, TextClassifier) else CPU
    if device == CPU:
        yield
        return
    module.to(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        if device.type == "cuda":
            torch.cuda.default_generators[device.index or 0].manual_seed(torch.initial_seed())  # dropout draws there
        try:
            yield
        finally:
            module.to(CPU)
