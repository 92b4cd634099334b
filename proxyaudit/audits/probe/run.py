"""The audit of bare activations: no model, no training, only what is inside and who it is about."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd

from proxyaudit.access.age import check_recipients
from proxyaudit.activations.stored import Stored
from proxyaudit.arrays import Ints
from proxyaudit.audits.probe.inputs import ProbeInputs, ProbeRequest, check_request, make_inputs
from proxyaudit.audits.probe.labels import read_labels, settle_labels
from proxyaudit.audits.probe.stored import Found, draw, find_activations, take_rows
from proxyaudit.cache import Cache
from proxyaudit.channels.leak.estimate import estimate
from proxyaudit.channels.leak.large import measure_large_site
from proxyaudit.channels.leak.measure import measure_site
from proxyaudit.channels.leak.site_probe import ProbedArrays, Probing
from proxyaudit.channels.prominence.estimate import estimate as estimate_prominence
from proxyaudit.channels.prominence.measure import measure_site as measure_prominence
from proxyaudit.clusters.calls import Lost
from proxyaudit.data.frames import check_row_order
from proxyaudit.data.public_counts import public_count
from proxyaudit.data.reading import Told
from proxyaudit.digests import digest_of, file_digest
from proxyaudit.errors import InputError, TaskError
from proxyaudit.estimates.conclude import evidence_of
from proxyaudit.estimates.facts import Facts, Run
from proxyaudit.estimates.ledger import Drafts, decide_ledger
from proxyaudit.estimates.not_tested import standing_notes
from proxyaudit.estimates.record import Measurement
from proxyaudit.estimates.row_sums import row_parts, rows_digest
from proxyaudit.estimates.scope import read_scope
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.models.versions import versions
from proxyaudit.probes.conditioning import make_strata
from proxyaudit.progress import Progress, ProgressEvent
from proxyaudit.publication import check_out, environment_of, plan_without_training, run_once
from proxyaudit.recipe.effort import SETTLED_AT
from proxyaudit.recipe.plan import permutations_needed
from proxyaudit.recipe.recipe import AccessSpec, Margins
from proxyaudit.recipe.yaml import validated
from proxyaudit.secret import public_hashes
from proxyaudit.threads import one_thread
from proxyaudit.unfinished import Unfinished
from proxyaudit.workers import Workers

NAME = "probe"


def probe_files(
    named: Sequence[str],
    labels: Path,
    request: ProbeRequest,
    *,
    out: Path,
    jobs: int | None = None,
    progress: Progress | None = None,
    cache_root: Path | None = None,
) -> tuple[Path, EvidencePack, bool]:
    """Audit files ``NAME=FILE``: run folder, pack, and whether it was there; ``InputError`` before anything is written.

    A file is safetensors or numpy, a list of shards, or a folder (:mod:`proxyaudit.activations.layouts`).
    """
    files = _named_files(named)
    check_access(request.recipients)
    check_out(out)
    told = Told()
    table = read_labels(labels, told)
    found = find_activations(files, len(table), request)
    with one_thread():
        acts, kept, remarks = take_rows(found, table, request)
        inputs = make_inputs(acts, kept, request, str(labels), published=True, told=told, remarks=remarks)
        inputs = replace(inputs, fewer=found.size.fewer)
        del acts
    hashes = found.hashes(files) | {"labels": file_digest(labels)}
    plan = make_plan(inputs, request, hashes)
    most = jobs if found.held else min(jobs or joblib.cpu_count(), found.size.workers)
    return run_once(out, plan, lambda cache: probe_inputs(inputs, request, plan, cache, most, progress), cache_root)


def plan_files(named: Sequence[str], labels: Path, request: ProbeRequest) -> Found:
    """What an audit of files would read, and how large it is; of the activations only the headers are read. ``InputError`` as above."""
    files = _named_files(named)
    check_access(request.recipients)
    table = read_labels(labels, Told())
    found = find_activations(files, len(table), request)
    check_request({name: layout.sites for name, layout in found.layouts.items()}, table, request, str(labels))
    draw(found, table, request)
    return found


def as_regimes(activations: Any) -> Any:
    """Activations by regime and site: one array is the site ``activations`` of a regime ``model``, arrays by site are that regime.

    Anything else is left as it is, to be refused where it is checked.
    """
    if not isinstance(activations, Mapping):
        return {"model": {"activations": activations}} if hasattr(activations, "shape") else activations
    of_sites = bool(activations) and all(hasattr(values, "shape") for values in activations.values())
    return {"model": activations} if of_sites else activations


def probe_arrays(
    activations: Any,
    labels: pd.DataFrame,
    request: ProbeRequest,
    *,
    jobs: int | None = None,
    published: bool = False,
) -> EvidencePack:
    """Audit activations in memory, as :func:`as_regimes` takes them; writes nothing.

    What is to be ``published`` says so here, and a few people then sit out. Raises ``InputError`` if arrays or labels do not fit.
    """
    told = Told()
    labels = settle_labels(labels, told)
    regimes = as_regimes(activations)
    check_row_order(_frames(regimes), labels)
    with one_thread():
        inputs = make_inputs(regimes, labels, request, published=published, told=told)
    parts = {regime: [[site, joblib.hash(values)] for site, values in sites.items()] for regime, sites in inputs.acts.items()}
    hashes = {f"activations {regime}": digest_of(part) for regime, part in parts.items()}
    return probe_inputs(inputs, request, make_plan(inputs, request, hashes), None, jobs, None)


def _frames(regimes: Any) -> Iterator[tuple[str, Any]]:
    for regime, sites in regimes.items() if isinstance(regimes, Mapping) else ():
        for site, values in sites.items() if isinstance(sites, Mapping) else ():
            yield f"regime '{regime}', site '{site}'", values


def _named_files(activations: Sequence[str]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for text in activations:
        name, equals, path = text.partition("=")
        if not equals or not name or not path:
            mend = "write e.g. --activations real=acts.safetensors"
            raise InputError(f"'{text[:80]}' is not NAME=FILE", where="--activations", mend=mend)
        if name in files:
            raise InputError(f"two regimes are named '{name}'", where="--activations", mend="give each file a name of its own")
        files[name] = Path(path)
    return files


def make_plan(inputs: ProbeInputs, request: ProbeRequest, hashes: dict[str, str]) -> dict[str, Any]:
    """Everything that is fixed before anything is measured, with its digest."""
    described, sites = _described(request), list(next(iter(inputs.acts.values())))
    cells = max(1, len(inputs.attributes)) * len(sites) * (3 if inputs.conditions else 2)
    back = np.argsort(inputs.places)  # the order of the file: activations decide the order that rows are measured in
    codes = (np.asarray(a.codes, dtype=np.float64)[back].tobytes() for a in inputs.attributes)
    own = {
        "seed": request.seed,
        "references": ["floor"],
        "sites": {"verdict": sites, "profile": sites},
        "attributes": [a.describe() for a in inputs.attributes],
        **({"unfit": inputs.unfit} if inputs.unfit else {}),
        "rows": {"audit": public_count(len(inputs.clusters))},
        "audit_rows": rows_digest(inputs.clusters[back], *codes),
        "margins": described["margins"],
        "cells": cells,
        "permutations": min(permutations_needed(cells), 1999),
        "condition_on": list(request.condition_on),
        "notes": [note.model_dump() for note in inputs.notes],
        "hashes": public_hashes(hashes),
        "versions": versions(),
    }
    return plan_without_training(request.name, inputs.acts, "activations", described, **own)


def _described(request: ProbeRequest) -> dict[str, Any]:
    asked = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(request).items()}
    # A path, what the rows that are kept tell, and what stands beside.
    asked = {name: value for name, value in asked.items() if name not in ("intersections", "recipients", "mask", "memory")}
    if asked["pool"] is None:  # what was not said leaves the digest as it was
        del asked["pool"]
    more: dict[str, Any] = {"intersections": [list(names) for names in request.intersections]} if request.intersections else {}
    more |= {"access": {"recipients": list(request.recipients)}} if request.recipients else {}
    return {**asked, "margins": request.margins.model_dump(include={"leak", "nonlinear"}), **more}


def check_access(recipients: Sequence[str]) -> None:
    """Refuse (``InputError``) what is no age recipient, or given twice, before anything is read."""
    if recipients:
        validated(AccessSpec, {"recipients": list(recipients)}, where="--recipient", mend="give the public key of an age identity")
        check_recipients(recipients)


def probe_inputs(
    inputs: ProbeInputs, request: ProbeRequest, plan: dict[str, Any], cache: Cache | None, jobs: int | None, progress: Progress | None
) -> EvidencePack:
    """Measure every site of every regime and put the evidence together; ``TaskError`` if a site could not be measured."""
    started = time.time()
    columns = list(inputs.conditions.values())
    strata = {a.name: make_strata(columns, a.codes, a.classes) for a in inputs.attributes} if columns else {}
    # The activations are the surface here: where a linear reader surely finds it, it is exposed whatever others say.
    asked_from = 0.0 if request.condition_on else SETTLED_AT
    probing = Probing(
        request.seed, request.margins, plan["permutations"], strata=strata, effort=True, unless_linear=asked_from, numbers_too=False
    )
    rows = ProbedArrays(inputs.attributes, inputs.clusters, inputs.fewer)
    todo = [(regime, site) for regime, sites in inputs.acts.items() for site in sites] if inputs.attributes else []
    calls = [(inputs.acts[regime][site], site, digest_of([plan["digest"], regime, site])) for regime, site in todo]
    results: dict[int, Measurement] = {}
    with Workers(max(1, min(jobs or joblib.cpu_count(), len(todo))), shared=(rows, probing, cache)) as workers:
        for place, result in workers.run("proxyaudit.audits.probe.run:measure_one", calls):
            regime, site = todo[place]
            if isinstance(result, Lost):
                raise TaskError(f"site '{site}' of '{regime}' could not be measured: {result.why}")
            results[place] = result
            if progress is not None:
                progress(ProgressEvent("measure", len(results), len(todo), f"{regime}, {site}: done"))
    measured = {regime: Measurement() for regime in inputs.acts}
    for place, (regime, _) in enumerate(todo):
        measured[regime].merge(results[place])
    runs = [Run(regime, (found,) if todo else ()) for regime, found in measured.items()]
    sites, margins, beyond = tuple(plan["sites"]["verdict"]), Margins(**plan["margins"]), ", ".join(inputs.conditions)
    about = (inputs.attributes, inputs.clusters, inputs.clusters)
    facts = Facts(*about, sites, sites, margins, tuple(runs), bare=True, beyond=beyond, doubts=inputs.doubts)
    facts = replace(facts, real=request.real, untrained=request.untrained)
    scope = read_scope(plan, _described(request), {})
    ledger = decide_ledger(Drafts().extend((estimate_prominence(facts), estimate(facts))), roles=scope.roles)
    evidence, sums = evidence_of(ledger, scope, plan, (*standing_notes(scope), *inputs.notes)), row_parts(ledger, inputs.places)
    return EvidencePack(evidence, plan, _described(request), environment_of(started, workers.count, versions()), row_sums=sums)


def measure_one(acts_nd: Any, site: str, digest: str, rows: ProbedArrays, probing: Probing, cache: Cache | None) -> Measurement:
    """Measure one site in this process, or read what an interrupted run has measured; ``TaskError`` if it cannot be measured."""
    if cache is not None and cache.has(NAME, digest):
        return Measurement.read(cache.folder(NAME, digest))
    unfinished = None if cache is None else Unfinished(cache, digest)
    out = Measurement() if unfinished is None else unfinished.out
    place: Ints | None = None
    try:
        with one_thread():
            if isinstance(acts_nd, Stored) and rows.fewer is not None:
                acts, attributes, place = measure_large_site(lambda part: np.asarray(acts_nd.take(part)), rows, probing, site=site, out=out)
            else:
                acts, attributes = np.asarray(acts_nd), rows.attributes  # what lies on disk is read here
                measure_site(acts, rows, probing, site=site, placebos={}, out=out)
            measure_prominence(acts, attributes, rows.clusters, place, site=site, repetition=0, placebos={}, full=True, out=out)
    except ValueError as error:
        raise TaskError(f"site '{site}' could not be measured: {error}") from None
    if cache is not None and unfinished is not None:
        cache.commit(NAME, digest, out.write)
        unfinished.forget()
    return replace(out, keep=None)
