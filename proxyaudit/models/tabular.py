"""Own architectures for tables: MLP, and ResNet and FT-Transformer of ``rtdl_revisiting_models`` (Gorishniy et al. 2021)."""

import copy
from pathlib import Path
from typing import cast

import rtdl_revisiting_models as rtdl
from torch import Tensor, nn

from proxyaudit.models.base import TabularModule
from proxyaudit.models.kinds import ft_transformer, mlp, resnet
from proxyaudit.models.places import Tap, columns_of
from proxyaudit.types import PENULTIMATE

# Attention holds heads x tokens x tokens floats a row; this many floats at most are held at once (64 MiB).
_ATTENTION_FLOATS = 2**24


class Mlp(TabularModule):
    """Linear-ReLU(-Dropout) blocks ``hidden1``.. and a linear ``head``; a site is a block's output after the ReLU."""

    def __init__(self, spec: mlp.MlpSpec, *, n_inputs: int, n_classes: int, base: Path) -> None:
        super().__init__()
        self.n_hidden, self.places = len(spec.hidden), mlp.places(spec, n_classes)
        width = n_inputs
        for i, next_width in enumerate(spec.hidden, start=1):
            self.add_module(f"hidden{i}", nn.Sequential(nn.Linear(width, next_width), nn.ReLU()))
            width = next_width
        self.dropout = nn.Dropout(spec.dropout)
        self.head = nn.Linear(width, columns_of(n_classes))

    def forward(self, x: Tensor) -> Tensor:
        """Return raw outputs (n, 1) or (n, K) for a table (n, p)."""
        return self._from_block(0, x)

    def _from_block(self, done: int, x: Tensor) -> Tensor:
        for i in range(done + 1, self.n_hidden + 1):
            x = self.dropout(self.get_submodule(f"hidden{i}")(x))
        return cast(Tensor, self.head(x))

    def tail(self, site: str, value: Tensor) -> Tensor:
        """Return the raw output from the value at ``site``."""
        done = self.n_hidden if site == PENULTIMATE else int(site.removeprefix("hidden"))
        return self._from_block(done, value if done == self.n_hidden else self.dropout(value))

    def site_taps(self) -> dict[str, Tap]:
        """Sites in forward order; the last block is the penultimate site."""
        return dict(self.places.taps)

    def site_aliases(self) -> dict[str, str]:
        """Other names of sites."""
        return dict(self.places.aliases)

    def last_block(self) -> tuple[Tap | None, nn.Module]:
        """The last linear layer and its ReLU."""
        before = Tap(f"hidden{self.n_hidden - 1}", "output") if self.n_hidden > 1 else None
        return before, self.get_submodule(f"hidden{self.n_hidden}")


class TabularResnet(TabularModule):
    """Tabular ResNet; a site is the residual stream after a block, the penultimate one the input of the last linear."""

    def __init__(self, spec: resnet.ResnetSpec, *, n_inputs: int, n_classes: int, base: Path) -> None:
        super().__init__()
        sizes = {"d_in": n_inputs, "d_out": columns_of(n_classes), "n_blocks": spec.blocks, "d_block": spec.width}
        self.net = rtdl.ResNet(**sizes, d_hidden_multiplier=2.0, dropout1=spec.dropout, dropout2=0.0)
        self.places = resnet.places(spec, n_classes)
        # rtdl adds the branch to the stream outside any module; these make the sums hookable.
        self.streams = nn.ModuleList([nn.Identity() for _ in range(spec.blocks)])

    def forward(self, x: Tensor) -> Tensor:
        """Return raw outputs (n, 1) or (n, K) for a table (n, p)."""
        return self._from_block(0, self.net.input_projection(x))

    def _from_block(self, done: int, x: Tensor) -> Tensor:
        for block, stream in list(zip(self.net.blocks, self.streams, strict=True))[done:]:
            x = stream(x + block(x))
        return cast(Tensor, self.net.output(x))

    def tail(self, site: str, value: Tensor) -> Tensor:
        """Return the raw output from the value at ``site``."""
        if site == PENULTIMATE:
            return cast(Tensor, self.net.output.linear(value))
        return self._from_block(int(site.removeprefix("block")), value)

    def site_taps(self) -> dict[str, Tap]:
        """Sites in forward order."""
        return dict(self.places.taps)

    def branch_taps(self) -> dict[str, Tap]:
        """What each block adds to the stream."""
        return {f"block{i + 1}, branch": Tap(f"net.blocks.{i}", "output") for i in range(len(self.streams))}

    def last_block(self) -> tuple[Tap | None, nn.Module]:
        """The last residual block with the normalisation and ReLU before the last linear layer."""
        before = Tap(f"streams.{len(self.streams) - 2}" if len(self.streams) > 1 else "net.input_projection", "output")
        return before, _ResnetBlock(self.net.blocks[-1], self.net.output)


