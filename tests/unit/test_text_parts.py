"""Parts of a transformer: what is read and set at each position, and that layers may be skipped without a change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from own_heads import save_own
from text_world import MAX_TOKENS, save_tiny

from proxyaudit.models.base import TrainedModel
from proxyaudit.models.huggingface import make_text
from proxyaudit.models.kinds.huggingface import HuggingFaceSpec
from proxyaudit.models.own_classifier import make_own
from proxyaudit.models.text_parts import Part, Setting, TextParts, find_places, position_masks


def texts_of(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = np.full((n, MAX_TOKENS), -1.0, dtype=np.float32)
    for row in range(n):
        length = 1 if row == 0 else 2 if row == 1 else int(rng.integers(3, MAX_TOKENS))
        x[row, :length] = rng.integers(2, 40, length)
    return x


def model_of(kind: str, folder: Path, head: str) -> TrainedModel:
    spec = HuggingFaceSpec(kind="huggingface", path=str(folder), head=head, max_length=MAX_TOKENS)  # type: ignore[arg-type]
    if head == "own":
        save_own(kind, folder, initializer_range=0.5)
        module = make_own(spec, folder).ordered((0, 1))
    else:
        save_tiny(kind, folder)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            module = make_text(spec, n_inputs=MAX_TOKENS, n_classes=2, base=folder)
    return TrainedModel(module.eval(), 2, ("penultimate",), ("penultimate",), module.fine_taps())


def parts_of(kind: str, folder: Path, head: str = "own", n: int = 24) -> TextParts:
    model, x = model_of(kind, folder, head), texts_of(n)
    return TextParts(model, x, find_places(model.module, x))  # type: ignore[arg-type]


def test_positions_are_the_first_token_the_last_and_those_in_between() -> None:
    masks = position_masks(np.array([[5, -1, -1, -1], [5, 6, -1, -1], [5, 6, 7, 8]], dtype=np.float32))
    assert masks.astype(int).tolist() == [
        [[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
        [[1, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]],
        [[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]],
    ]


@pytest.mark.parametrize("kind", ["bert", "distilbert", "gpt2", "llama"])
def test_every_kind_of_part_is_found_and_its_own_value_changes_nothing(tmp_path: Path, kind: str) -> None:
    parts = parts_of(kind, tmp_path)
    kinds = {(place.layer, place.kind) for place in parts.places.values()}
    every = {(layer, what) for layer in (0, 1) for what in ("residual", "attention", "heads", "mlp", "units")}
    assert kinds == every | {(-1, "residual")}
    rows = np.arange(24)
    for name in parts.places:
        same = parts.outputs(rows, [Setting(Part(name), rows)], 0)
        np.testing.assert_allclose(same, parts.outputs_nc[:, 0], atol=1e-6)


@pytest.mark.parametrize(("kind", "position"), [("bert", 0), ("gpt2", 2)])
def test_what_the_head_reads_hands_over_the_donors_output(tmp_path: Path, kind: str, position: int) -> None:
    parts = parts_of(kind, tmp_path)
    own, given = np.arange(2, 13), np.arange(13, 24)
    moved = parts.outputs(own, [Setting(Part("layer1", positions=(position,)), given)], 0)
    np.testing.assert_allclose(moved, parts.outputs_nc[given, 0], atol=1e-6)
    other = parts.outputs(own, [Setting(Part("layer1", positions=tuple({0, 1, 2} - {position})), given)], 0)
    np.testing.assert_allclose(other, parts.outputs_nc[own, 0], atol=1e-6)


def test_a_text_without_a_position_keeps_what_it_has(tmp_path: Path) -> None:
    parts = parts_of("bert", tmp_path)
    one, many = np.array([0]), np.array([9])  # a single token has no last one, and none in between
    for own, given in ((one, many), (many, one)):
        same = parts.outputs(own, [Setting(Part("layer0", positions=(1, 2)), given)], 0)
        np.testing.assert_allclose(same, parts.outputs_nc[own, 0], atol=1e-6)


def test_the_mean_of_all_tokens_moves_as_far_as_positions_do(tmp_path: Path) -> None:
    """With a mean over all tokens and a linear head on top, setting everything gives the donor's mean of each position."""
    parts = parts_of("bert", tmp_path, head="new")
    values, own, given = parts.values("layer1"), np.array([5, 6]), np.array([7, 8])
    moved = parts.outputs(own, [Setting(Part("layer1"), given)], 0)
    head = parts._module.head
    counts = position_masks(parts._x).sum(axis=2)
    means = (values[given] * counts[own][:, :, None]).sum(axis=1) / counts[own].sum(axis=1)[:, None]
    logits = means @ head.weight.detach().numpy().T + head.bias.detach().numpy()
    np.testing.assert_allclose(moved, 1 / (1 + np.exp(-logits[:, 0])), atol=1e-5)


