"""Measure what words and habits of style do in one trained model of texts: the text is written without them and read again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from proxyaudit.activations.capture import Captured, capture
from proxyaudit.activations.replay import replayer
from proxyaudit.arrays import Ints
from proxyaudit.causal.attribution import TextRows, attribute_tokens
from proxyaudit.causal.proxy_use import Swapped, Swaps, draw_removals
from proxyaudit.channels.proxies.column_measure import NO_DIRECTION, attributed_rows, sensitive_direction, subspaces_of, unit_numbers
from proxyaudit.channels.proxy_plan import ProxyPlan
from proxyaudit.data.attributes import Attribute
from proxyaudit.data.dataset import Dataset
from proxyaudit.data.public_counts import SMALLEST_CELL
from proxyaudit.data.text import TextEncoder
from proxyaudit.data.text_features import Habit, holds_given_name
from proxyaudit.estimates.record import Measurement, cell_key
from proxyaudit.models.base import TrainedModel
from proxyaudit.models.text import TextClassifier
from proxyaudit.seeding import stream

Forward = Callable[[NDArray[np.float32]], Captured]

_MOST_TEXTS = 1000  # that one habit is removed from; those that a removal leaves as they are cost nothing
_ATTRIBUTED_TEXTS = 32  # of each group: one costs as much as sixty texts run forward


@dataclass(frozen=True)
class HabitTask:
    """What is asked of one model.

    Attributes:
        root: Root seed; the same texts serve every model.
        followed: Groups compared and the output followed, by attribute.
        attributions: Whether to attribute the sensitive direction and the output to tokens.
    """

    root: int
    followed: dict[str, tuple[Ints, int]]
    attributions: bool


def removals(n: int, root: int) -> Swaps:
    """The audit texts that habits are removed from; the same in every model."""
    return draw_removals(n, _MOST_TEXTS, stream(root, "removals"))


def written_without(
    habit: Habit, lines: Sequence[Any], x_mp: NDArray[np.float32], encoder: TextEncoder
) -> tuple[Ints, NDArray[np.float32]]:
    """Texts whose tokens change when they are written without a habit.

    Args:
        habit: The habit.
        lines: ``m`` texts.
        x_mp: Their tokens.
        encoder: Texts to tokens.

    Returns:
        Places of these texts, and their new tokens.
    """
    written = [habit.without(line) if isinstance(line, str) else line for line in lines]
    places = np.array([place for place, line in enumerate(lines) if isinstance(line, str) and written[place] != line], dtype=np.int64)
    if not len(places):
        return places, x_mp[:0]
    x = encoder.transform(pd.DataFrame({encoder.column: [written[place] for place in places]}))
    differs = (x != x_mp[places]).any(axis=1)
    return places[differs], x[differs]


def rewritten_texts(
    x_np: NDArray[np.float32], texts: pd.DataFrame, encoder: TextEncoder, plan: ProxyPlan, root: int
) -> NDArray[np.float32]:
    """Tokens of every text that a removal changes: what a frozen transformer has to run over once for all repetitions."""
    rows = removals(len(x_np), root).rows_m
    lines = list(texts[encoder.column].iloc[rows])
    found = [written_without(plan.habits[name], lines, x_np[rows], encoder)[1] for name in plan.columns if plan.habits[name].removable]
    return np.concatenate([x_np[:0], *found])


def measure_habit_use(
    model: TrainedModel,
    captured: Captured,
    x_np: NDArray[np.float32],
    texts: pd.DataFrame,
    dataset: Dataset,
    plan: ProxyPlan,
    task: HabitTask,
    out: Measurement,
    forward: Forward | None = None,
) -> None:
    """Change of the followed output when a habit is removed, and what of it runs through the attribute's subspace.

    Args:
        model: The trained model of texts.
        captured: Its activations and outputs on the audit texts as the regime meets them.
        x_np: Tokens of these texts.
        texts: The texts, ``n`` rows.
        dataset: The data set.
        plan: Words and habits.
        task: What is asked.
        out: Where ``proxy use`` goes.
        forward: Outputs and activations of other texts, where there is a quicker way than to run the model.
    """
    encoder = dataset.encoder
    assert isinstance(encoder, TextEncoder)
    assert isinstance(model.module, TextClassifier)
    protected = [a for a in dataset.attributes if a.role == "protected"]
    site = model.verdict_sites[-1]
    swaps, alone = removals(len(x_np), task.root), replace(model, sites=(site,))
    found: dict[str, Any] = out.numbers.setdefault("proxy use", {})
    found.update({a.name: {"units": {}, "rows": len(swaps.rows_m), "site": site} for a in protected})
    acts = np.asarray(captured.acts[site], dtype=np.float64)
    subspaces = {a.name: subspaces_of(acts, a, dataset.parts, task.root) for a in protected}
    # Only after the pooling can the rest of the model be run from the site; before it a path would cost the whole transformer each time.
    replay = replayer(model, x_np, site, captured.acts[site]) if model.module.is_vector(site) else None
    lines = list(texts[encoder.column].iloc[swaps.rows_m])
    for name in (name for name in plan.columns if plan.habits[name].removable):
        places, x = written_without(plan.habits[name], lines, x_np[swaps.rows_m], encoder)
        after = None if not len(places) else capture(alone, x) if forward is None else forward(x)
        swapped = _swapped(captured, after, places, swaps, site)
        for attribute in protected:
            groups, output = task.followed[attribute.name]
            key = cell_key(attribute.name, name, "")
            numbers = unit_numbers(swapped, swaps, groups, output, dataset.parts, subspaces[attribute.name], replay, key, out)
            # What goes with the habit is what it did.
            for what in ("total", "through"):
                if what in numbers:
                    numbers[what] = -numbers[what]
                    out.arrays[key + what] = -out.arrays[key + what]
            found[attribute.name]["units"][name] = numbers
    if task.attributions:
        for attribute in protected:
            groups, output = task.followed[attribute.name]
            found[attribute.name]["attribution"] = _attributions(model, x_np, acts, site, attribute, groups, output, dataset, task.root)


def _swapped(captured: Captured, after: Captured | None, places: Ints, swaps: Swaps, site: str) -> Swapped:
    """Change of outputs and activations; nothing where the tokens stay the same."""
    rows = swaps.rows_m
    change = np.zeros((len(rows), 1, captured.outputs.shape[1]))
    moved = np.zeros((len(rows), 1, captured.acts[site].shape[1]), dtype=np.float32)
    if after is not None:
        change[places, 0] = after.outputs - captured.outputs[rows[places]]
        moved[places, 0] = after.acts[site] - captured.acts[site][rows[places]]
    return Swapped(change, moved)


def _attributions(
    model: TrainedModel,
    x_np: NDArray[np.float32],
    acts_nd: NDArray[np.float64],
    site: str,
    attribute: Attribute,
    groups_n: Ints,
    output: int,
    dataset: Dataset,
    root: int,
) -> dict[str, Any]:
    """Layer integrated gradients of the probe's logit and of the output's log-odds, summed by token over the texts of each group."""
    encoder = dataset.encoder
    assert isinstance(encoder, TextEncoder)
    if encoder.token_names is None:
        return {"reason": "the tokenizer does not tell what its tokens are"}
    direction = sensitive_direction(acts_nd, attribute, groups_n)
    if direction is None:
        return {"reason": NO_DIRECTION}
    rows = attributed_rows(attribute, groups_n, _ATTRIBUTED_TEXTS, root)
    tokens, names = tokens_to_name(x_np[rows], dataset.clusters[rows], encoder)
    if not names:
        return {"reason": f"no token stands in the texts of {SMALLEST_CELL} people among those that were attributed"}
    given = TextRows(x_np[rows], groups_n[rows], tokens, encoder.special)
    found: dict[str, Any] = {"rows": len(rows), "names": names}
    for what, one in (
        ("direction", attribute_tokens(model, given, site=site, direction_d=direction)),
        ("output", attribute_tokens(model, given, output=output)),
    ):
        if one is None:
            return {"reason": "the transformer has no embedding of tokens that could be attributed to"}
        found[what] = {"columns": one.columns.tolist(), "difference": one.difference, "incomplete": one.incomplete}
    return found


def tokens_to_name(x_mp: NDArray[np.float32], people_m: Ints, encoder: TextEncoder) -> tuple[list[list[int]], list[str]]:
    """Tokens that may be named, since at least eleven people's texts among these hold them; those that read alike are one.

    Returns:
        Token numbers of each name, and the names.
    """
    assert encoder.token_names is not None
    x_mp = np.floor(x_mp)  # fractions mark spans
    used = np.unique(x_mp[x_mp >= 0]).astype(np.int64)
    by_name: dict[str, list[int]] = {}
    for token, name in zip(used, encoder.token_names([int(token) for token in used]), strict=True):
        if name and name.isprintable() and not any(letter.isdigit() for letter in name):
            by_name.setdefault(name, []).append(int(token))
    kept = {
        name: tokens
        for name, tokens in sorted(by_name.items())
        if len(np.unique(people_m[np.isin(x_mp, tokens).any(axis=1)])) >= SMALLEST_CELL and not holds_given_name(name)
    }
    return list(kept.values()), list(kept)
