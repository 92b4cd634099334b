"""Features of texts as proxies: the text is written without them and read again."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from proxyaudit.activations.capture import Captured, capture
from proxyaudit.activations.replay import Replay, replayer
from proxyaudit.arrays import Floats, Ints, Singles
from proxyaudit.causal.attribution import TextRows, attribute_tokens
from proxyaudit.causal.proxy_use import Attribution, Swapped, Swaps, draw_removals
from proxyaudit.channels.base import ModelView
from proxyaudit.channels.proxy_plan import ProxyPlan
from proxyaudit.data.attributes import Followed
from proxyaudit.data.public_counts import SMALLEST_CELL
from proxyaudit.data.text import TextEncoder
from proxyaudit.data.text_features import TextFeature, holds_given_name
from proxyaudit.models.text import TextClassifier
from proxyaudit.seeding import stream

_MOST_TEXTS = 1000  # that one feature is removed from; those that a removal leaves as they are cost nothing


class TextRemovals:
    """Features left out of texts; the same texts serve every model. The counterpart of ``measure.ColumnSwaps``."""

    sign = -1.0  # what goes with a feature that is left out is what it did
    most_attributed = 32  # one costs as much as sixty texts run forward

    def __init__(self, view: ModelView) -> None:
        encoder, module = view.dataset.encoder, view.model.module
        assert isinstance(encoder, TextEncoder)
        assert isinstance(module, TextClassifier)
        self.view, self.encoder, self.site = view, encoder, view.model.verdict_sites[-1]
        self.swaps = _removals(len(view.x), view.recipe.seed)
        # Only after the pooling can the rest of the model be run from the site; else a path would cost the whole transformer each time.
        self.replay: Replay | None = None
        if module.is_vector(self.site):
            self.replay = replayer(view.model, view.x, self.site, view.captured.acts[self.site])
        texts = encoder.scrubbed(view.dataset.audit, view.regime.scrub)
        self.lines = list(texts[encoder.column].iloc[self.swaps.rows_m])

    def swapped(self, unit: tuple[str, ...]) -> Swapped | None:
        """What leaving a feature out changes; nothing where the tokens stay the same."""
        feature, site, before = self.view.proxies.by_name[unit[0]].feature, self.site, self.view.captured
        if feature is None or not feature.removable:
            return None
        rows = self.swaps.rows_m
        places, x = _written_without(feature, self.lines, self.view.x[rows], self.encoder)
        change = np.zeros((len(rows), 1, before.outputs.shape[1]))
        moved = np.zeros((len(rows), 1, before.acts[site].shape[1]), dtype=np.float32)
        if len(places):
            after = self._forward(x)
            change[places, 0] = after.outputs - before.outputs[rows[places]]
            moved[places, 0] = after.acts[site] - before.acts[site][rows[places]]
        return Swapped(change, moved)

    def _forward(self, x: Singles) -> Captured:
        return capture(replace(self.view.model, sites=(self.site,)), x) if self.view.forward is None else self.view.forward(x)

    def attributions(self, rows: Ints, direction_d: Floats, followed: Followed) -> tuple[Sequence[str], Attribution, Attribution] | str:
        """Layer integrated gradients of the probe's logit and of the output's log-odds, summed by token over the texts of each group."""
        if self.encoder.token_names is None:
            return "the tokenizer does not tell what its tokens are"
        model, x = self.view.model, self.view.x[rows]
        tokens, names = tokens_to_name(x, self.view.dataset.clusters[rows], self.encoder)
        if not names:
            return f"no token stands in the texts of {SMALLEST_CELL} people among those that were attributed"
        given = TextRows(x, followed.groups_n[rows], tokens, self.encoder.special)
        inside = attribute_tokens(model, given, (self.site, direction_d))
        outside = attribute_tokens(model, given, followed.output)
        if inside is None or outside is None:
            return "the transformer has no embedding of tokens that could be attributed to"
        return names, inside, outside


def _removals(n: int, root: int) -> Swaps:
    return draw_removals(n, _MOST_TEXTS, stream(root, "removals"))


def _written_without(feature: TextFeature, lines: Sequence[Any], x_mp: Singles, encoder: TextEncoder) -> tuple[Ints, Singles]:
    """Places of the texts whose tokens change when they are written without a feature, and their new tokens."""
    written = [feature.without(line) if isinstance(line, str) else line for line in lines]
    places = np.array([place for place, line in enumerate(lines) if isinstance(line, str) and written[place] != line], dtype=np.int64)
    if not len(places):
        return places, x_mp[:0]
    x = encoder.transform(pd.DataFrame({encoder.column: [written[place] for place in places]}))
    differs = (x != x_mp[places]).any(axis=1)
    return places[differs], x[differs]


def rewritten_texts(x_np: Singles, texts: pd.DataFrame, encoder: TextEncoder, plan: ProxyPlan, root: int) -> Singles:
    """Tokens of every text that a removal changes: what a frozen transformer has to run over once for all repetitions."""
    rows = _removals(len(x_np), root).rows_m
    lines = list(texts[encoder.column].iloc[rows])
    features = [proxy.feature for proxy in plan.proxies if proxy.feature is not None and proxy.feature.removable]
    return np.concatenate([x_np[:0], *(_written_without(feature, lines, x_np[rows], encoder)[1] for feature in features)])


def tokens_to_name(x_mp: Singles, people_m: Ints, encoder: TextEncoder) -> tuple[list[list[int]], list[str]]:
    """Names of tokens that at least eleven people's texts among these hold, after the token numbers of each name."""
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