def test_parts_of_a_place_and_constants_can_be_set_together(tmp_path: Path) -> None:
    parts = parts_of("gpt2", tmp_path)
    own, given = np.arange(2, 10), np.arange(10, 18)
    heads = [Part("layer0.heads", tuple(range(at, at + 8))) for at in (0, 8)]
    both = parts.outputs(own, [Setting(part, given) for part in heads], 0)
    np.testing.assert_allclose(both, parts.outputs(own, [Setting(Part("layer0.heads"), given)], 0), atol=1e-7)
    zero = parts.outputs(own, [Setting(Part("layer1.units"), np.zeros((3, parts.places["layer1.units"].width)))], 0)
    assert not np.allclose(zero, parts.outputs_nc[own, 0], atol=1e-4)


@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama"])
def test_layers_before_a_part_are_skipped_without_a_change(tmp_path: Path, kind: str) -> None:
    parts = parts_of(kind, tmp_path)
    own, given = np.repeat(np.arange(3, 20), 2), np.arange(34) % 24
    settings = [[Setting(Part(f"layer1.{what}"), given)] for what in ("heads", "units", "mlp", "attention")]
    before = [parts.outputs(own, one, 0) for one in settings]
    ran: list[int] = []
    first = parts._module.get_submodule(f"backbone.{parts._module.layers[0].attention}")
    with first.register_forward_hook(lambda *_: ran.append(1)):
        parts.remember(own)
        ran.clear()
        after = [parts.outputs(own, one, 0) for one in settings]
        assert not ran
        parts.outputs(np.array([0]), [Setting(Part("layer1.mlp"), np.array([1]))], 0)  # what is not known is run
        assert ran
    np.testing.assert_allclose(after, before, atol=1e-6)
    np.testing.assert_allclose(parts.outputs(own, [], 0), parts.outputs_nc[own, 0], atol=1e-6)


def test_an_architecture_that_hands_on_more_than_values_is_run_from_the_start(tmp_path: Path) -> None:
    parts = parts_of("t5", tmp_path, head="new")
    own, given = np.arange(3, 12), np.arange(12, 21)
    before = parts.outputs(own, [Setting(Part("layer1.mlp"), given)], 0)
    parts.remember(own)
    np.testing.assert_allclose(parts.outputs(own, [Setting(Part("layer1.mlp"), given)], 0), before, atol=1e-7)


def test_gradients_are_those_of_a_shift_of_each_position(tmp_path: Path) -> None:
    parts = parts_of("bert", tmp_path)
    rows = np.arange(3, 9)
    gradient = parts.gradients(rows, 0)["layer0.mlp"]
    step = 1e-2
    for position in range(3):
        shifted = parts.values("layer0.mlp")[rows].astype(float)
        wanted = np.zeros(len(rows))
        for number, row in enumerate(rows):
            shifted[number, position, 4] += step
            up = parts.outputs(np.array([row]), [Setting(Part("layer0.mlp", (4,), (position,)), shifted[number])], 0)
            wanted[number] = (up[0] - parts.outputs_nc[row, 0]) / step
        np.testing.assert_allclose(gradient[:, position, 4], wanted, atol=2e-3)
