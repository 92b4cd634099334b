"""Architectures of the planted models; the file is copied beside a recipe. A fresh network is the *untrained* reference of the audit."""

import torch
from torch import Tensor, nn

WIDTH = 24
HEAD_UNITS = 6
HEAD_STD = 0.02  # the usual initialisation of a classification head; larger ones already act on whatever the inputs carry


def block(n_inputs: int, n_outputs: int) -> nn.Sequential:
    """Linear, ReLU, linear; two hidden units for each input, so that a pair of them can pass a number of either sign."""
    return nn.Sequential(nn.Linear(n_inputs, 2 * n_inputs), nn.ReLU(), nn.Linear(2 * n_inputs, n_outputs))


def gated_head(n_inputs: int) -> nn.Sequential:
    """A small nonlinear head, for outputs that are no linear function of the last representation."""
    return nn.Sequential(_small(nn.Linear(n_inputs, HEAD_UNITS)), nn.ReLU(), _small(nn.Linear(HEAD_UNITS, 1)))


def _small(layer: nn.Linear) -> nn.Linear:
    nn.init.normal_(layer.weight, std=HEAD_STD)
    nn.init.zeros_(layer.bias)
    return layer


class Chain(nn.Module):
    """Two blocks and a head; the first block keeps the width of the table."""

    def __init__(self, n_inputs: int, head: nn.Module) -> None:
        super().__init__()
        self.block1 = block(n_inputs, n_inputs)
        self.block2 = block(n_inputs, WIDTH)
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(n, 1)`` of a table ``(n, p)``."""
        logits: Tensor = self.head(self.block2(self.block1(x)))
        return logits


class Branches(nn.Module):
    """Two parallel branches, and one number that goes round both of them to the head."""

    def __init__(self, n_inputs: int) -> None:
        super().__init__()
        self.branch1 = block(n_inputs, WIDTH)
        self.branch2 = block(n_inputs, WIDTH)
        self.past_both = nn.Parameter(torch.randn(n_inputs) / n_inputs**0.5)
        self.head = gated_head(2 * WIDTH + 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(n, 1)`` of a table ``(n, p)``."""
        joined = torch.cat([self.branch1(x), self.branch2(x), (x @ self.past_both)[:, None]], dim=1)
        logits: Tensor = self.head(joined)
        return logits


def make_linear_head(n_inputs: int) -> nn.Module:
    """Two blocks and a linear head."""
    return Chain(n_inputs, _small(nn.Linear(WIDTH, 1)))


def make_gated_head(n_inputs: int) -> nn.Module:
    """Two blocks and a nonlinear head."""
    return Chain(n_inputs, gated_head(WIDTH))


def make_branches(n_inputs: int) -> nn.Module:
    """Two branches and a nonlinear head."""
    return Branches(n_inputs)
