"""What tasks are predicted to take: progress counts by it, so that no kind of task may come out as nothing."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from proxyaudit.cache import TRAIN, Task
from proxyaudit.models.kinds.huggingface import HuggingFaceSpec
from proxyaudit.pipeline.cost import task_seconds


def training_seconds(**model: object) -> float:
    spec = HuggingFaceSpec.model_validate({"kind": "huggingface", "path": "model", "max_length": 64, **model})
    regime = SimpleNamespace(kind="real", needs_training=True)
    prepared = SimpleNamespace(recipe=SimpleNamespace(model=spec), size=2000, regime=lambda _: regime)
    return task_seconds(prepared, Task(TRAIN, "real", 0, "0" * 64, ()))  # type: ignore[arg-type]


@pytest.mark.parametrize("tune", ["full", "lora"])
def test_training_a_transformer_counts_its_passes_forwards_and_backwards(tune: str) -> None:
    """A fine-tuned model was counted as its head alone: when it had trained, two hours seemed to be left of five minutes."""
    head = training_seconds(tune="head")
    assert training_seconds(tune=tune, epochs=2) > 20 * head
    assert training_seconds(tune=tune, epochs=4) == pytest.approx(2 * training_seconds(tune=tune, epochs=2), rel=0.05)
