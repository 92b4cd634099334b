"""Sealed plans: a file that fixes plan, data and policy before any result, and what a run that names it does otherwise.

A run keeps the seal in ``environment.json``, whole, so that its digest can be made again from the run alone.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from proxyaudit.evidence.canonical import canonical_json, parse_json
from proxyaudit.evidence.moments import Moment, is_moment

_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_TOLD = 4  # deviations of one kind that are named


class Seal(BaseModel):
    """What a seal fixes; the file is the canonical JSON of it."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    seal: Literal["0.1"]  # version of this form
    name: str
    plan: _Digest
    policy: _Digest | None  # sha256 of the policy's file
    data: dict[str, str]  # digests of every file that the plan lists
    margins: dict[str, float]
    seed: int
    code: str
    versions: dict[str, str]
    made: Moment  # by the clock of whoever made it

    @property
    def content(self) -> bytes:
        """The file."""
        return canonical_json(self.model_dump(mode="json"))

    @property
    def digest(self) -> str:
        """SHA-256 of the file, by which a run names it."""
        return hashlib.sha256(self.content).hexdigest()


class NamedSeal(BaseModel):
    """The seal that a run was made under, as ``environment.json`` keeps it."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    sha256: _Digest
    document: Seal
    timestamp: str | None = None  # RFC 3161 answer over the file, base64 of its DER
    time: Moment | None = None  # when that answer says that the seal was there
    envelope: dict[str, Any] | None = None  # DSSE over the file, where it was signed

    def as_dict(self) -> dict[str, Any]:
        """As ``environment.json`` has it."""
        return {key: value for key, value in self.model_dump(mode="json").items() if value is not None}


def make_seal(plan: Mapping[str, Any], policy: str | None, made: str) -> Seal:
    """The seal of a plan, and of a policy by its digest."""
    taken = {key: plan[key] for key in ("name", "margins", "seed", "code", "versions")}
    return Seal(seal="0.1", plan=plan["digest"], policy=policy, data=dict(plan["hashes"]), made=made, **taken)


def parse_seal(data: bytes) -> Seal:
    """A seal from its file; ``ValueError`` says in a line what it is not."""
    try:
        found = Seal.model_validate(parse_json(data))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))[:80]}: {first['msg'][:120]}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if found.content != data:
        raise ValueError("spaces, order or numbers were changed")
    return found


def named_seal(environment: Mapping[str, Any]) -> NamedSeal | None:
    """The seal that a run names; its shape was checked when the run was read."""
    found = environment.get("seal")
    return None if found is None else NamedSeal.model_validate(found)


def deviations(named: NamedSeal, plan: Mapping[str, Any], started: Any) -> list[str]:
    """What a run that began at ``started`` does otherwise than its seal says; empty where the plan is the sealed one, and came first."""
    seal = named.document
    # What a seal says beside the plan's digest is read by people, so it must be that plan's too.
    found = [
        f"{key} {str(plan.get(key))[:80]} instead of {str(getattr(seal, key))[:80]}"
        for key in ("name", "seed")
        if plan.get(key) != getattr(seal, key)
    ]
    found += _differ("margin", plan.get("margins"), seal.margins)
    found += _differ("digest of", plan.get("hashes"), seal.data)
    found += _differ("version of", plan.get("versions"), seal.versions)
    found += ["the program is another one"] if plan.get("code") != seal.code else []
    if plan.get("digest") != seal.plan:
        found = [
            f"the plan is {str(plan.get('digest'))[:12]}, the sealed one {seal.plan[:12]}",
            *(found or ["the recipe asks for something else"]),
        ]
    began = started if is_moment(started) else None
    if began is None:
        found.append("when the run began is not told")
    for what, time in (("made", seal.made), ("time-stamped", named.time)):
        if time is not None and began is not None and began < time:
            found.append(f"the seal was {what} at {time}, after the run had begun ({began})")
    return found


def _differ(word: str, own: Any, sealed: Mapping[str, Any]) -> Iterable[str]:
    own = own if isinstance(own, Mapping) else {}
    names = sorted(name for name in {*own, *sealed} if own.get(name) != sealed.get(name))
    told = [f"{word} '{name}' {_brief(own.get(name))} instead of {_brief(sealed.get(name))}" for name in names[:_TOLD]]
    return told + ([f"and {len(names) - _TOLD} more"] if len(names) > _TOLD else [])


def _brief(value: Any) -> str:
    return "none" if value is None else str(value)[:20]
