"""Which texts a frozen transformer is run over, and the task that does it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from proxyaudit.activations.capture import capture
from proxyaudit.activations.frozen import AUDIT, FIRST, KEYS, first_site, pooled_texts, row_keys, text_module
from proxyaudit.cache import Cache, Task
from proxyaudit.channels.proxies.measure import rewritten_texts
from proxyaudit.data.text import TextEncoder
from proxyaudit.models.quantise import quantise
from proxyaudit.pipeline.prepared import Prepared
from proxyaudit.regimes import Regime


@dataclass(frozen=True)
class Encoded:
    """What is run through a frozen transformer at once."""

    rules: tuple[str, ...]  # of scrubbing
    release: str | None  # whose rows it is; of real rows None, and then the audit rows are among them
    trains: bool  # whether training rows are needed
    quantise: str | None = None


def encoded_sources(prepared: Prepared) -> dict[str, Encoded]:
    """What must be run through a frozen transformer, by name: a way of scrubbing, or a release."""
    if not prepared.recipe.model.frozen:
        return {}
    found: dict[str, Encoded] = {}
    for regime in prepared.regimes:
        name = audit_source(regime, prepared)
        if name is not None:
            trains = regime.needs_training and regime.kind != "release"
            found[name] = Encoded(regime.scrub, None, trains or (name in found and found[name].trains), regime.quantise)
    for name in prepared.releases:
        found[f"release {name}"] = Encoded((), name, True)
    return found


def audit_source(regime: Regime, prepared: Prepared) -> str | None:
    """Name of the audit texts as a regime meets them; ``None`` where a regime's transformer may be another one (checkpoints)."""
    original = prepared.regime(str(regime.of)) if regime.quantise is not None else regime
    if original.checkpoints:
        return None
    name = scrubbed_source(regime.scrub) if regime.scrub else "real texts"
    return name if regime.quantise is None else f"{name}, {regime.quantise}"


def scrubbed_source(rules: tuple[str, ...]) -> str:
    """Name of the real texts scrubbed by rules."""
    return "texts scrubbed of " + ", ".join(rules)


def sources_of(regime: Regime, prepared: Prepared) -> tuple[str, ...]:
    """Names of what a regime's training and capture look up; the first holds the audit rows."""
    name = audit_source(regime, prepared)
    if not prepared.recipe.model.frozen or name is None:
        return ()
    release = regime.of if regime.kind == "mixed" else regime.name
    return (name, *((f"release {release}",) if release in prepared.releases else ()))


def run(task: Task, prepared: Prepared, cache: Cache, folder: Path) -> None:
    """Run the frozen transformer over one source and keep what it makes."""
    source = encoded_sources(prepared)[task.regime]
    dataset = prepared.dataset
    model = prepared.model if source.quantise is None else quantise(prepared.model, source.quantise)
    assert isinstance(dataset.encoder, TextEncoder)
    rows = dataset.train if source.release is None else prepared.releases[source.release]
    x = dataset.encoder.transform(dataset.encoder.scrubbed(rows if source.trains else rows[:0], source.rules))
    first = first_site(model)
    stored: dict[str, NDArray[Any]] = {KEYS: row_keys(x), FIRST: pooled_texts(model, x)}
    if source.release is None:
        audit = dataset.encoder.transform(dataset.encoder.scrubbed(dataset.audit, source.rules))
        inner = tuple(site for site in model.sites if site == first or not text_module(model).is_vector(site))
        acts = capture(replace(model, sites=tuple(dict.fromkeys((*inner, first))), taps=text_module(model).fine_taps()), audit).acts
        stored |= {AUDIT + site: value for site, value in acts.items()}
        texts = dataset.encoder.scrubbed(dataset.audit, source.rules)
        without = rewritten_texts(audit, texts, dataset.encoder, prepared.proxies, prepared.recipe.seed)
        if len(without):
            without = without[np.unique(row_keys(without), axis=0, return_index=True)[1]]
            parts = [values for values in (stored[FIRST], pooled_texts(model, without)) if len(values)]
            stored |= {KEYS: np.concatenate([stored[KEYS], row_keys(without)]), FIRST: np.concatenate(parts)}
    save_file({key: np.ascontiguousarray(value) for key, value in stored.items()}, folder / "features.safetensors")
