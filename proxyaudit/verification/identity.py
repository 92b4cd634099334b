"""Identity of a run: its digest made again from plan and recipe, and everything that is said twice."""

from __future__ import annotations

from proxyaudit.digests import digest_of
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.evidence.plans import entries
from proxyaudit.types import SCHEMA_VERSION

# Written beside the digest, not part of it.
_BESIDE = ("digest", "run_id", "code", "estimated_minutes")


def identity_problems(pack: EvidencePack) -> list[str]:
    """What plan, recipe and evidence say differently."""
    run, plan, recipe = pack.evidence.run, pack.plan, pack.recipe
    pairs = {
        "id": (run.id, plan.get("run_id")),
        "name": (run.name, plan.get("name")),
        "plan_digest": (run.plan_digest, plan.get("digest")),
        "seed": (run.seed, plan.get("seed")),
        "versions": (run.versions, plan.get("versions")),
    }
    problems = [f"evidence.json: {key} of the run is not that of plan.json" for key, (said, planned) in pairs.items() if said != planned]
    if plan.get("run_id") != str(plan.get("digest"))[:12]:
        problems.append("plan.json: the run id is not the head of the digest")
    if pack.evidence.schema_version != plan.get("schema_version", SCHEMA_VERSION):
        problems.append("evidence.json: the schema version is not that of plan.json")
    for key in ("name", "seed"):
        if key in recipe and recipe[key] != plan.get(key):
            problems.append(f"recipe.yaml: {key} is not that of plan.json")
    margins = recipe.get("margins")
    if isinstance(margins, dict) and margins != plan.get("margins"):
        problems.append("recipe.yaml: the margins are not those of plan.json")
    said = {(item.what, item.why) for item in pack.evidence.not_tested}
    for note in entries(plan, "notes"):
        if (note.get("what"), note.get("why")) not in said:
            problems.append(f"evidence.json: not_tested leaves out {str(note.get('what'))[:80]!r}, which plan.json notes")
    failures = pack.environment.get("failures") or []
    if (run.status == "partial") != bool(failures):
        problems.append(f"evidence.json: the run is {run.status}, environment.json lists {len(failures)} failures")
    by_regime = pack.environment.get("failures_by_regime", {})
    if "failures_by_regime" in pack.environment and failures != [line for lines in by_regime.values() for line in lines]:
        problems.append("environment.json: the failures are not those of its regimes")
    return problems


def digest_problems(pack: EvidencePack) -> list[str]:
    """Whether plan and recipe still have the digest that names the run."""
    plan = pack.plan
    if not isinstance(plan.get("code"), str):
        return ["plan.json: it does not say which code made it"]
    document = {"plan": {k: v for k, v in plan.items() if k not in _BESIDE}, "recipe": pack.recipe, "code": plan["code"]}
    same = digest_of(document, default=str) == plan.get("digest")
    return [] if same else ["plan.json: the digest is not that of plan.json and recipe.yaml"]
