"""Planning: everything that is fixed before anything is measured, and its digest."""

from dataclasses import replace
from pathlib import Path

from proxyaudit.access.age import check_recipients
from proxyaudit.channels.contexts import check_contexts
from proxyaudit.channels.localisation.tried import describe_localisation
from proxyaudit.channels.proxies.discover import discover
from proxyaudit.channels.proxy_plan import ProxyPlan
from proxyaudit.consent import Consent
from proxyaudit.data.odd_releases import odd_releases
from proxyaudit.data.public_counts import public_count
from proxyaudit.data.releases import release_notes, unseen_of
from proxyaudit.digests import code_digest, digest_of
from proxyaudit.estimates.row_sums import rows_digest
from proxyaudit.evidence.manifest import is_complete
from proxyaudit.models.kinds import model_hashes, model_kind
from proxyaudit.models.module import code_of, network_of
from proxyaudit.models.places import Outline
from proxyaudit.models.versions import versions
from proxyaudit.pipeline.cost import minutes
from proxyaudit.pipeline.prepared import Inputs, Prepared, load_inputs
from proxyaudit.recipe.effort import left_out
from proxyaudit.recipe.plan import UNEVEN, Plan, permutations_needed
from proxyaudit.recipe.recipe import Recipe, load_recipe
from proxyaudit.regimes import few_steps, lone_tables
from proxyaudit.stats.intervals import LEVEL
from proxyaudit.synthesizers.lineage import trace_language_models
from proxyaudit.types import SCHEMA_VERSION, NotTested


def prepare(recipe: Recipe, base: Path) -> Prepared:
    """Load, check and expand everything, measure and write nothing; ``InputError`` for whatever would make a task fail later."""
    inputs, outline, make = load_inputs(recipe, base)
    dataset, proxies = discover(recipe, inputs.dataset)
    check_contexts(recipe.signatures, dataset)
    recipe.check_outcome(dataset.classes)
    inputs = replace(inputs, dataset=replace(dataset, notes=(*dataset.notes, *inputs.notes)))
    return Prepared(**vars(inputs), make=make, outline=outline, proxies=proxies, plan=make_plan(inputs, outline, proxies))


def prepare_file(recipe_path: Path, overrides: tuple[str, ...] = (), consent: Consent | None = None) -> Prepared:
    """:func:`prepare` for a recipe file; consent to execute what it names is not asked for where it is left out."""
    recipe, base = load_recipe(recipe_path, overrides), Path(recipe_path).resolve().parent
    check_recipients(recipe.access.recipients if recipe.access is not None else ())
    if consent is not None:
        consent.require(code_of(recipe, base), delivered=is_complete(base), network=network_of(recipe))
    return prepare(recipe, base)


def make_plan(inputs: Inputs, outline: Outline, proxies: ProxyPlan) -> Plan:
    """The plan of an audit whose inputs are loaded."""
    recipe, dataset, regimes, size = inputs.recipe, inputs.dataset, inputs.regimes, inputs.size
    lineage = trace_language_models(recipe, dataset, inputs.base)
    cells = len(dataset.attributes) * (len(outline.sites) + 3)
    effort = [NotTested(what=what, why=why) for what, why in left_out(recipe.effort, max(map(inputs.seeds_of, regimes)))]
    most = round(UNEVEN * minutes(replace(inputs, repetitions=inputs.repetitions.at_most()), len(outline.sites)), 1)
    rows = {"train": len(dataset.train), "audit": len(dataset.audit), "training_size": size}
    notes = (*few_steps(recipe, size), *odd_releases(dataset, inputs.releases), *_unread(inputs, outline), *dataset.notes)
    notes = (*notes, *release_notes(dataset, inputs.releases), *lineage.notes, *effort, *lone_tables(recipe, regimes))
    plan = Plan(
        name=recipe.name,
        seed=recipe.seed,
        seeds=recipe.seeds if isinstance(recipe.seeds, int) else recipe.seeds.model_dump(exclude_none=True),
        regimes=[regime.describe(size) for regime in regimes if not regime.is_reference],
        references=[*(regime.name for regime in regimes if regime.is_reference), "placebo", "inputs", "floor"],
        sites={"verdict": list(outline.verdict_sites), "profile": list(outline.sites)},
        attributes=[a.describe() for a in dataset.attributes],
        proxies=proxies.describe(),
        localisation=describe_localisation(),
        columns=list(dataset.encoder.columns) if dataset.text is None else [dataset.text],
        rows={name: public_count(n) for name, n in rows.items()},
        audit_rows=rows_digest(dataset.clusters, dataset.hashes["audit"]),
        holdout=dataset.holdout,
        target=dataset.read.describe(dataset.target),
        margins=recipe.margins.model_dump(),
        level=LEVEL,
        cells=cells,
        permutations=permutations_needed(cells),
        tasks=1
        + sum(2 * inputs.seeds_of(r) + (len(inputs.repetitions.tables_of(r.name)) if r.kind == "synthetic" else 0) for r in regimes),
        notes=[note.model_dump() for note in notes],
        hashes={**dataset.hashes, **model_hashes(recipe, inputs.base), **lineage.hashes},
        versions=versions(*model_kind(recipe.model).packages, text=dataset.text is not None),
        schema_version=SCHEMA_VERSION,
        language_models=lineage.described,
        no_absence=_without_absence(inputs),
        input_encoding=recipe.model.input_encoding,
        repetitions={} if isinstance(recipe.seeds, int) else {"regimes": inputs.repetitions.describe(), "minutes_at_most": most},
    )
    # Of what the run directory holds, and nothing else: `verify` makes the digest again from it.
    code, settings = code_digest(), recipe.published()
    digest = digest_of({"plan": plan.content(), "recipe": settings, "code": code})
    return replace(plan, digest=digest, code=code, estimated_minutes=round(UNEVEN * minutes(inputs, len(outline.sites)), 1))


def _unread(inputs: Inputs, outline: Outline) -> list[NotTested]:
    """What inside the blocks is not read, with the option that reads it and what that takes."""
    if not outline.unread:
        return []
    now, then = len(outline.sites), outline.finest
    cost = f"{then - now} more places, about {minutes(inputs, then):g} minutes instead of {minutes(inputs, now):g}"
    why = f"not asked, only what they add up to after each layer; 'sites: {{profile: everything}}' asks them ({cost})"
    return [NotTested(what=outline.unread, why=why)]


def _without_absence(inputs: Inputs) -> list[str]:
    """Regimes whose rows the encoder sees too little of to call anything absent."""
    dataset, releases = inputs.dataset, inputs.releases
    blind = {name for name, rows in releases.items() if any(found.bars_absence for found in unseen_of(dataset, name, rows))}
    everywhere = any(found.bars_absence for found in dataset.unseen)
    barred: list[str] = []
    for regime in inputs.regimes:
        if everywhere or not {regime.name, regime.of}.isdisjoint({*blind, *barred}):
            barred.append(regime.name)
    return barred
