"""A recipe's plan with the odds of each verdict."""

from pathlib import Path
from typing import Any

from proxyaudit.audits.plan.odds import verdict_odds
from proxyaudit.consent import Consent
from proxyaudit.pipeline.plan import prepare_file
from proxyaudit.pipeline.stages import one_thread


def plan_audit(recipe_path: Path, overrides: tuple[str, ...] = (), *, consent: Consent | None = None) -> dict[str, Any]:
    """A recipe's plan and the ``odds`` of each verdict; measures and writes nothing, takes and raises what ``run_audit`` does."""
    with one_thread():
        prepared = prepare_file(recipe_path, overrides, consent)
        return {**prepared.plan.as_dict(), "odds": verdict_odds(prepared)}
