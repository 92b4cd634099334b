"""Maps at sites: the forward pass, files, copies, and what runs from a mapped site on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from shifting import shifted_outputs

from proxyaudit.activations.capture import capture
from proxyaudit.activations.replay import replayer
from proxyaudit.errors import InputError
from proxyaudit.models.base import TrainedModel, copy_module
from proxyaudit.models.build import build_model
from proxyaudit.models.checkpoints import load_weights, save_weights
from proxyaudit.models.erasing import buffer_names, site_maps, with_map, without_map
from proxyaudit.models.kinds.ft_transformer import FtTransformerSpec
from proxyaudit.models.kinds.mlp import MlpSpec
from proxyaudit.models.kinds.module import ModuleSpec
from proxyaudit.models.kinds.resnet import ResnetSpec
from proxyaudit.recipe.recipe import SitesSpec
from proxyaudit.seeding import stream

WIDTH = 5
SPECS = {
    "mlp": MlpSpec(kind="mlp", hidden=(8, 6)),
    "resnet": ResnetSpec(kind="resnet", blocks=2, width=8),
    "ft_transformer": FtTransformerSpec(kind="ft_transformer", blocks=2, width=8, heads=2),
    "module": ModuleSpec(kind="module", factory="net.py:make"),
}
NET = """
from torch import nn

def make(n):
    return nn.Sequential(nn.Linear(n, 8), nn.ReLU(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 2))
