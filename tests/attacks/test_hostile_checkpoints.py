"""Checkpoints that lie: each is refused in one line, and nothing in them is ever executed."""

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file, save_model

from proxyaudit.activations.capture import capture
from proxyaudit.data.shards import weights_file_digest
from proxyaudit.digests import file_digest
from proxyaudit.errors import InputError
from proxyaudit.models.base import TrainedModel
from proxyaudit.models.build import build_model
from proxyaudit.models.checkpoints import load_weights, save_weights
from proxyaudit.models.kinds.ft_transformer import FtTransformerSpec
from proxyaudit.models.kinds.mlp import MlpSpec
from proxyaudit.models.kinds.module import ModuleSpec
from proxyaudit.models.kinds.resnet import ResnetSpec
from proxyaudit.recipe.models import ModelSpec
from proxyaudit.recipe.recipe import SitesSpec

NET = """
from torch import nn
class Net(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(n, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU())
        self.encoder[3].weight = self.encoder[0].weight
        self.head = nn.Linear(4, 1)
    def forward(self, x):
        return self.head(self.encoder(x))
def make(n):
    return Net(n)
"""


def user_model(folder: Path, seed: int = 0) -> TrainedModel:
    (folder / "nets.py").write_text(NET)
    spec = ModuleSpec(kind="module", factory="nets.py:make")
    return build_model(spec, SitesSpec(), n_inputs=4, n_classes=2, base=folder, seed=seed)


def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(15, 4)).astype(np.float32)


def refused(model: TrainedModel, path: Path) -> str:
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    with pytest.raises(InputError) as caught:
        load_weights(model, path, what="checkpoint 1 of regime 'vendor'")
    line = str(caught.value)
    assert "\n" not in line
    assert "checkpoint 1 of regime 'vendor'" in line
    assert caught.value.mend
    assert all(torch.equal(value, before[name]) for name, value in model.module.state_dict().items())
    return line


def test_two_checkpoints_of_a_user_module(tmp_path: Path) -> None:
    loaded = []
    for seed in (1, 2):
        source = user_model(tmp_path, seed)
        path = tmp_path / f"b{seed}.safetensors"
        save_weights(source, path)
        model = load_weights(user_model(tmp_path), path, what="checkpoint")
        assert np.array_equal(capture(model, rows()).outputs, capture(source, rows()).outputs)
        assert model.details["origin"] == "checkpoint"
        assert not model.module.training
        loaded.append(capture(model, rows()).outputs)
    assert not np.array_equal(*loaded)
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".py", ".safetensors", ".safetensors"]


@pytest.mark.parametrize(
    "spec",
    [MlpSpec(kind="mlp"), ResnetSpec(kind="resnet", width=8), FtTransformerSpec(kind="ft_transformer", width=8)],
    ids=lambda s: s.kind,
)
def test_own_kinds_survive_the_disk(tmp_path: Path, spec: ModelSpec) -> None:
    models = [build_model(spec, SitesSpec(), n_inputs=4, n_classes=2, base=tmp_path, seed=seed) for seed in (1, 2)]
    save_weights(models[0], tmp_path / "w.safetensors")
    back = load_weights(models[1], tmp_path / "w.safetensors", what="weights")
    assert np.array_equal(capture(back, rows()).outputs, capture(models[0], rows()).outputs)
    assert not np.array_equal(capture(models[1], rows()).outputs, capture(models[0], rows()).outputs)


def test_tied_tensors_saved_once_are_loaded(tmp_path: Path) -> None:
    source = user_model(tmp_path, 3)
    save_model(source.module, str(tmp_path / "t.safetensors"))
    back = load_weights(user_model(tmp_path), tmp_path / "t.safetensors", what="weights")
    assert np.array_equal(capture(back, rows()).outputs, capture(source, rows()).outputs)


