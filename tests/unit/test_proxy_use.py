"""Swapping columns of hand-made models: what moves the output, and what of it runs through the attribute's subspace."""

from __future__ import annotations

import numpy as np
import pytest

from proxyaudit.causal.proxy_use import draw_swaps, influence, oriented, path, reach, swap_columns
from proxyaudit.erasers.leace import fit_leace, random_subspace
from proxyaudit.seeding import stream

N = 3000


class World:
    """Inputs: a proxy of the group, a column that is independent of it, noise. Activations: three mixtures of the inputs."""

    def __init__(self, weights, head, name="world"):
        rng = stream(0, name)
        self.groups = rng.integers(0, 2, N)
        self.x = rng.normal(size=(N, 3)).astype(np.float32)
        self.x[:, 0] += 2.0 * self.groups
        self.weights, self.head = np.asarray(weights, dtype=float), np.asarray(head, dtype=float)
        self.parts = rng.integers(0, 3, N)
        self.acts = self.x @ self.weights
        self.swaps = draw_swaps(N, N, rng)
        known = [self.parts != part for part in range(3)]
        self.erasers = [fit_leace(self.acts[rows], self.groups[rows, None].astype(float)) for rows in known]
        self.randoms = [[random_subspace(self.acts[rows], 1, rng) for rows in known] for _ in range(3)]

    def outputs(self, acts):
        return 1 / (1 + np.exp(-(acts @ self.head)))[:, None]

    def forward(self, x):
        acts = x @ self.weights
        return self.outputs(acts), acts

    def replay(self, shift, rows):
        return self.outputs(self.acts[rows] + shift)

    def swapped(self, *columns):
        return swap_columns(self.x, columns, self.swaps, self.forward, self.forward(self.x))

    def path(self, *columns):
        return path(self.swapped(*columns), self.swaps, self.groups, 0, self.parts, self.erasers, self.randoms, self.replay)


def test_donors_give_once_in_each_slot_and_never_to_themselves():
    swaps = draw_swaps(500, 200, stream(0, "swaps"), slots=5)
    assert len(swaps.rows_m) == 200
    for slot in range(5):
        assert sorted(swaps.donors_ms[:, slot]) == sorted(swaps.rows_m)
        assert (swaps.donors_ms[:, slot] != swaps.rows_m).all()


def test_influence_and_orientation_tell_a_proxy_from_a_strong_innocent_column():
    world = World(np.eye(3), [0.5, 2.0, 0.0])
    proxy, innocent, unread = ([influence(world.swapped(c).change_msc[:, :, 0], world.swaps, N).value] for c in range(3))
    assert innocent[0] > 1.5 * proxy[0] > 0.1
    assert unread[0] == 0
    by_group = [oriented(world.swapped(c).change_msc[:, :, 0], world.swaps, world.groups) for c in range(2)]
    assert by_group[0].value > 0.1
    assert abs(by_group[1].value) < 4 * np.sqrt((by_group[1].influence_n ** 2).sum()) + 1e-9


def test_the_oriented_effect_and_its_interval():
    """The truth: mean output with the proxy drawn from group 1 less that with the proxy drawn from group 0."""
    rng = stream(0, "truth")
    rest = 0.7 * rng.normal(size=400_000)
    mean = lambda shift: (1 / (1 + np.exp(-(0.5 * (rng.normal(size=400_000) + shift) + rest)))).mean()  # noqa: E731
    truth = mean(2.0) - mean(0.0)
    covered = 0
    for index in range(30):
        world = World(np.eye(3), [0.5, 0.7, 0.0], name=f"world{index}")
        found = oriented(world.swapped(0).change_msc[:, :, 0], world.swaps, world.groups)
        covered += abs(found.value - truth) <= 1.96 * np.sqrt((found.influence_n**2).sum())
    assert covered >= 26


