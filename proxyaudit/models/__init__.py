"""Models: builders, training and loading of torch modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxyaudit.registry import load_function

if TYPE_CHECKING:
    from proxyaudit.models.base import Tap, TrainedModel
    from proxyaudit.models.build import build_model
    from proxyaudit.models.checkpoints import load_weights, save_weights
    from proxyaudit.models.training import train_model

__all__ = ["Tap", "TrainedModel", "build_model", "load_weights", "save_weights", "train_model"]

# Looked up when asked for: a recipe is validated with the files of ``kinds``, and that must not import torch.
_HOMES = {
    "Tap": "proxyaudit.models.base:Tap",
    "TrainedModel": "proxyaudit.models.base:TrainedModel",
    "build_model": "proxyaudit.models.build:build_model",
    "load_weights": "proxyaudit.models.checkpoints:load_weights",
    "save_weights": "proxyaudit.models.checkpoints:save_weights",
    "train_model": "proxyaudit.models.training:train_model",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'proxyaudit.models' has no attribute '{name}'")
    return load_function(_HOMES[name])
