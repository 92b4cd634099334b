"""Places of a model, exchanged values and gradients, each held against the forward pass written out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from proxyaudit.activations.capture import capture
from proxyaudit.models.base import NoGradientError, TrainedModel
from proxyaudit.models.build import build_model
from proxyaudit.models.erasing import with_map
from proxyaudit.models.kinds.ft_transformer import FtTransformerSpec
from proxyaudit.models.kinds.mlp import MlpSpec
from proxyaudit.models.kinds.resnet import ResnetSpec
from proxyaudit.models.locations import Patching, find_locations, part_units
from proxyaudit.models.places import Tap
from proxyaudit.recipe.recipe import SitesSpec

P, N = 6, 40
ALL = SitesSpec(verdict=("penultimate",), profile=("all",))
SPECS: dict[str, Any] = {
    "mlp": MlpSpec(kind="mlp", hidden=(7, 5)),
    "resnet": ResnetSpec(kind="resnet", width=8, blocks=2),
    "ft": FtTransformerSpec(kind="ft_transformer", width=8, heads=2, blocks=2),
}


def table(n: int = N) -> Any:
    return np.random.default_rng(0).normal(size=(n, P)).astype(np.float32)


def built(kind: str, n_classes: int = 2) -> TrainedModel:
    return build_model(SPECS[kind], ALL, n_inputs=P, n_classes=n_classes, base=None, seed=0)  # type: ignore[arg-type]


def own(module: nn.Module, *sites: str) -> TrainedModel:
    return TrainedModel(module.eval(), 2, sites, sites, {site: Tap(site, "output") for site in sites})


class Native(nn.Module):
    """Columns as tokens through torch's attention."""

    def __init__(self, *, batch_first: bool = True, layer: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.batch_first, self.layer = nn.Linear(1, 8), batch_first, layer
        if layer:
            self.attend: nn.Module = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        else:
            self.attend = nn.MultiheadAttention(8, 2, batch_first=batch_first)
        self.head = nn.Linear(8, 1)

    def forward(self, x: Any) -> Any:
        tokens = self.embed(x[:, :, None])
        if self.layer:
            return self.head(self.attend(tokens)[:, 0])
        tokens = tokens if self.batch_first else tokens.transpose(0, 1)
        made, _ = self.attend(tokens, tokens, tokens)
        return self.head(made[:, 0] if self.batch_first else made[0])


class Handmade(nn.Module):
    """Attention that says how many heads it has; with a projection of their outputs, or without."""

    def __init__(self, *, projects: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.n_heads = 2
        self.query, self.key, self.value = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.proj = nn.Linear(8, 8) if projects else None

    def forward(self, tokens: Any) -> Any:
        q, k, v = (part(tokens).reshape(*tokens.shape[:2], 2, 4).transpose(1, 2) for part in (self.query, self.key, self.value))
        made = (torch.softmax(q @ k.transpose(2, 3) / 2, dim=-1) @ v).transpose(1, 2).reshape(tokens.shape)
        return made if self.proj is None else self.proj(made)


class Around(nn.Module):
    """Columns as tokens around an attention module."""

    def __init__(self, attend: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.embed, self.attend, self.head = nn.Linear(1, 8), attend, nn.Linear(8, 1)

    def forward(self, x: Any) -> Any:
        return self.head(self.attend(self.embed(x[:, :, None])).mean(dim=1))


def exchanged(model: TrainedModel, place: str, units: Any, output: int = 0) -> tuple[Any, Any, Any]:
    """Outputs of rows with units of other rows, and the two sets of rows."""
    x = table()
    recipients, donors = np.arange(20), np.arange(20, 40)
    return Patching(model, x, find_locations(model, x)).patch(place, output)(recipients, donors, units), recipients, donors


def test_places_of_the_own_architectures() -> None:
    found = {kind: {place.name: place for place in find_locations(built(kind), table())} for kind in SPECS}
    assert list(found["mlp"]) == ["hidden1", "penultimate"]
    assert list(found["resnet"]) == ["block1", "block2", "penultimate", "block1, branch", "block2, branch"]
    assert {name for name, place in found["ft"].items() if place.kind == "heads"} == {
        f"net.backbone.blocks.{i}.attention, heads" for i in (0, 1)
    }
    assert "block2, feed-forward" in found["ft"]
    assert [name for name, _ in part_units(found["ft"]["net.backbone.blocks.0.attention, heads"])] == ["head 0", "head 1"]
    assert part_units(found["resnet"]["block1, branch"]) == []
    hidden, last = found["mlp"]["hidden1"], found["mlp"]["penultimate"]
    assert (hidden.work, last.work, hidden.whole_work) == (7 * 5 + 5, 5, 6 * 7 + 7 * 5 + 5)
    # A branch has no tail: every patch of it is a whole pass.
    assert found["resnet"]["block1, branch"].work == found["resnet"]["block1, branch"].whole_work


@pytest.mark.parametrize("kind", list(SPECS))
def test_every_place_gives_back_what_was_there(kind: str) -> None:
    model, x = built(kind, 3), table()
    places = find_locations(model, x)
    patching, rows = Patching(model, x, places), np.arange(N)
    wanted = capture(model, x).outputs[:, 1]
    for place in places:
        for units in (None, [0]):
            np.testing.assert_allclose(patching.patch(place.name, 1)(rows, rows, units), wanted, atol=1e-6)


@pytest.mark.parametrize("kind", list(SPECS))
def test_a_whole_site_of_a_chain_makes_the_row_the_donor(kind: str) -> None:
    model = built(kind)
    outputs = capture(model, table()).outputs[:, 0]
    for site in model.sites:
        moved, _, donors = exchanged(model, site, None)
        np.testing.assert_allclose(moved, outputs[donors], atol=1e-6)


def test_units_are_exchanged_and_nothing_else() -> None:
    model, x = built("mlp"), table()
    moved, recipients, donors = exchanged(model, "hidden1", [2, 5])
    acts = capture(model, x).acts["hidden1"]
    mixed = acts[recipients].copy()
    mixed[:, [2, 5]] = acts[donors][:, [2, 5]]
    with torch.no_grad():
        wanted = torch.sigmoid(model.module.tail("hidden1", torch.tensor(mixed)))[:, 0]  # type: ignore[operator]
    np.testing.assert_allclose(moved, wanted.numpy(), atol=1e-6)


@pytest.mark.parametrize("batch_first", [True, False])
def test_a_head_of_torch_attention_is_its_slice_before_the_projection(batch_first: bool) -> None:
    module = Native(batch_first=batch_first)
    model = own(module, "embed")
    moved, recipients, donors = exchanged(model, "attend, heads", [4, 5, 6, 7])
    attend = module.attend
    assert isinstance(attend, nn.MultiheadAttention)
    with torch.no_grad():
        tokens = module.embed(torch.tensor(table())[:, :, None])
        q, k, v = (part.reshape(N, P, 2, 4).transpose(1, 2) for part in (tokens @ attend.in_proj_weight.T).chunk(3, dim=2))
        made = (torch.softmax(q @ k.transpose(2, 3) / 2, dim=-1) @ v).transpose(1, 2).reshape(N, P, 8)
        mixed = torch.cat([made[recipients][..., :4], made[donors][..., 4:]], dim=2)
        wanted = torch.sigmoid(module.head(attend.out_proj(mixed)[:, 0]))[:, 0]
    np.testing.assert_allclose(moved, wanted.numpy(), atol=1e-6)


def test_heads_inside_an_encoder_layer_are_found_and_leave_the_pass_as_it_is() -> None:
    model, x, rows = own(Native(layer=True), "embed"), table(), np.arange(N)
    places = find_locations(model, x)
    assert [place.name for place in places] == ["embed", "attend.self_attn, heads"]
    outputs = Patching(model, x, places).patch("attend.self_attn, heads", 0)(rows, rows, [0, 1])
    np.testing.assert_allclose(outputs, capture(model, x).outputs[:, 0], atol=1e-6)


def test_heads_of_another_attention_are_the_input_of_its_projection() -> None:
    module = Around(Handmade())
    moved, recipients, donors = exchanged(own(module, "embed"), "attend, heads", [0, 1, 2, 3])
    kept: list[Any] = []
    handle = module.attend.get_submodule("proj").register_forward_pre_hook(lambda _, args: kept.append(args[0].clone()))
    with torch.no_grad():
        module(torch.tensor(table()))
        handle.remove()
        mixed = torch.cat([kept[0][donors][..., :4], kept[0][recipients][..., 4:]], dim=2)
        wanted = torch.sigmoid(module.head(module.attend.get_submodule("proj")(mixed).mean(dim=1)))[:, 0]
    np.testing.assert_allclose(moved, wanted.numpy(), atol=1e-6)


def test_no_projection_no_heads() -> None:
    """The last linear layer to run reads what the attention was given: it makes the values, it does not join the heads."""
    assert [place.name for place in find_locations(own(Around(Handmade(projects=False)), "embed"), table())] == ["embed"]


def test_gradients_of_all_places_are_those_of_small_changes() -> None:
    model, x = built("ft", 3), table(12).astype(np.float32)
    places = find_locations(model, x)
    patching, rows = Patching(model, x, places), np.arange(12)
    gradients = patching.gradients(rows, 2)
    outputs = capture(model, x).outputs[:, 2]
    for place in places:
        values = patching._values[place.name]
        kept = values.clone()
        values[..., 3] += 3e-3
        after = patching.patch(place.name, 2)(rows, rows, None)
        values.copy_(kept)
        expected = gradients[place.name][..., 3].reshape(12, -1).sum(axis=1)
        # A row may lie at a kink of the network.
        assert np.isclose((after - outputs) / 3e-3, expected, atol=1e-3, rtol=0.03).sum() >= 10, place.name


def test_what_nothing_reads_has_a_gradient_of_zero_and_no_gradient_is_told() -> None:
    class Ignored(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Identity(), nn.Identity()

        def forward(self, x: Any) -> Any:
            self.right(x.clone())
            return self.left(x.clone())[:, :1]

    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left = nn.Identity()

        def forward(self, x: Any) -> Any:
            return self.left(x.clone()).detach()[:, :1]

    x, rows = table(), np.arange(5)
    model = own(Ignored(), "left", "right")
    gradients = Patching(model, x, find_locations(model, x)).gradients(rows, 0)
    assert (gradients["right"] == 0).all()
    assert (gradients["left"][:, 0] > 0).all()
    model = own(Cut(), "left")
    with pytest.raises(NoGradientError, match="no gradient"):
        Patching(model, x, find_locations(model, x)).gradients(rows, 0)


def test_a_mitigated_site_is_mapped_once() -> None:
    x, rows = table(), np.arange(N)
    projection = np.eye(7) - np.ones((7, 7)) / 7
    model = with_map(built("mlp"), "hidden1", 0.5 * projection, np.ones(7), n_inputs=P)
    wanted = capture(model, x).outputs[:, 0]
    places = find_locations(model, x)
    for tail in ("method", "none"):
        taps = {name: replace(tap, tail=tail) for name, tap in model.taps.items()}  # type: ignore[arg-type]
        again = replace(model, taps=taps)
        patching = Patching(again, x, [replace(place, tap=taps[place.name]) for place in places])
        np.testing.assert_allclose(patching.patch("hidden1", 0)(rows, rows, [1, 2]), wanted, atol=1e-6)


def test_a_place_that_runs_twice_or_not_for_rows_is_left_out() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.once, self.attend = nn.Identity(), nn.MultiheadAttention(P, 2, batch_first=True)

        def forward(self, x: Any) -> Any:
            for _ in range(2):
                x = self.attend(x[:, None], x[:, None], x[:, None])[0][:, 0]
            return self.once(x)[:, :1]

    assert [place.name for place in find_locations(own(Twice(), "once"), table())] == ["once"]