def test_half_precision_is_brought_to_the_modules_dtype(tmp_path: Path) -> None:
    source = user_model(tmp_path, 3)
    half = {k: v.to(torch.float16) if v.is_floating_point() else v for k, v in source.module.state_dict().items()}
    save_file({k: v.clone() for k, v in half.items()}, tmp_path / "h.safetensors")
    back = load_weights(user_model(tmp_path), tmp_path / "h.safetensors", what="weights")
    assert {p.dtype for p in back.module.parameters()} == {torch.float32}
    np.testing.assert_allclose(capture(back, rows()).outputs, capture(source, rows()).outputs, atol=1e-2)


class _Bomb:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.marker,))


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.pth", "w.bin", "w.pkl", "w.CKPT", "w"])
@pytest.mark.parametrize("protocol", [0, 2, 4, "torch", "torch-old"])
def test_pickles_never_run(tmp_path: Path, name: str, protocol: int | str) -> None:
    marker, path = tmp_path / "ran", tmp_path / name
    if isinstance(protocol, int):
        path.write_bytes(pickle.dumps(_Bomb(marker), protocol=protocol))
    else:
        torch.save({"weight": _Bomb(marker)}, path, _use_new_zipfile_serialization=protocol == "torch")
    line = refused(user_model(tmp_path), path)
    assert "safetensors.torch.save_file" in line
    assert not marker.exists()


def state(model: TrainedModel) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.module.state_dict().items()}


def save_changed(folder: Path, **changes: torch.Tensor | None) -> Path:
    tensors = state(user_model(folder))
    for key, value in changes.items():
        name = key.replace("__", ".")
        if value is None:
            del tensors[name]
        else:
            tensors[name] = value
    save_file(tensors, folder / "w.safetensors")
    return folder / "w.safetensors"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head__bias": None}, "lacks tensor 'head.bias'"),
        ({"head__bias": None, "heads__bias": torch.zeros(1)}, "nearest name in the file: 'heads.bias'"),
        ({"encoder__0__weight": None, "encoder__3__weight": None}, "lacks tensor 'encoder.0.weight' and 1 more"),
        ({"heads__bias": torch.zeros(1)}, "holds tensor 'heads.bias'.*nearest name in the model: 'head.bias'"),
        ({"head__weight": torch.zeros(1, 5)}, r"'head.weight' has shape \(1, 5\), the model wants \(1, 4\)"),
        ({"head__weight": torch.zeros(4)}, "has shape"),
        ({"head__weight": torch.full((1, 4), torch.nan)}, "'head.weight' holds NaN"),
        ({"head__weight": torch.full((1, 4), torch.inf)}, "'head.weight' holds NaN or infinite"),
        ({"head__weight": torch.full((1, 4), torch.nan, dtype=torch.bfloat16)}, "holds NaN"),
        ({"head__weight": torch.full((1, 4), 1e300, dtype=torch.float64)}, "infinite"),
        ({"encoder__1__running_mean": torch.full((4,), torch.nan)}, "running_mean' holds NaN"),
        ({"head__weight": torch.zeros(1, 4, dtype=torch.int32)}, "is int32, the model wants float32"),
        ({"encoder__3__weight": torch.zeros(4, 4)}, "did not arrive"),
    ],
)
def test_tensors_that_do_not_fit(tmp_path: Path, changes: dict[str, torch.Tensor | None], message: str) -> None:
    line = refused(user_model(tmp_path), save_changed(tmp_path, **changes))
    assert re.search(message, line), line


def test_the_unchanged_file_is_fine(tmp_path: Path) -> None:
    load_weights(user_model(tmp_path), save_changed(tmp_path), what="weights")


@pytest.mark.parametrize("cut", [0, 3, 8, 9, 200, -1])
def test_cut_off_files(tmp_path: Path, cut: int) -> None:
    path = save_changed(tmp_path)
    path.write_bytes(path.read_bytes()[:cut])
    refused(user_model(tmp_path), path)


