"""A recipe's plan with the odds of each verdict."""

import datetime
from pathlib import Path
from typing import Any

from proxyaudit.audits.plan.odds import verdict_odds
from proxyaudit.consent import Consent
from proxyaudit.pipeline.cost import trials_of
from proxyaudit.pipeline.plan import prepare_file
from proxyaudit.threads import one_thread


def plan_audit(recipe_path: Path, overrides: tuple[str, ...] = (), *, consent: Consent | None = None) -> dict[str, Any]:
    """A recipe's plan, the ``odds`` of each verdict and about how many ``trials`` of cures follow the tasks.

    Measures and writes nothing, takes and raises what ``run_audit`` does.
    """
    with one_thread():
        prepared = prepare_file(recipe_path, overrides, consent)
        trials = sum(sum(trials_of(prepared, regime)) for regime in prepared.regimes)
        plan = prepared.plan.as_dict()
        # Beside the plan: what a day says of today is no part of what was fixed.
        plan["notes"] = [*passed_note(prepared.recipe.retain_until), *plan["notes"]]
        return {**plan, "trials": trials, "odds": verdict_odds(prepared)}


def passed_note(day: datetime.date | None) -> list[dict[str, Any]]:
    """A note where the day until which rows are kept lies behind."""
    if day is None or day >= datetime.datetime.now(datetime.UTC).date():
        return []
    why = f"{day.isoformat()} has passed: what the run keeps of rows is due for 'purge' as soon as it ends"
    return [{"what": "retain_until", "why": why}]
