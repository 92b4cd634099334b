"""The published numbers of an audit by what they are about, and what they amount to for one attribute in one regime."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, Literal

from proxyaudit.estimates.questions import all_questions, deciding_names
from proxyaudit.estimates.scope import Scope
from proxyaudit.estimates.states import Decision, combine, decide, deciding
from proxyaudit.types import Estimate, State

What = Literal["encoding", "use"]
_AT_VERDICT_SITES: Final = ("linear", "nonlinear", "beyond")


class Numbers:
    """Numbers of an audit within its scope."""

    def __init__(self, estimates: Iterable[Estimate], scope: Scope) -> None:
        self.scope = scope
        self._by_place: dict[tuple[str | None, str], list[Estimate]] = defaultdict(list)
        self._by_id: dict[str, Estimate] = {}
        for estimate in estimates:
            self._by_place[estimate.attribute, estimate.regime].append(estimate)
            self._by_id.setdefault(estimate.id, estimate)

    def own(self, attribute: str, regime: str) -> list[Estimate]:
        """The numbers that decide on an attribute in a regime."""
        return deciding(self._by_place[attribute, regime])

    def by_id(self, name: str) -> Estimate | None:
        """The number of this id."""
        return self._by_id.get(name)

    def find(self, channel: str, attribute: str | None, regime: str, **where: str | None) -> Estimate | None:
        """The first number with these coordinates."""
        coordinates = {"channel": channel, **where}
        found = (e for e in self._by_place[attribute, regime] if all(getattr(e, key) == wanted for key, wanted in coordinates.items()))
        return next(found, None)

    def all_of(self, channel: str, attribute: str | None, regime: str) -> list[Estimate]:
        """All numbers of a channel."""
        return [e for e in self._by_place[attribute, regime] if e.channel == channel]

    def gap(self, attribute: str, regime: str, measure: str = "gap") -> Estimate | None:
        """What the outputs show between groups."""
        return self.find("expressed", attribute, regime, measure=measure)

    def states(self, attribute: str, regime: str) -> dict[str, State]:
        """State of every channel over its numbers: present in any of them, absent only in all."""
        found: dict[str, list[Estimate]] = defaultdict(list)
        for estimate in self.own(attribute, regime):
            found[estimate.channel].append(estimate)
        return {name: self._everywhere(name, found[name]) for name in deciding_names()}

    def _everywhere(self, name: str, found: Sequence[Estimate]) -> State:
        """The state of a check; it is absent only where no site that the plan names for it is without a number."""
        state = self._state(name, [e.state for e in found if e.state is not None])
        others = tuple(site for site in self.scope.profile if site not in self.scope.verdict_sites)
        sites = self.scope.verdict_sites if name in _AT_VERDICT_SITES else others if name == "elsewhere" else ()
        left_out = set(sites) - {e.site for e in found} if self.scope.surface != "prompts" else set()
        # What would be read as "nothing there"; what bare activations cannot be asked is no omission.
        quiet = state == "absent" or (state == "not_applicable" and not _unasked(name, self.scope))
        return "unknown" if left_out and quiet else state

    def _state(self, name: str, found: Sequence[State]) -> State:
        if _unasked(name, self.scope):
            return "not_applicable"
        if self.scope.surface == "prompts":
            # What prompts did not ask stays open, so that nothing is ever called removed.
            state = combine(found)
            return "unknown" if state == "not_applicable" else state
        # A channel without a number was forgotten, unless a model may have nothing to ask it of.
        return combine(found) if found else "not_applicable" if all_questions()[name].may_lack else "unknown"

    def decision(self, attribute: str, regime: str) -> Decision:
        """What the channel states of an attribute in a regime amount to."""
        return decide(self.states(attribute, regime), surface=self.scope.surface)

    def strongest_linear(self, attribute: str, regime: str) -> Estimate | None:
        """The strongest linear leak at a verdict site; of activations, of a number cut into quarters too."""
        every = self.scope.surface == "activations"
        return strongest([e for e in self.own(attribute, regime) if e.channel == "linear" and (every or e.measure == "leak")])

    def compared(self, attribute: str, regime: str, what: What) -> tuple[Estimate, Estimate] | None:
        """The number of a regime, and that of real training, by which one says how the regime changed encoding or use."""
        real, surface = self.scope.real, self.scope.surface
        if real is None or regime == real:
            return None
        if surface == "activations":
            pair = self._activations(attribute, regime, real) if what == "encoding" else (None, None)
        elif surface == "prompts":
            pair = self._answers(attribute, regime, real) if what == "use" else (None, None)
        elif what == "encoding":
            mine = self.strongest_linear(attribute, regime)
            pair = mine, self.find("linear", attribute, real, site=mine.site, measure="leak") if mine else None
        else:
            pair = self._outputs(attribute, regime, real)
        return (pair[0], pair[1]) if pair[0] is not None and pair[1] is not None else None

    def _outputs(self, attribute: str, regime: str, real: str) -> tuple[Estimate | None, Estimate | None]:
        """The gap, unless only a reader of the outputs finds the attribute there."""
        gaps, read = ([self.gap(attribute, name, measure) for name in (regime, real)] for measure in ("gap", "output_leak"))
        shows, is_read = (any(e is not None and e.state == "present" for e in pair) for pair in (gaps, read))
        mine, theirs = read if is_read and not shows else gaps
        return mine, theirs

    def _activations(self, attribute: str, regime: str, real: str) -> tuple[Estimate | None, Estimate | None]:
        """The leak at the site where either of the two holds most: linear, unless only a non-linear reader finds it in real training."""
        present = {e.channel for e in self.own(attribute, real) if e.state == "present"}
        channel = "nonlinear" if "nonlinear" in present and "linear" not in present else "linear"
        mine, theirs = (strongest([e for e in self.own(attribute, name) if e.channel == channel]) for name in (regime, real))
        if mine is None or theirs is None:
            return None, None
        site = (mine if (mine.value or 0.0) >= (theirs.value or 0.0) else theirs).site
        return self.find(channel, attribute, regime, site=site), self.find(channel, attribute, real, site=site)

    def _answers(self, attribute: str, regime: str, real: str) -> tuple[Estimate | None, Estimate | None]:
        """The gap that is strongest in either model, between the same groups in the same prompts."""
        gaps = [e for name in (regime, real) for e in self.own(attribute, name) if e.channel == "expressed" and e.value is not None]
        top = max(gaps, key=answer_weight, default=None)
        if top is None:
            return None, None
        same = [e for e in gaps if (e.measure, e.subject, _groups(e)) == (top.measure, top.subject, _groups(top))]
        return (same[0], same[1]) if len(same) == 2 else (None, None)


def _unasked(name: str, scope: Scope) -> bool:
    """Whether bare activations cannot be asked this."""
    return scope.surface == "activations" and (not all_questions()[name].of_activations or (name == "beyond" and not scope.conditions))


def answer_weight(estimate: Estimate) -> tuple[bool, bool, bool, float]:
    """What is said of templates at large comes before what is said of one, probabilities before ranks, of equals the larger."""
    return estimate.state == "present", estimate.subject is None, estimate.measure != "ranking", estimate.value or 0.0


def _groups(estimate: Estimate) -> frozenset[str]:
    return frozenset((estimate.group or "").split(" minus "))


def largest_bound(estimates: Iterable[Estimate]) -> float | None:
    """The smallest leak that is certified absent in every one of these numbers; ``None`` where one of those that apply does not say."""
    bounds = [e.bound for e in estimates if e.state != "not_applicable"]
    known = [bound for bound in bounds if bound is not None]
    return max(known) if known and len(known) == len(bounds) else None


def strongest(estimates: Sequence[Estimate]) -> Estimate | None:
    """The estimate with the largest value, the first of equals; ``None`` if there is none."""
    return max(estimates, key=lambda e: float("-inf") if e.value is None else e.value) if estimates else None