"""
FIRST = {"mlp": "hidden1", "resnet": "block1", "ft_transformer": "block1", "module": "1"}


@pytest.fixture(params=sorted(SPECS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def build(kind: str, folder: Path, *erase: str) -> TrainedModel:
    (folder / "net.py").write_text(NET)
    return build_model(SPECS[kind], SitesSpec(), n_inputs=WIDTH, n_classes=2, base=folder, seed=3, erase=erase)


def table(n: int = 40) -> np.ndarray:
    return stream(0, "table").normal(size=(n, WIDTH)).astype(np.float32)


def projection(d: int, name: str = "map") -> tuple[np.ndarray, np.ndarray]:
    """An oblique projection along one direction, with an offset."""
    rng = stream(0, name, d)
    read, write, mean = rng.normal(size=(3, d))
    write /= read @ write
    return np.eye(d) - np.outer(write, read), write * (read @ mean)


def test_a_new_map_changes_nothing_and_keeps_every_name(kind: str, tmp_path: Path) -> None:
    plain, mapped = build(kind, tmp_path), build(kind, tmp_path, "penultimate", FIRST[kind])
    assert set(mapped.module.state_dict()) - set(plain.module.state_dict()) == {
        name for site in ("penultimate", FIRST[kind]) for name in buffer_names(site)
    }
    assert [name for name, _ in mapped.module.named_parameters()] == [name for name, _ in plain.module.named_parameters()]
    assert np.array_equal(capture(mapped, table()).outputs, capture(plain, table()).outputs)


@pytest.mark.parametrize("which", ["first", "last"])
def test_site_and_outputs_are_those_of_the_affine_map(kind: str, which: str, tmp_path: Path) -> None:
    site = FIRST[kind] if which == "first" else "penultimate"
    plain, x = build(kind, tmp_path), table()
    before = capture(plain, x)
    weight, bias = projection(before.acts[site].shape[1])
    mapped = with_map(plain, site, weight, bias, n_inputs=WIDTH)
    after = capture(mapped, x)
    wanted = before.acts[site].astype(np.float64) @ weight.T + bias
    assert np.abs(wanted - before.acts[site]).max() > 0.1
    assert np.allclose(after.acts[site], wanted, atol=1e-5)
    # Everything before it is as it was; the model behind it gets the mapped value and nothing else.
    sites = list(plain.sites)
    for earlier in sites[: sites.index(site)]:
        assert np.array_equal(after.acts[earlier], before.acts[earlier])
    moved = replayer(plain, x, site)(wanted - before.acts[site], np.arange(len(x)))
    if kind != "ft_transformer" or which == "last":  # tokens are mapped each, not shifted by their mean's change
        assert np.allclose(after.outputs, moved, atol=1e-5)
    assert not np.allclose(after.outputs, before.outputs, atol=1e-3)
    assert np.array_equal(capture(plain, x).outputs, before.outputs)


def test_a_shift_of_a_mapped_site_is_not_erased_on_its_way(kind: str, tmp_path: Path) -> None:
    """Replay puts its value behind the map: else a swap along the erased direction would look like no effect at all."""
    plain, x = build(kind, tmp_path), table()
    d = capture(plain, x).acts["penultimate"].shape[1]
    weight, bias = projection(d)
    mapped = with_map(plain, "penultimate", weight, bias, n_inputs=WIDTH)
    along = np.outer(np.ones(len(x)), np.linalg.svd(weight)[2][-1]) * 2  # in the null space of the map
    assert np.abs(along @ weight.T).max() < 1e-12
    replayed = replayer(mapped, x, "penultimate")(along, np.arange(len(x)))
    assert np.allclose(replayed, shifted_outputs(mapped, x, {"penultimate": along}), atol=1e-6)
    assert not np.allclose(replayed, capture(mapped, x).outputs, atol=1e-3)
    assert all(hook.active for hook in site_maps(mapped.module).values())


def test_maps_travel_through_files_and_belong_to_their_own_copy(kind: str, tmp_path: Path) -> None:
    plain, x = build(kind, tmp_path), table()
    weight, bias = projection(capture(plain, x).acts["penultimate"].shape[1])
    mapped = with_map(plain, "penultimate", weight, bias, n_inputs=WIDTH)
    save_weights(mapped, tmp_path / "m.safetensors")
    holder = build(kind, tmp_path, "penultimate")
    loaded = load_weights(holder, tmp_path / "m.safetensors", what="checkpoint")
    assert np.array_equal(capture(loaded, x).outputs, capture(mapped, x).outputs)
    assert np.array_equal(capture(holder, x).outputs, capture(plain, x).outputs)  # the copy has buffers of its own
    with pytest.raises(InputError, match="holds tensor 'erase/penultimate/"):
        load_weights(plain, tmp_path / "m.safetensors", what="checkpoint")


def test_maps_follow_one_another(tmp_path: Path) -> None:
    plain, x = build("mlp", tmp_path), table()
    acts = capture(plain, x).acts["penultimate"].astype(np.float64)
    (w1, b1), (w2, b2) = projection(6, "one"), projection(6, "two")
    both = with_map(with_map(plain, "penultimate", w1, b1, n_inputs=WIDTH), "penultimate", w2, b2, n_inputs=WIDTH)
    assert np.allclose(capture(both, x).acts["penultimate"], (acts @ w1.T + b1) @ w2.T + b2, atol=1e-5)


def test_a_map_left_out_comes_back_also_after_an_error(tmp_path: Path) -> None:
    mapped = with_map(build("mlp", tmp_path), "penultimate", *projection(6), n_inputs=WIDTH)
    with pytest.raises(RuntimeError), without_map(mapped.module, "penultimate"):
        raise RuntimeError
    assert site_maps(mapped.module)["penultimate"].active
    with without_map(mapped.module, "hidden1"):
        assert site_maps(mapped.module)["penultimate"].active


def test_the_erased_direction_leaves_no_trace_that_rounding_could_carry(tmp_path: Path) -> None:
    """In float32 the map itself would be off by 1e-7 of the signal; here only the result is rounded."""
    plain, x = build("mlp", tmp_path), table(4000)
    acts = capture(plain, x).acts["penultimate"].astype(np.float64)
    read = stream(0, "read").normal(size=6)
    weight = np.eye(6) - np.outer(read, read) / (read @ read)
    after = capture(with_map(plain, "penultimate", weight, np.zeros(6), n_inputs=WIDTH), x).acts["penultimate"].astype(np.float64)
    left, signal = after @ read, acts @ read
    assert np.std(left) < 1e-6 * np.std(signal)
    assert abs(np.corrcoef(left, signal)[0, 1]) < 0.06


@pytest.mark.parametrize("broken", ["names", "nan", "shape"])
def test_hostile_maps_are_refused(broken: str, tmp_path: Path) -> None:
    mapped = with_map(build("mlp", tmp_path), "penultimate", *projection(6), n_inputs=WIDTH)
    save_weights(mapped, tmp_path / "m.safetensors")
    tensors = load_file(tmp_path / "m.safetensors")
    weight, _ = buffer_names("penultimate")
    if broken == "names":
        tensors["erase/../weight"] = tensors.pop(weight)
    elif broken == "nan":
        tensors[weight][0, 0] = torch.nan
    else:
        tensors[weight] = torch.eye(7, dtype=torch.float64)
    save_file(tensors, tmp_path / "bad.safetensors")
    words = {"names": "lacks tensor 'erase/penultimate/weight'", "nan": "NaN or infinite", "shape": r"shape \(7, 7\)"}[broken]
    with pytest.raises(InputError, match=words):
        load_weights(build("mlp", tmp_path, "penultimate"), tmp_path / "bad.safetensors", what="checkpoint")


def test_unknown_sites_and_maps_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown site 'hidden9'.*nearest sites: hidden"):
        build("mlp", tmp_path, "hidden9")
    model = build("mlp", tmp_path)
    with pytest.raises(InputError, match="unknown site"):
        with_map(model, "nowhere", np.eye(6), np.zeros(6), n_inputs=WIDTH)
    with pytest.raises(ValueError, match="does not fit"):
        with_map(model, "penultimate", np.eye(3), np.zeros(3), n_inputs=WIDTH)
    assert set(site_maps(build("mlp", tmp_path, "hidden2").module)) == {"penultimate"}  # an alias
    assert set(site_maps(copy_module(build("mlp", tmp_path, "hidden1").module))) == {"hidden1"}
