"""Models: builders, training and loading of torch modules."""

from proxyaudit.models.base import Tap, TrainedModel
from proxyaudit.models.build import build_model
from proxyaudit.models.checkpoints import load_weights, save_weights
from proxyaudit.models.training import train_model

__all__ = ["Tap", "TrainedModel", "build_model", "load_weights", "save_weights", "train_model"]
