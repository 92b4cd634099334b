"""Capture, shifted outputs, replay and the activations file."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shifting import shifted_outputs
from torch import Tensor, nn

from proxyaudit.activations.capture import Captured, capture, read_activations, write_activations
from proxyaudit.activations.replay import replayer
from proxyaudit.errors import InputError
from proxyaudit.models.base import TrainedModel
from proxyaudit.models.build import build_model
from proxyaudit.models.kinds.ft_transformer import FtTransformerSpec
from proxyaudit.models.kinds.mlp import MlpSpec
from proxyaudit.models.kinds.resnet import ResnetSpec
from proxyaudit.models.places import Tap
from proxyaudit.recipe.models import ModelSpec
from proxyaudit.recipe.recipe import SitesSpec

SPECS: list[ModelSpec] = [
    MlpSpec(kind="mlp", hidden=(8, 6, 5), dropout=0.3),
    ResnetSpec(kind="resnet", blocks=2, width=8),
    FtTransformerSpec(kind="ft_transformer", blocks=2, width=8, heads=2),
]
KINDS = [spec.kind for spec in SPECS]


def build(spec: ModelSpec, n_classes: int = 2) -> TrainedModel:
    return build_model(spec, SitesSpec(), n_inputs=4, n_classes=n_classes, base=Path(), seed=0)


def rows(n: int = 23) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, 4)).astype(np.float32)


def hooks(module: nn.Module) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules())


@pytest.mark.parametrize("spec", SPECS, ids=KINDS)
def test_batches_do_not_matter_and_no_hook_stays(spec: ModelSpec) -> None:
    model = build(spec)
    whole, parts = capture(model, rows()), capture(model, rows(), batch_size=5)
    assert tuple(whole.acts) == model.sites
    for site, acts in whole.acts.items():
        assert acts.dtype == np.float32
        assert not acts.flags.writeable
        np.testing.assert_allclose(acts, parts.acts[site], atol=1e-5)
    np.testing.assert_allclose(whole.outputs, parts.outputs, atol=1e-6)
    with torch.no_grad():
        np.testing.assert_allclose(whole.outputs, torch.sigmoid(model.module(torch.tensor(rows()))).numpy(), atol=1e-6)
    assert hooks(model.module) == 0


def test_all_sites_take_one_forward_pass() -> None:
    model, passes = build(SPECS[0]), []
    model.module.register_forward_hook(lambda *_: passes.append(1))
    capture(model, rows(20), batch_size=10)
    assert len(passes) == 2


def test_tokens_are_pooled_to_their_mean() -> None:
    model, kept = build(SPECS[2]), []
    block = model.module.get_submodule(model.taps["block1"].module)
    with torch.no_grad():
        handle = block.register_forward_hook(lambda _, __, value: kept.append(value))
        model.module(torch.tensor(rows()))
        handle.remove()
    assert kept[0].shape == (23, 5, 8)
    np.testing.assert_allclose(capture(model, rows()).acts["block1"], kept[0].mean(1).numpy(), atol=1e-6)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("spec", SPECS, ids=KINDS)
def test_zero_shifts_change_nothing(spec: ModelSpec, n_classes: int) -> None:
    model = build(spec, n_classes)
    captured = capture(model, rows())
    shifts = {site: np.zeros_like(acts) for site, acts in captured.acts.items()}
    assert np.array_equal(shifted_outputs(model, rows(), shifts), captured.outputs)
    assert np.array_equal(shifted_outputs(model, rows(), {}), captured.outputs)
    assert hooks(model.module) == 0


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("spec", SPECS, ids=KINDS)
def test_replay_agrees_with_shifted_outputs(spec: ModelSpec, n_classes: int) -> None:
    model, x, rng = build(spec, n_classes), rows(), np.random.default_rng(1)
    index = rng.integers(0, len(x), 61)
    for site, acts in capture(model, x).acts.items():
        shift = rng.normal(size=(61, acts.shape[1]))
        expected = shifted_outputs(model, x[index], {site: shift})
        assert np.abs(expected - shifted_outputs(model, x[index], {})).max() > 1e-3
        np.testing.assert_allclose(replayer(model, x, site)(shift, index), expected, atol=1e-6)
        # The same through the whole forward pass, as for a user's module.
        blind = replace(model, taps={name: replace(tap, tail="none") for name, tap in model.taps.items()})
        np.testing.assert_allclose(replayer(blind, x, site)(shift, index), expected, atol=1e-6)


def test_too_many_tokens_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = build(SPECS[2]), rows()
    shift = np.random.default_rng(1).normal(size=(23, 8))
    expected = replayer(model, x, "block1")(shift, np.arange(23))
    monkeypatch.setattr("proxyaudit.activations.replay._TOKEN_CACHE_FLOATS", 10)
    np.testing.assert_allclose(replayer(model, x, "block1")(shift, np.arange(23)), expected, atol=1e-6)


def test_a_shift_at_the_head_moves_the_logit_by_its_weight() -> None:
    model, x = build(SPECS[0]), rows()
    weight = model.module.get_parameter("head.weight").detach().numpy().astype(np.float64)
    shift = np.random.default_rng(2).normal(size=(23, 5))

    def logit(p: np.ndarray) -> np.ndarray:
        return np.log(p / (1 - p))

    moved = logit(shifted_outputs(model, x, {"penultimate": shift})) - logit(capture(model, x).outputs)
    np.testing.assert_allclose(moved, shift @ weight.T, atol=1e-5)


def test_shifts_at_two_sites_act_together() -> None:
    model, x = build(SPECS[0]), rows()
    captured = capture(model, x)
    # The first shift is overridden in effect by a second that makes the later site what it was.
    first = np.full_like(captured.acts["hidden1"], 0.7)
    seen: list[Tensor] = []
    handle = model.module.get_submodule("head").register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    shifted_outputs(model, x, {"hidden1": first})
    handle.remove()
    back = captured.acts["penultimate"] - seen[0].numpy()
    assert np.abs(back).max() > 1e-2
    np.testing.assert_allclose(shifted_outputs(model, x, {"hidden1": first, "penultimate": back}), captured.outputs, atol=1e-6)


def test_replay_of_no_rows_and_bad_rows() -> None:
    model, x = build(SPECS[0]), rows()
    replay = replayer(model, x, "penultimate")
    assert replay(np.zeros((0, 5)), np.zeros(0, dtype=np.int64)).shape == (0, 1)
    with pytest.raises(ValueError, match=r"0\.\.22"):
        replay(np.zeros((1, 5)), np.array([23]))
    with pytest.raises(ValueError, match=r"0\.\.22"):
        replay(np.zeros((1, 5)), np.array([-1]))
    with pytest.raises(ValueError, match="do not belong together"):
        replay(np.zeros((2, 5)), np.array([1]))
    with pytest.raises(ValueError, match="shift at 'penultimate'"):
        replay(np.zeros((1, 4)), np.array([1]))
    with pytest.raises(ValueError, match="shift at 'hidden1'"):
        shifted_outputs(model, x, {"hidden1": np.zeros((22, 8))})


class _Raises(nn.Module):
    def __init__(self, error: Exception | None = None, value: float = 0.0) -> None:
        super().__init__()
        self.first, self.head, self.error, self.value = nn.Linear(4, 3), nn.Linear(3, 1), error, value

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x) + self.value
        if self.error is not None:
            raise self.error
        return self.head(h.nan_to_num())


def raising(error: Exception | None = None, value: float = 0.0) -> TrainedModel:
    module = _Raises(error, value)
    with torch.no_grad():
        module.first.weight[0, 0] = torch.nan if np.isnan(value) else 0
    return TrainedModel(module.eval(), 2, ("first",), ("first",), {"first": Tap("first", "output")})


def test_hooks_are_removed_when_forward_raises() -> None:
    model = raising(RuntimeError("boom\nsecond line"))
    with pytest.raises(InputError, match="RuntimeError: boom second line"):
        capture(model, rows())
    with pytest.raises(InputError, match="RuntimeError: boom"):
        shifted_outputs(model, rows(), {"first": np.zeros((23, 3))})
    with pytest.raises(InputError, match="RuntimeError: boom"):
        replayer(model, rows(), "first")(np.zeros((1, 3)), np.array([0]))
    assert hooks(model.module) == 0


def test_hooks_are_removed_when_registering_fails() -> None:
    model = raising()
    broken = replace(model, sites=("first", "gone"), taps={**model.taps, "gone": Tap("no.such.module", "output")})
    with pytest.raises(AttributeError):
        capture(broken, rows())
    assert hooks(model.module) == 0


def test_nan_is_named_by_site() -> None:
    with pytest.raises(InputError, match="site 'first' are NaN"):
        capture(raising(value=float("nan")), rows())


def test_nan_outputs_are_refused() -> None:
    model = build(SPECS[0])
    with torch.no_grad():
        model.module.get_parameter("head.bias").fill_(torch.nan)
    with pytest.raises(InputError, match="outputs are NaN"):
        capture(model, rows())


def test_unknown_sites_and_empty_tables() -> None:
    model = build(SPECS[0])
    with pytest.raises(InputError, match=r"unknown site 'hidden9'.*hidden1"):
        shifted_outputs(model, rows(), {"hidden9": np.zeros((23, 8))})
    with pytest.raises(InputError, match="unknown site"):
        replayer(model, rows(), "hidden9")
    with pytest.raises(InputError, match="no rows"):
        capture(model, rows(0))
    with pytest.raises(ValueError, match="batch_size"):
        capture(model, rows(), batch_size=0)


def test_half_precision_sites_become_float32() -> None:
    module = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 1)).to(torch.bfloat16)

    class Cast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x.to(torch.bfloat16))

    model = TrainedModel(Cast().eval(), 2, ("a",), ("a",), {"a": Tap("inner.0", "output")})
    captured = capture(model, rows())
    assert captured.acts["a"].dtype == np.float32
    assert shifted_outputs(model, rows(), {"a": np.ones((23, 3))}).dtype == np.float64


def test_read_only_tables_are_accepted(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", rows())
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert np.array_equal(capture(build(SPECS[0]), mapped).outputs, capture(build(SPECS[0]), rows()).outputs)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 30), st.integers(1, 9), st.integers(1, 4), st.text(min_size=1, max_size=8), st.integers(0, 2**31))
def test_files_give_back_what_was_written(tmp_path_factory: pytest.TempPathFactory, n: int, d: int, c: int, name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    name = name.encode("utf-8", "replace").decode()
    acts = {"z": rng.normal(size=(n, d)).astype(np.float32), name: rng.normal(size=(n, 2)).astype(np.float32)}
    path = tmp_path_factory.mktemp("acts") / "a.safetensors"
    write_activations(Captured(acts, rng.random((n, c))), path)
    back = read_activations(path)
    assert list(back.acts) == list(acts)
    assert all(np.array_equal(back.acts[site], acts[site]) for site in acts)


def test_files_are_mapped_read_only_and_leave_no_temporary(tmp_path: Path) -> None:
    captured = capture(build(SPECS[0]), rows())
    path = tmp_path / "a.safetensors"
    write_activations(captured, path)
    back = read_activations(path)
    assert np.array_equal(back.outputs, captured.outputs)
    assert sum(str(path) in line for line in Path("/proc/self/maps").read_text().splitlines()) == 1
    with pytest.raises(ValueError, match="read-only"):
        back.acts["hidden1"][0, 0] = 1
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    captured = capture(build(SPECS[0]), rows())
    write_activations(captured, path)
    before = path.read_bytes()

    def fail(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_activations(capture(build(SPECS[0]), rows(5)), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def _with_header(entry: dict[str, object], data: bytes = b"\0" * 16) -> bytes:
    header = json.dumps(entry).encode()
    return len(header).to_bytes(8, "little") + header + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        (2**62).to_bytes(8, "little") + b"{}",
        b"\x02\0\0\0\0\0\0\0{}",
        b"\x02\0\0\0\0\0\0\0[]",
        _with_header({"__metadata__": {"sites": "[]"}, "outputs": {"dtype": "F64", "shape": [2, 1], "data_offsets": [0, 999]}}),
        _with_header({"__metadata__": {"sites": "[]"}, "outputs": {"dtype": "F64", "shape": [3, 1], "data_offsets": [0, 16]}}),
        _with_header({"__metadata__": {"sites": "[]"}, "outputs": {"dtype": "I64", "shape": [2, 1], "data_offsets": [0, 16]}}),
        _with_header({"__metadata__": {"sites": '["a"]'}, "outputs": {"dtype": "F64", "shape": [2, 1], "data_offsets": [0, 16]}}),
        _with_header({"__metadata__": {"sites": "["}, "outputs": {"dtype": "F64", "shape": [2, 1], "data_offsets": [0, 16]}}),
    ],
)
def test_files_that_are_not_activations(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a readable activations file"):
        read_activations(path)


def test_truncated_and_missing_files(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(InputError, match="no such activations file"):
        read_activations(path)
    write_activations(capture(build(SPECS[0]), rows()), path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError, match="not a readable"):
        read_activations(path)