def test_the_path_runs_through_the_subspace_or_around_it():
    """The proxy is one activation, and so is the sensitive direction: all runs through it. Spread evenly over all, a part of it."""
    through = World(np.eye(3), [0.8, 0.3, 0.0]).path(0)
    assert through.through.value == pytest.approx(through.total.signed.value, rel=0.1)
    assert max(through.random) < through.total.signed.value
    assert abs(through.around.signed.value) < 0.02
    assert through.around.product.value < 0.02**2 < 0.1**2 < through.total.product.value


def test_a_proxy_that_goes_around_the_direction():
    """Two activations carry the proxy's two parts: one tells the group, the other moves the output and tells nothing."""
    rng = stream(0, "around")
    world = World(np.eye(3), [0.0, 0.0, 1.0])
    # Column 2 is the proxy's other half: independent of the group, swapped along with the first as one column.
    world.x[:, 2] = rng.normal(size=N)
    world.acts = world.x @ world.weights
    split = world.path(0, 2)
    assert influence(world.swapped(0, 2).change_msc[:, :, 0], world.swaps, N).value > 0.2
    assert abs(split.through.value) < 0.02


def test_a_model_that_uses_more_than_the_site_gives_no_path():
    world = World(np.eye(3), [0.8, 0.0, 0.0])
    forward = world.forward
    world.forward = lambda x: (forward(x)[0] + 0.1 * (x[:, :1] > 0), forward(x)[1])
    assert world.path(0) is None


def test_too_few_donors_of_a_group_give_no_contrast():
    world = World(np.eye(3), [0.8, 0.0, 0.0])
    groups = np.zeros(N, dtype=int)
    groups[:20] = 1
    assert oriented(world.swapped(0).change_msc[:, :, 0], world.swaps, groups) is None


def test_what_cancels_over_rows_reaches_the_groups_row_by_row_and_what_is_no_carrier_does_not():
    world = World(np.eye(3), [0.0, 0.0, 0.0])
    world.forward = lambda x: (1 / (1 + np.exp(-(0.6 * np.sign(x[:, 1]) * x[:, 0] + x[:, 2])))[:, None], x)
    carrier, other = (reach(world.swapped(c).change_msc[:, :, 0], world.swaps, world.groups) for c in (0, 2))
    assert abs(carrier.signed.value) < 0.03
    # By hand: the column moves by two between the groups, and the gate turns the sign.
    x = world.x.copy()
    sides = [
        np.mean([world.forward(np.column_stack([np.full(N, v), x[:, 1:]]))[0] for v in world.x[world.groups == g, 0][:200]], axis=0)
        for g in (0, 1)
    ]
    truth = float(((sides[1] - sides[0]) ** 2).mean())
    error = np.sqrt((carrier.product.influence_n**2).sum())
    assert carrier.product.value == pytest.approx(truth, abs=4 * error)
    assert error < truth / 8
    assert abs(other.product.value) < 4 * np.sqrt((other.product.influence_n**2).sum())


def test_the_error_of_the_product_is_not_too_small():
    values, errors = [], []
    for index in range(40):
        world = World(np.eye(3), [0.4, 0.7, 0.0], name=f"product{index}")
        found = reach(world.swapped(0).change_msc[:, :, 0], world.swaps, world.groups).product
        values.append(found.value)
        errors.append(np.sqrt((found.influence_n**2).sum()))
    assert 0.75 < np.mean(errors) / np.std(values) < 2


def test_a_pair_is_swapped_together():
    """The output looks at the product of two columns' signs, which only a swap of both keeps intact."""
    world = World(np.eye(3), [0.0, 0.0, 0.0])
    world.x[:, 1] = world.x[:, 0]
    agree = lambda x: (np.sign(x[:, 0]) == np.sign(x[:, 1])).astype(float)[:, None]  # noqa: E731
    world.forward = lambda x: (agree(x), x)
    assert influence(world.swapped(0).change_msc[:, :, 0], world.swaps, N).value > 0.2
    assert influence(world.swapped(0, 1).change_msc[:, :, 0], world.swaps, N).value == 0
