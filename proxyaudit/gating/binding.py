"""Whether a run is about what a policy expects: its very plan, tables and models, by their digests, and its seal."""

from collections.abc import Mapping
from typing import Any

from proxyaudit.estimates.scope import hashes_of
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.evidence.seal import deviations, named_seal
from proxyaudit.gating.policy import Expect, Sealed
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


def unsealed(pack: EvidencePack, wanted: Sealed, policy: str | None) -> str | None:
    """Why a run was not sealed as is wanted, or ``None``; ``policy`` is the digest of the policy that asks."""
    named = named_seal(pack.environment)
    if named is None:
        return "the run names no seal"
    if other := deviations(named, pack.plan, pack.environment.get("started")):
        return "; ".join(other)
    fixed = named.document.policy
    if wanted == "plan" or (fixed is not None and fixed == policy):
        return None
    return (
        "the seal fixes no policy"
        if fixed is None
        else f"the seal fixes the policy {fixed[:12]}, this one is {(policy or 'the default')[:12]}"
    )


def other_policy(pack: EvidencePack, policy: str | None) -> str | None:
    """A line where the seal of a run fixes another policy than the one that decides."""
    named = named_seal(pack.environment)
    fixed = None if named is None else named.document.policy
    return (
        None if fixed in (None, policy) else f"the seal of the run fixes another policy ({str(fixed)[:12]}) than the one that decides here"
    )
