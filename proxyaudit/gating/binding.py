"""Whether a run is about what a policy expects: its very plan, tables and models, by their digests."""

from collections.abc import Mapping
from typing import Any

from proxyaudit.estimates.scope import hashes_of
from proxyaudit.gating.policy import Expect
from proxyaudit.secret import has_secret, keyed_hash


def unexpected(plan: Mapping[str, Any], expect: Expect) -> dict[str, str | None]:
    """By what is expected (plan, data, model): ``None`` where the run has just that, else what it has instead."""
    found: dict[str, str | None] = {}
    if expect.plan is not None:
        digest = str(plan.get("digest"))
        found["plan"] = None if digest.startswith(expect.plan) else f"the plan of the run is {digest}"
    hashes = hashes_of(plan)
    for what, wanted in (("data", expect.data), ("model", expect.model)):
        if wanted is None:
            continue
        own = hashes[what]
        known = {value: {value, keyed_hash(value) if has_secret() else value} for value in wanted}
        strangers = [f"'{name}' of the run is {value}" for name, value in own.items() if not any(value in ways for ways in known.values())]
        missing = [f"the run did not read {value}" for value, ways in known.items() if ways.isdisjoint(own.values())]
        told = [*strangers, *missing]
        found[what] = "; ".join([*told[:2], *([f"and {len(told) - 2} more"] if len(told) > 2 else [])]) or None
    return found