class FtTransformer(TabularModule):
    """FT-Transformer over the encoded table as continuous features; a block's site is its token sequence."""

    def __init__(self, spec: ft_transformer.FtTransformerSpec, *, n_inputs: int, n_classes: int, base: Path) -> None:
        super().__init__()
        sizes = {"n_cont_features": n_inputs, "d_out": columns_of(n_classes), "n_blocks": spec.blocks, "d_block": spec.width}
        dropout = {"attention_dropout": spec.dropout, "ffn_dropout": spec.dropout, "residual_dropout": 0.0}
        reglu = 4 / 3  # the paper's factor
        own = {"cat_cardinalities": [], "attention_n_heads": spec.heads, "ffn_d_hidden_multiplier": reglu}
        self.net = rtdl.FTTransformer(**sizes, **dropout, **own)
        self.places = ft_transformer.places(spec, n_classes)
        self.batch_limit = max(16, _ATTENTION_FLOATS // (spec.heads * (n_inputs + 1) ** 2))

    def forward(self, x: Tensor) -> Tensor:
        """Return raw outputs (n, 1) or (n, K) for a table (n, p)."""
        return cast(Tensor, self.net(x, None))

    def tail(self, site: str, value: Tensor) -> Tensor:
        """Return the raw output from the value at ``site``: tokens (n, t, d), or (n, d) at the penultimate site."""
        if site == PENULTIMATE:
            return cast(Tensor, self.net.backbone.output.linear(value))
        return cast(Tensor, self._from_block(int(site.removeprefix("block")))(value))

    def _from_block(self, done: int, **parts: nn.Module) -> nn.Module:
        """The backbone, its parts shared, without its first blocks."""
        backbone = self.net.backbone
        rest = copy.copy(backbone)
        rest._modules = {**backbone._modules, "blocks": nn.ModuleList(list(backbone.blocks)[done:]), **parts}
        return cast(nn.Module, rest)

    def site_taps(self) -> dict[str, Tap]:
        """Sites in forward order."""
        return dict(self.places.taps)

    def branch_taps(self) -> dict[str, Tap]:
        """What the attention and the feed-forward part of each block add."""
        parts = (("attention", "attention"), ("ffn", "feed-forward"))
        count = len(self.net.backbone.blocks)
        return {f"block{i + 1}, {word}": Tap(f"net.backbone.blocks.{i}.{part}", "output") for i in range(count) for part, word in parts}

    def last_block(self) -> tuple[Tap | None, nn.Module]:
        """The last transformer block, read off its first token, with the normalisation and ReLU before the last linear layer."""
        blocks = self.net.backbone.blocks
        before = Tap(f"net.backbone.blocks.{len(blocks) - 2}.output", "output") if len(blocks) > 1 else Tap("net.backbone", "input")
        output = self.net.backbone.output
        return before, self._from_block(len(blocks) - 1, output=nn.Sequential(output.normalization, output.activation))

    def undecayed(self) -> set[str]:
        """Names of the parameters that the paper trains without weight decay: embeddings, normalisations, biases."""
        spared = {id(p) for group in self.net.make_parameter_groups() if group.get("weight_decay") == 0.0 for p in group["params"]}
        return {name for name, p in self.named_parameters() if id(p) in spared}


class _ResnetBlock(nn.Module):
    """From the residual stream before the last block to the input of the last linear layer."""

    def __init__(self, block: nn.Module, output: nn.Module) -> None:
        super().__init__()
        self.block = block
        self.normalization, self.activation = output.get_submodule("normalization"), output.get_submodule("activation")

    def forward(self, value: Tensor) -> Tensor:
        return cast(Tensor, self.activation(self.normalization(value + self.block(value))))
