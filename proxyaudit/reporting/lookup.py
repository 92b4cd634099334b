"""Finding estimates of a pack without going through all of them each time."""

from __future__ import annotations

from collections.abc import Iterable

from proxyaudit.types import Estimate, Evidence

__all__ = ["Lookup", "belongs", "channel_state", "deciding", "main_context"]


class Lookup:
    """The estimates of a pack by attribute, regime and channel, in the order of the pack."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.by_id = {e.id: e for e in evidence.estimates}
        self._cells: dict[tuple[str | None, str, str], list[Estimate]] = {}
        self._attributes: dict[str | None, list[Estimate]] = {}
        for e in evidence.estimates:
            self._cells.setdefault((e.attribute, e.regime, e.channel), []).append(e)
            self._attributes.setdefault(e.attribute, []).append(e)
        self._decided: dict[tuple[str, str], set[str]] = {}
        for f in evidence.findings:
            self._decided.setdefault((f.attribute, f.regime), set()).update(f.decided_by)

    def cell(self, attribute: str | None, regime: str, channel: str) -> list[Estimate]:
        """Return all numbers of one channel."""
        return self._cells.get((attribute, regime, channel), [])

    def of(self, attribute: str | None) -> list[Estimate]:
        """Return all numbers of one attribute."""
        return self._attributes.get(attribute, [])

    def decided(self, attribute: str, regime: str) -> set[str]:
        """Return the ids that decided a finding."""
        return self._decided.get((attribute, regime), set())

    def retention(self, attribute: str, regime: str, what: str) -> Estimate | None:
        """Return the ratio to real training of ``encoding`` or ``use``."""
        return next((e for e in self.cell(attribute, regime, "retention") if str(e.context).startswith(what)), None)


def deciding(evidence: Evidence | Lookup, attribute: str, regime: str, channel: str, verdict_sites: Iterable[str] = ()) -> Estimate | None:
    """Return the one number that stands for a channel: the one that decided, else the main one.

    Numbers that differ by context or group (within label, one class only) stand back behind the plain one.
    """
    lookup = evidence if isinstance(evidence, Lookup) else Lookup(evidence)
    decided = lookup.decided(attribute, regime)
    sites = set(verdict_sites)
    return min(
        lookup.cell(attribute, regime, channel),
        key=lambda e: (
            e.value is None,
            # An output gap and an output leak may both decide; the gap is the one that readers know.
            channel == "expressed" and e.context not in (None, "gap"),
            e.state is None,
            e.site is not None and bool(sites) and e.site not in sites,
            e.id not in decided,
            e.context is not None,
            e.group is not None,
            -(e.value or 0.0),
            e.id,
        ),
        default=None,
    )


def channel_state(evidence: Evidence | Lookup, attribute: str, regime: str, channel: str) -> str:
    """Return the state of a channel over its numbers: present wins, then unknown, then absent."""
    lookup = evidence if isinstance(evidence, Lookup) else Lookup(evidence)
    states = {e.state for e in lookup.cell(attribute, regime, channel)}
    return next((word for word in ("present", "unknown", "absent", "not_applicable") if word in states), "not_measured")


def belongs(placebo: Estimate, regime: str) -> bool:
    """Whether a placebo or floor speaks about ``regime`` (named at the start of its context)."""
    context = placebo.context or ""
    return context == regime or context.startswith(f"{regime}: ")


def main_context(e: Estimate) -> str:
    """Return what distinguishes a number, in words."""
    return "; ".join(part for part in (e.group, e.context) if part) or "main figure"
