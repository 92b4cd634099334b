"""Finding estimates of a pack without going through all of them each time."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from proxyaudit.types import Estimate, Evidence

# The measure that readers know where several may decide: an output gap stands before an output leak.
_KNOWN = {"expressed": "gap"}
_PLAIN = ("leak", "leak_nonlinear", "gap", "effect", "learned_effect", "excess")


class Lookup:
    """The estimates of a pack by attribute, regime and channel, in the order of the pack."""

    def __init__(self, evidence: Evidence) -> None:
        self._numbers: dict[tuple[str | None, str, str], list[Estimate]] = {}
        self._attributes: dict[str | None, list[Estimate]] = {}
        for e in evidence.estimates:
            self._numbers.setdefault((e.attribute, e.regime, e.channel), []).append(e)
            self._attributes.setdefault(e.attribute, []).append(e)
        self._decided: dict[tuple[str, str], set[str]] = {}
        for f in evidence.findings:
            self._decided.setdefault((f.attribute, f.regime), set()).update(f.decided_by)

    def numbers(self, attribute: str | None, regime: str, channel: str) -> list[Estimate]:
        """All numbers of one channel."""
        return self._numbers.get((attribute, regime, channel), [])

    def of(self, attribute: str | None) -> list[Estimate]:
        """All numbers of one attribute."""
        return self._attributes.get(attribute, [])

    def first(self, attribute: str, regime: str, channel: str, measure: str) -> Estimate | None:
        """The first number of a measure."""
        return next((e for e in self.numbers(attribute, regime, channel) if e.measure == measure), None)

    def deciding(self, attribute: str, regime: str, channel: str, verdict_sites: Iterable[str] = ()) -> Estimate | None:
        """The one number that stands for a channel: the one that decided, else the main one; of several the largest."""
        found, sites = self.numbers(attribute, regime, channel), set(verdict_sites)
        decided = self._decided.get((attribute, regime), set())
        rules: tuple[Callable[[Estimate], bool], ...] = (
            lambda e: e.value is not None,
            lambda e: e.measure == _KNOWN.get(channel, e.measure),
            lambda e: e.state is not None,
            lambda e: e.site is None or not sites or e.site in sites,
            lambda e: e.id in decided,
            lambda e: e.measure in _PLAIN,
            lambda e: e.group is None,
        )
        for rule in rules:
            found = [e for e in found if rule(e)] or found
        return min(found, key=lambda e: (-(e.value or 0.0), e.id), default=None)

    def placebo(self, attribute: str, regime: str, channel: str, measure: str, sites: Iterable[str] = ()) -> Estimate | None:
        """What invented attributes reach in the models of ``regime``, if that was measured."""
        wanted = set(sites)
        found = (e for e in self.numbers(attribute, "placebo", channel) if e.reference_for == regime and e.measure == measure)
        return next((e for e in found if not wanted or e.site in wanted), None)

    def state(self, attribute: str, regime: str, channel: str) -> str:
        """The state of a channel over its numbers: present wins, then unknown, then absent."""
        states = {e.state for e in self.numbers(attribute, regime, channel)}
        return next((word for word in ("present", "unknown", "absent", "not_applicable") if word in states), "not_measured")

    def rows_needed(self, attribute: str, regime: str, channels: Iterable[str]) -> int | None:
        """The most rows that a number of these channels would need to show absence."""
        needed = (e.rows_needed for channel in channels for e in self.numbers(attribute, regime, channel) if e.rows_needed is not None)
        return max(needed, default=None)
