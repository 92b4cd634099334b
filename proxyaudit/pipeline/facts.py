"""Facts of a run: what its tasks measured, read from the cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from proxyaudit.channels.proxy_plan import people
from proxyaudit.estimates.facts import Facts, Run
from proxyaudit.pipeline.cache import Cache
from proxyaudit.pipeline.measure import read_placebos
from proxyaudit.pipeline.measurements import read_measurement
from proxyaudit.pipeline.prepared import Prepared
from proxyaudit.pipeline.work import Task


def read_facts(prepared: Prepared, tasks: Mapping[str, Sequence[Task]], cache: Cache, failures: Mapping[str, Sequence[str]]) -> Facts:
    """Everything that finished tasks measured."""
    dataset, inputs = prepared.dataset, tasks["synthesize"][0]
    runs = []
    for regime in prepared.regimes:
        mine = [task.digest for task in tasks["measure"] if task.regime == regime.name and cache.has("measure", task.digest)]
        measured = tuple(read_measurement(cache.folder("measure", digest)) for digest in mine)
        failed = tuple(failures.get(regime.name, ()))
        runs.append(Run(regime.name, measured, failed, regime.kind, regime.is_reference))
    return Facts(
        attributes=dataset.attributes,
        clusters_n=dataset.clusters,
        people_n=people(dataset, dataset.audit),
        labels_n=prepared.audit_labels(),
        classes=dataset.classes,
        followed=prepared.compared_groups(),
        sites=prepared.model.sites,
        verdict_sites=prepared.model.verdict_sites,
        unprofiled=tuple(prepared.model.unprofiled),
        margins=prepared.recipe.margins,
        runs=tuple(runs),
        inputs=read_measurement(cache.folder("inputs", inputs.digest)),
        placebos=read_placebos(prepared, cache, inputs.digest),
        pairs=prepared.proxies.pairs,
        columns=tuple(prepared.proxies.columns),
        text=dataset.text is not None,
        no_absence=tuple(prepared.plan.no_absence),
    )