@pytest.mark.parametrize(
    "content",
    [
        (2**63).to_bytes(8, "little") + b"{}" + b" " * 64,
        (99_000_000).to_bytes(8, "little") + b'{"a":' + b" " * 64,
        (8).to_bytes(8, "little") + b"{]}.....",
        (64).to_bytes(8, "little")
        + b'{"head.bias":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4]}}'.ljust(64)[:64]
        + b"\0" * 4,
        b"\x80\x02\0\0\0\0\0\0{" + b" " * 700,
        b"<html>not found</html>",
        b"\0" * 100,
    ],
)
def test_files_of_other_kinds(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    refused(user_model(tmp_path), path)


def test_a_header_that_claims_a_giant_tensor(tmp_path: Path) -> None:
    header = b'{"head.bias":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}'
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    refused(user_model(tmp_path), path)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    assert "no such file" in refused(user_model(tmp_path), tmp_path / "gone.safetensors")
    assert "is not a file" in refused(user_model(tmp_path), tmp_path)


def test_a_header_as_long_as_a_pickle_magic_is_still_read(tmp_path: Path) -> None:
    path = save_changed(tmp_path)
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    padded = 0x0480  # little-endian 80 04: the first bytes of a protocol-4 pickle
    assert length <= padded
    path.write_bytes(padded.to_bytes(8, "little") + data[8 : 8 + length].ljust(padded) + data[8 + length :])
    load_weights(user_model(tmp_path), path, what="weights")


# Weights in several files ---------------------------------------------------------------------------------------------


def shards(folder: Path, prefix: str = "") -> Path:
    """The weights of a user's module in two files, without the batches that its normalisation counted."""
    tensors = {k: v.clone() for k, v in user_model(folder, 3).module.state_dict().items() if not k.endswith("num_batches_tracked")}
    places = {prefix + name: f"w-{number % 2}.safetensors" for number, name in enumerate(sorted(tensors))}
    for file in set(places.values()):
        save_file({name: tensors[name.removeprefix(prefix)] for name in places if places[name] == file}, folder / file)
    index = folder / "w.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return index


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module."])
def test_shards_are_read_as_one_file(tmp_path: Path, prefix: str) -> None:
    index = shards(tmp_path, prefix)
    loaded = load_weights(user_model(tmp_path), index, what="checkpoint")
    assert np.array_equal(capture(loaded, rows()).outputs, capture(user_model(tmp_path, 3), rows()).outputs)


def test_every_shard_is_hashed(tmp_path: Path) -> None:
    index = shards(tmp_path)
    before = weights_file_digest(index)
    with (tmp_path / "w-1.safetensors").open("ab") as stream:
        stream.write(b" ")
    assert weights_file_digest(index) != before
    assert weights_file_digest(tmp_path / "w-0.safetensors") == file_digest(tmp_path / "w-0.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda places: places | {"head.bias": "../w-0.safetensors"}, "names '../w-0.safetensors'"),
        (lambda places: places | {"head.bias": "w-7.safetensors"}, "names 'w-7.safetensors'"),
        (lambda places: places | {"head.bias": "w.bin"}, "names 'w.bin'"),
        (lambda places: places | {"head.bias": f"w-{1 - int(places['head.bias'][2])}.safetensors"}, "differ in tensor 'head.bias'"),
        (lambda places: {name: file for name, file in places.items() if name != "head.bias"}, "differ in tensor 'head.bias'"),
        (lambda places: [], "cannot be read"),
    ],
)
def test_lists_of_shards_that_lie(tmp_path: Path, change: Callable[[dict[str, str]], object], message: str) -> None:
    index = shards(tmp_path)
    index.write_text(json.dumps({"weight_map": change(json.loads(index.read_text())["weight_map"])}))
    assert message in refused(user_model(tmp_path), index)


def test_a_shard_that_is_a_pickle_never_runs(tmp_path: Path) -> None:
    index = shards(tmp_path)
    (tmp_path / "w-1.safetensors").write_bytes(pickle.dumps({"head.bias": 1}))
    assert "pickle" in refused(user_model(tmp_path), index)
