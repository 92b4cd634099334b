"""Measure proxies of one model: of a table its columns, of texts their features."""

from __future__ import annotations

from proxyaudit.channels.base import ModelView
from proxyaudit.channels.proxies.column_measure import measure_association, measure_proxy_use
from proxyaudit.channels.proxies.text_measure import HabitTask, measure_habit_use
from proxyaudit.data.text import TextEncoder
from proxyaudit.data.verbatim_overlap import count_passages
from proxyaudit.estimates.record import Measurement


def measure(view: ModelView, out: Measurement) -> None:
    """What columns or text features carry in the model's own table, and what they do to its outputs; results go into ``out``."""
    dataset, root = view.dataset, view.recipe.seed
    if view.table is not None:
        measure_association(view.table, dataset, view.proxies, root, out, rows=False)
        if dataset.text is not None and view.regime.kind != "scrubbed":
            real = dataset.train[dataset.text]
            copied, by_chance = (count_passages(rows[dataset.text], real) for rows in (view.table, dataset.audit))
            out.numbers["passages"] = {"copied": copied, "made": len(view.table), "audit_copied": by_chance, "audit": len(dataset.audit)}
    followed = {name: (one.groups_n, one.output) for name, one in view.followed.items()}
    if isinstance(dataset.encoder, TextEncoder):
        texts = dataset.encoder.scrubbed(dataset.audit, view.regime.scrub)
        # Gradients through a transformer are dear, and a frozen one gives much the same in every repetition.
        how = HabitTask(root, followed, attributions=view.decides and (view.repetition == 0 or not view.frozen))
        measure_habit_use(view.model, view.captured, view.x, texts, dataset, view.proxies, how, out, view.forward)
        return
    attributions = view.decides
    measure_proxy_use(
        view.model, view.captured, view.x, dataset, view.proxies, root=root, followed=followed, attributions=attributions, out=out
    )
