"""What the parts of a pack beside its evidence must be like, where they are there: what reads them need not ask again."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from proxyaudit.evidence.seal import NamedSeal

_Texts = list[str]
_MISSING: Any = None  # a key may be missing; where it is there, it is not null unless its type says so


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


class _Sites(_Part):
    verdict: _Texts = _MISSING
    profile: _Texts = _MISSING


class _Attribute(_Part):
    name: str = _MISSING
    role: str = _MISSING
    kind: str = _MISSING
    levels: _Texts = _MISSING


class _Note(_Part):
    what: str = _MISSING
    why: str = _MISSING


class _Regime(_Part):
    name: str = _MISSING
    kind: str = _MISSING
    of: str | None = _MISSING
    ratio: float | None = _MISSING


class _Target(_Part):
    name: str = _MISSING
    classes: _Texts = _MISSING


class Plan(_Part):
    """``plan.json``."""

    digest: str = _MISSING
    run_id: str = _MISSING
    name: str = _MISSING
    code: str = _MISSING
    seed: int = _MISSING
    schema_version: str = _MISSING
    regimes: list[_Regime] = _MISSING
    references: _Texts = _MISSING
    sites: _Sites = _MISSING
    attributes: list[_Attribute] = _MISSING
    columns: _Texts = _MISSING
    rows: dict[str, Any] = _MISSING
    target: _Target = _MISSING
    margins: dict[str, float] = _MISSING
    level: float = _MISSING
    notes: list[_Note] = _MISSING
    hashes: dict[str, str] = _MISSING
    versions: dict[str, str] = _MISSING
    no_absence: _Texts = _MISSING
    language_models: list[dict[str, Any]] = _MISSING
    proxies: dict[str, Any] = _MISSING


class Recipe(_Part):
    """``recipe.yaml`` as far as reports and decisions read it; what is prepared again is validated as a recipe first."""

    name: str = _MISSING
    seed: int = _MISSING
    data: dict[str, Any] = _MISSING
    margins: dict[str, float] = _MISSING
    real: str | None = _MISSING
    untrained: str | None = _MISSING
    group: str | None = _MISSING


class Environment(_Part):
    """``environment.json``."""

    failures: _Texts = _MISSING
    failures_by_regime: dict[str, _Texts] = _MISSING
    seal: NamedSeal = _MISSING
    versions: dict[str, str] = _MISSING


_LARGEST = 1e100
_CHECKS: dict[str, type[_Part]] = {"plan.json": Plan, "recipe.yaml": Recipe, "environment.json": Environment}


def _is_beyond(document: Any) -> bool:
    """Whether a number of it cannot be squared or divided: sums would be infinite, and what counts with them would end in an error."""
    waiting = [document]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict | list):
            waiting += part.values() if isinstance(part, dict) else part
        elif isinstance(part, int | float) and abs(part) > _LARGEST:
            return True
    return False


def misshapen(name: str, document: dict[str, Any]) -> str | None:
    """What in a file of this name is not as it must be, or ``None``."""
    if _is_beyond(document):
        return f"a number is larger than {_LARGEST:g}"
    if name not in _CHECKS:
        return None
    try:
        _CHECKS[name].model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(str(part) for part in first['loc'])[:80]}: {first['msg'][:120]}"
    return None
