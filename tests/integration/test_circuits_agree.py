"""Exchanged parts of a GPT-2-like classifier against two implementations that share nothing with ours: plain torch hooks, and nnsight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from own_heads import save_own
from text_world import MAX_TOKENS, transformers

from proxyaudit.models.base import TrainedModel
from proxyaudit.models.kinds.huggingface import HuggingFaceSpec
from proxyaudit.models.own_classifier import make_own
from proxyaudit.models.text_parts import Part, Setting, TextParts, find_places

ROWS, LENGTH, SIZE = 6, 9, 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_own("gpt2", tmp_path_factory.mktemp("agree"), initializer_range=0.5)


@pytest.fixture(scope="module")
def parts(folder: Path) -> TextParts:
    spec = HuggingFaceSpec(kind="huggingface", path=str(folder), head="own", max_length=MAX_TOKENS)
    module = make_own(spec, folder).ordered((0, 1))
    x = np.full((2 * ROWS, MAX_TOKENS), -1.0, dtype=np.float32)
    x[:, :LENGTH] = np.random.default_rng(0).integers(2, 40, (2 * ROWS, LENGTH))
    return TextParts(TrainedModel(module, 2, ("penultimate",), ("penultimate",), module.fine_taps()), x, find_places(module, x))


def ours(parts: TextParts, place: str, units: tuple[int, ...]) -> np.ndarray:
    own, given = np.arange(ROWS), np.arange(ROWS, 2 * ROWS)
    return parts.outputs(own, [Setting(Part(place, units, (2,)), given)], 0)


def second_class(logits: torch.Tensor) -> np.ndarray:
    return torch.softmax(logits.double(), dim=1)[:, 1].detach().numpy()


def raw(folder: Path) -> Any:
    auto = transformers().AutoModelForSequenceClassification
    return auto.from_pretrained(folder, attn_implementation="eager").eval()


PLACES = [("layer0.heads", 0), ("layer0.heads", 1), ("layer1.heads", 0), ("layer0.units", None), ("layer1.units", None)]


@pytest.mark.parametrize(("place", "head"), PLACES)
def test_plain_hooks_give_the_same_outputs(parts: TextParts, folder: Path, place: str, head: int | None) -> None:
    model, layer = raw(folder), int(place[5])
    units = tuple(range(head * SIZE, (head + 1) * SIZE)) if head is not None else (2, 3, 17)
    block = model.transformer.h[layer]
    projection = block.attn.c_proj if head is not None else block.mlp.c_proj
    ids = torch.from_numpy(parts._x[:, :LENGTH]).long()
    kept: list[torch.Tensor] = []
    with torch.no_grad():
        with projection.register_forward_pre_hook(lambda _, args: kept.append(args[0].clone())):
            model(input_ids=ids[ROWS:])

        def put(_: Any, args: Any) -> Any:
            value = args[0].clone()
            value[:, -1, list(units)] = kept[0][:, -1, list(units)]
            return (value,)

        with projection.register_forward_pre_hook(put):
            theirs = second_class(model(input_ids=ids[:ROWS]).logits)
    np.testing.assert_allclose(ours(parts, place, units), theirs, atol=1e-5)


@pytest.mark.parametrize(("place", "head"), PLACES)
def test_nnsight_gives_the_same_outputs(parts: TextParts, folder: Path, place: str, head: int | None) -> None:
    nnsight = pytest.importorskip("nnsight", reason="the package nnsight is not installed: outputs are compared with plain hooks alone")
    model, layer = nnsight.NNsight(raw(folder)), int(place[5])
    units = list(range(head * SIZE, (head + 1) * SIZE)) if head is not None else [2, 3, 17]
    block = model.transformer.h[layer]
    projection = block.attn.c_proj if head is not None else block.mlp.c_proj
    ids = torch.from_numpy(parts._x[:, :LENGTH]).long()
    with torch.no_grad():
        with model.trace(input_ids=ids[ROWS:]):
            given = projection.input.save()
        with model.trace(input_ids=ids[:ROWS]):
            projection.input[:, -1, units] = given[:, -1, units]
            found = model.output.save()
    np.testing.assert_allclose(ours(parts, place, tuple(units)), second_class(found.logits), atol=1e-5)
