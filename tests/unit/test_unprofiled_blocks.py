"""Which blocks of a user's module an audit has not looked into."""

import pytest
import torch
from torch import nn

from proxyaudit.models.sites import probe_sites


class Blocks(nn.Module):
    """Two blocks and a head; the first may hand on a tuple, the layers may stand in a list."""

    def __init__(self, *, pair=False, listed=False):
        super().__init__()
        made = [nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4)), nn.Sequential(nn.Linear(4, 4), nn.ReLU())]
        if pair:
            made[0] = nn.LSTM(3, 4)
        if listed:
            self.layers = nn.ModuleList(made)
        else:
            self.first, self.second = made
        self.head, self.pair, self.listed = nn.Linear(4, 1), pair, listed

    def forward(self, x):
        first, second = self.layers if self.listed else (self.first, self.second)
        x = first(x)
        return self.head(second(x[0] if self.pair else x))


def left(module, *sites):
    return probe_sites(module, n_inputs=3, n_classes=2, what="the module").unprofiled(sites)


@pytest.mark.parametrize(
    ("sites", "missing"),
    [
        (("first", "penultimate"), ()),
        (("first.1", "second.0"), ()),
        (("penultimate",), ("first",)),
        (("first",), ("second",)),
    ],
)
def test_one_site_in_each_block_is_enough(sites, missing):
    assert left(Blocks(), *sites) == missing


def test_a_block_that_returns_a_tuple_cannot_be_profiled_and_is_named():
    assert left(Blocks(pair=True), "penultimate") == ("first",)


def test_layers_in_a_list_are_blocks_and_a_lone_container_is_looked_into():
    assert left(Blocks(listed=True), "penultimate") == ("layers.0",)
    deep = nn.Sequential(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU()), nn.Linear(4, 1))
    assert left(deep, "penultimate") == ("0.0",)
    assert left(deep, "0.1", "penultimate") == ()


def test_nothing_is_missing_where_functions_only_lie_between_the_last_block_and_the_head():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden, self.head = nn.Linear(3, 4), nn.Linear(4, 1)

        def forward(self, x):
            return self.head(torch.relu(self.hidden(x)))

    assert left(Plain(), "penultimate") == ()
