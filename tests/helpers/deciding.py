"""States of drafts as a run gives them: published, decided from what is published, and put back on the drafts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from proxyaudit.estimates.ledger import Draft, Drafts, decide_ledger
from proxyaudit.types import Control


def decide_drafts(drafts: Sequence[Draft], controls: Sequence[Control] = ()) -> list[Draft]:
    """The drafts with their states and reasons; Holm's correction runs over those of a regime."""
    ledger = decide_ledger(Drafts(list(drafts), list(controls)))
    return [replace(draft, state=e.state, reason=e.reason) for draft, e in zip(drafts, ledger.estimates, strict=True)]
