"""What a finding says in plain words, and what would settle it: the one writer for audits of models, of activations and of prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from proxyaudit.estimates.ledger import significant
from proxyaudit.estimates.numbers import Numbers, answer_weight, strongest
from proxyaudit.estimates.questions import all_questions, names_of
from proxyaudit.estimates.states import Decision
from proxyaudit.types import Basis, Change, ChangeWord, Estimate, Origin

_CHANGES: Final[Mapping[ChangeWord, str]] = {
    "amplified": ", more than in {}",
    "reduced": ", less than in {}",
    "unchanged": ", about as much as in {}",
    "eliminated": ", unlike in {}",
}


@dataclass(frozen=True)
class Concluded:
    """What is to be put in words: fields as in :class:`~proxyaudit.types.Finding`; ``own`` are the numbers that decide."""

    attribute: str
    regime: str
    decision: Decision
    own: tuple[Estimate, ...]
    change: Change
    origin: Origin
    basis: Basis | None
    turned: bool


def sentence(c: Concluded, numbers: Numbers) -> str:
    """One plain sentence or two for people who do no machine learning."""
    surface = numbers.scope.surface
    word = c.change.encoding if surface == "activations" else c.change.use
    beside = _CHANGES.get(word, "").format("models trained on the real data" if surface == "outputs" else f"'{numbers.scope.real}'")
    if word == "eliminated" and surface != "activations":
        beside = f", no longer{beside}" if surface == "outputs" else ""
    if surface == "activations":
        return _of_activations(c, numbers, beside)
    return _of_prompts(c, beside) if surface == "prompts" else _of_models(c, numbers, beside) + _learnt_little(numbers, c.regime)


def would_settle(c: Concluded, numbers: Numbers) -> str | None:
    """What would settle an inconclusive finding, or complete one that lacks repetitions."""
    failures = numbers.scope.failures.get(c.regime)
    if failures:
        return f"run the failed repetitions again: {failures[0]}"
    if c.decision.verdict != "inconclusive":
        return None
    surface, of_use = numbers.scope.surface, names_of("use")
    if surface == "prompts":
        return _some(["what is inside was not read ('proxyaudit probe' does)", *_unsettled(c, of_use)])
    if surface == "activations":
        return _some(_unsettled(c)) or "more audit rows"
    if c.decision.at_least == "hidden":
        return "whether the model uses the feature: " + (_some(_unsettled(c, of_use)) or "more seeds and audit rows")
    return _some(_unsettled(c)) or "channels that this version does not measure"


def _some(reasons: Sequence[str]) -> str:
    """Reasons in one line; those that would make it long are counted, and none is cut."""
    said = [reasons[0]] if reasons else []
    for reason in reasons[1:]:
        if len("; ".join([*said, reason])) > 400:  # characters of reasons in one finding
            break
        said.append(reason)
    more = len(reasons) - len(said)
    return "; ".join(said) + (f"; and {more} more" if more else "")


def _unsettled(c: Concluded, channels: Iterable[str] | None = None) -> list[str]:
    """Why numbers are unknown, each reason once."""
    return sorted({e.reason for e in c.own if e.state == "unknown" and e.reason and (channels is None or e.channel in channels)})


def _of_models(c: Concluded, numbers: Numbers, beside: str) -> str:
    decision, task = c.decision, numbers.find("task", None, c.regime)
    models = len(task.seed_values) if task is not None else 0
    if models == 0:
        why = next(iter(numbers.scope.failures.get(c.regime, ())), "no models")
        return f"'{c.attribute}' could not be audited for '{c.regime}': every model failed ({why})."
    where = f"In {f'all {models} models' if models > 1 else 'the one model'} of regime '{c.regime}'"
    inside, gap = _inside(c, numbers), numbers.gap(c.attribute, c.regime)
    shown = "its outputs were not measured"
    if gap is not None and gap.value is not None:
        shown = f"predictions differ by {_span(gap, _number)} between groups ({gap.group})"
    if c.turned:
        beside = ", in the opposite direction to models trained on the real data"
    if decision.verdict == "exposed":
        read = next((e for e in c.own if (e.channel, e.measure, e.state) == ("expressed", "output_leak", "present")), None)
        if read is not None and (gap is None or gap.state != "present"):
            shown = f"a reader of the outputs alone recovers it (leak {_span(read, _number)}), while {shown}"
        questions = all_questions()
        acts = " and ".join(questions[name].shows for name in decision.mechanisms if questions[name].shows) or "can be read at the surface"
        inner = inside if decision.encoding == "linear" else "inside, what a linear reader finds is not settled"
        return f"{where}, '{c.attribute}' {acts}: {shown}{beside}; {inner}."
    if decision.verdict == "removed":
        return f"{where}, no channel of this audit found '{c.attribute}', and each could have found it at its margin."
    place = inside if decision.encoding == "linear" else f"it was found through: {', '.join(decision.mechanisms)}"
    if decision.verdict == "hidden":
        quiet = "neither shows in the outputs nor moves them when its trace is swapped"
        return f"{where}, '{c.attribute}' {quiet}, but is still inside: {place}."
    if decision.at_least == "hidden":
        return f"{where}, '{c.attribute}' is still inside: {place}. Whether the model uses it is not settled; {shown}."
    return f"For regime '{c.regime}' the data cannot tell whether '{c.attribute}' is still in the model; {shown}."


def _inside(c: Concluded, numbers: Numbers) -> str:
    linear = numbers.strongest_linear(c.attribute, c.regime)
    relayed = ", no more than such a network relays of its inputs by itself" if c.origin.encoding == "relayed" else ""
    if linear is None or linear.value is None:
        return f"its internal trace was not measured{relayed}"
    return f"a reader of the model's internal state recovers it (leak {_span(linear, _number)}){relayed}"


def _learnt_little(numbers: Numbers, regime: str) -> str:
    """A warning where the models of a regime know much less of the task than those trained on real data."""
    own, real = (numbers.find("task", None, name) for name in (regime, "real"))
    if own is None or own.value is None:
        return ""
    reference = real.value if real is not None and real.value is not None else 1.0
    if own.value - 0.5 >= (reference - 0.5) / 2 and own.value >= 0.55:
        return ""
    beside = f" against {reference:.2f} with real data" if real is not None else ""
    return f" Mind that these models learnt little of the task (AUROC {own.value:.2f}{beside}): quiet outputs prove little."


def _of_activations(c: Concluded, numbers: Numbers, beside: str) -> str:
    decision, where = c.decision, f"In the activations of '{c.regime}'"
    best = strongest([e for e in c.own if e.channel == "linear"])
    found, known = _with_leak(best), ", ".join(numbers.scope.conditions)
    if decision.verdict == "exposed":
        why = {
            "explained_by_label": f"; {known} explains it: nothing was found beyond that",
            "beyond_label": f"; it goes beyond what {known} explains",
        }.get(c.basis or "", "")
        read = f"can be read by a linear reader{found}{beside}{why}"
        return f"{where}, '{c.attribute}' {read}. Whoever gets these activations gets '{c.attribute}'."
    if decision.verdict == "hidden" or decision.at_least == "hidden":
        place = _with_leak(strongest([e for e in c.own if e.channel in decision.mechanisms and e.state == "present"]))
        kinds = {"nonlinear": "a non-linear reader recovers it", "beyond": f"it can be read once {known} is known"}
        how = " and ".join(kinds.get(name, f"it was found through: {name}") for name in decision.mechanisms)
        if decision.verdict == "hidden":
            return f"{where}, '{c.attribute}' is hidden: a linear reader finds nothing, but {how}{place}."
        return f"{where}, '{c.attribute}' is still inside: {how}{place}. Whether a linear reader finds it too is not settled."
    if decision.verdict == "removed":
        sites = len(numbers.scope.verdict_sites)
        looked = "the one site given" if sites == 1 else f"all {sites} sites given"
        limits = [e.detection_limit for e in c.own if e.channel == "linear" and e.detection_limit is not None]
        limit = f" A linear leak of {significant(max(limits), 2):.3f} would have been found in 95 % of cases." if limits else ""
        return f"{where}, no reader found '{c.attribute}' at {looked}, and each could have found it at its margin{beside}.{limit}"
    return f"The data cannot tell whether '{c.attribute}' is in the activations of '{c.regime}'{found}."


def _with_leak(best: Estimate | None) -> str:
    return "" if best is None or best.value is None else f", with a leak of {_span(best)} at '{best.site}'"


def _of_prompts(c: Concluded, beside: str) -> str:
    shown = max((e for e in c.own if e.channel == "expressed" and e.state == "present"), key=answer_weight, default=None)
    used = max((e for e in c.own if e.channel == "used" and e.state == "present"), key=lambda e: e.value or 0.0, default=None)
    parts = []
    if shown is not None:
        asked = shown.measure if shown.subject is None else f"{shown.measure}, template {shown.subject}"
        start = f"With nothing but the name changed, '{c.regime}' answers differently for groups of '{c.attribute}'"
        parts.append(f"{start}: {shown.group} {_span(shown)} in {asked}{beside}.")
    if used is not None:
        start = "It uses the group inside" if parts else f"'{c.regime}' uses the group of '{c.attribute}' inside"
        parts.append(f"{start}: moving names to the other group's place at {used.site} moves the continuation by {_span(used)}.")
    if parts:
        return " ".join(parts)
    gaps = [e for e in c.own if e.channel == "expressed"]
    if gaps and all(e.state == "absent" for e in gaps):
        return f"No prompt of this set showed a difference between groups of '{c.attribute}' in '{c.regime}'; what is inside was not read."
    return f"These prompts cannot tell whether '{c.regime}' treats groups of '{c.attribute}' differently."


def _decimals(value: float) -> str:
    return f"{value:.3f}"


def _number(value: float) -> str:
    return f"{significant(value, 2):.2f}" if abs(value) >= 0.1 else _decimals(value)


def _span(estimate: Estimate, show: Callable[[float], str] = _decimals) -> str:
    value, low, high = ("?" if number is None else show(number) for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} ({low} to {high})"
