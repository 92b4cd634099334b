"""What a finding says in plain words, and what would settle it: the one writer for audits of models, of activations and of prompts."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from proxyaudit.estimates.numbers import Numbers, answer_weight, largest_bound, strongest
from proxyaudit.estimates.questions import all_questions
from proxyaudit.estimates.rounding import significant
from proxyaudit.estimates.states import Decision
from proxyaudit.estimates.task import AUROC, YARDSTICKS, three_digits
from proxyaudit.estimates.training import training_sentence
from proxyaudit.names import in_short
from proxyaudit.types import Basis, Change, ChangeWord, Estimate, Origin, Training

_CHANGES: Final[Mapping[ChangeWord, str]] = {
    "amplified": ", more than in {}",
    "reduced": ", less than in {}",
    "unchanged": ", about as much as in {}",
    "eliminated": ", unlike in {}",
}
_READ_OUT: Final = ("output_leak", "output_leak_in_two_parts")  # by a linear reader of outputs
# A label that depends on the attribute and on what the model holds ties the two together among equal labels: a collider.
_COLLIDER: Final = "; where {} depends on it, that is so even if nothing of it is inside"


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
    training: Training | None = None


def sentence(c: Concluded, numbers: Numbers) -> str:
    """A few plain sentences for people who do no machine learning: what training did, then what is there."""
    gain = numbers.by_id(c.training.gain) if c.training is not None and c.training.gain is not None else None
    source = f"the data of '{c.regime}'" if numbers.scope.surface == "activations" else f"'{c.regime}'"
    first = training_sentence(c.training, gain, c.attribute, source)
    return f"{first} {_what_is_there(c, numbers)}" if first else _what_is_there(c, numbers)


def _what_is_there(c: Concluded, numbers: Numbers) -> str:
    surface = numbers.scope.surface
    word = c.change.encoding if surface == "activations" else c.change.use
    beside = _CHANGES.get(word, "").format("models trained on the real data" if surface == "outputs" else f"'{numbers.scope.real}'")
    if word == "eliminated" and surface != "activations":
        beside = f", no longer{beside}" if surface == "outputs" else ""
    if surface == "activations":
        return _of_activations(c, numbers, beside)
    return _of_prompts(c, beside) if surface == "prompts" else _of_models(c, numbers, beside) + _learnt_little(numbers, c.regime)


def _of_models(c: Concluded, numbers: Numbers, beside: str) -> str:
    decision, task = c.decision, numbers.find("task", None, c.regime)
    models = len(task.seed_values) if task is not None else 0
    if models == 0:
        why = next(iter(numbers.scope.failures.get(c.regime, ())), "no models")
        return f"'{c.attribute}' could not be audited for '{c.regime}': every model failed ({why})."
    count = {1: "the one model", 2: "both models"}.get(models, f"all {models} models")
    where = f"In {count} of regime '{c.regime}'"
    inside, gap = _inside(c, numbers), numbers.gap(c.attribute, c.regime)
    shown = "its outputs were not measured"
    if gap is not None and gap.value is not None:
        shown = f"predictions differ by {_span(gap, _number)}{_in_units(gap, numbers)} between groups ({gap.group})"
    if c.turned:
        beside = ", in the opposite direction to models trained on the real data"
    if decision.verdict == "exposed":
        read = next((e for e in c.own if (e.channel, e.state) == ("expressed", "present") and e.measure in _READ_OUT), None)
        if read is not None and (gap is None or gap.state != "present"):
            shown = f"a reader of the outputs alone recovers it (leak {_span(read, _number)}), while {shown}"
        questions = all_questions()
        acts = " and ".join(questions[name].shows for name in decision.mechanisms if questions[name].shows) or "can be read at the surface"
        inner = inside if decision.encoding == "linear" else "inside, what a linear reader finds is not settled"
        return f"{where}, '{c.attribute}' {acts}: {shown}{beside}; {inner}."
    if decision.verdict == "removed":
        found = f"no channel of this audit found '{c.attribute}', and each could have found it at its margin"
        return f"{where}, {found}. {_read_at(numbers.scope.profile)}{_as_sentence(_at_most(c))}"
    place = inside if decision.encoding == "linear" else f"it was found through: {', '.join(decision.mechanisms)}"
    if _only_beyond(decision):
        place = "by itself it tells nothing of it, but whoever holds the true label too can read it" + _COLLIDER.format("the label")
    if decision.verdict == "hidden":
        quiet = "neither shows in the outputs nor moves them when its trace is swapped"
        return f"{where}, '{c.attribute}' {quiet}, but is still inside: {place}."
    if decision.at_least == "hidden":
        return f"{where}, '{c.attribute}' is at least hidden: {place}. Whether the model uses it is not settled; {shown}."
    known = _at_most(c)
    open_ = f"the data cannot tell whether '{c.attribute}' is still in the model{f': {known}' if known else ''}"
    return f"For regime '{c.regime}' {open_}; {shown}."


def _in_units(gap: Estimate, numbers: Numbers) -> str:
    """Of a number that the difference is in its standard deviations, and what that is in units of its own."""
    sd = numbers.scope.sd
    if sd is None or gap.value is None:
        return ""
    return f" standard deviations of '{numbers.scope.target}', {three_digits(abs(gap.value) * sd)} in its own units,"


def _read_at(sites: Sequence[str]) -> str:
    """Which places inside a model the word speaks of."""
    count = "1 place was" if len(sites) == 1 else f"{len(sites)} places were"
    return f"Inside, {count} read, each by itself: {in_short(sites)}."


def _inside(c: Concluded, numbers: Numbers) -> str:
    linear = numbers.strongest_linear(c.attribute, c.regime)
    relayed = ", no more than such a network relays of its inputs by itself" if c.origin.encoding == "relayed" else ""
    if linear is None or linear.value is None:
        return f"its internal trace was not measured{relayed}"
    return f"a reader of the model's internal state recovers it (leak {_span(linear, _number)}){relayed}"


def _learnt_little(numbers: Numbers, regime: str) -> str:
    """A warning where the models of a regime know much less of the task than those trained on real data."""
    own, real = (numbers.find("task", None, name) for name in (regime, "real"))
    by = YARDSTICKS.get(own.measure) if own is not None else None
    if own is None or own.value is None or by is None:
        return ""
    if by.is_turned(own.value):
        return f" Mind that these models rank the classes the other way round (AUROC {own.value:.2f}): given models may have them swapped."
    # Of nothing real the best AUROC there is; no number can be told as well as that.
    reference = real.value if real is not None and real.value is not None else 1.0 if by is AUROC else by.guessing
    if not by.is_little(own.value, reference):
        return ""
    beside = f" against {reference:.2f} with real data" if real is not None else ""
    return f" Mind that these models learnt little of the task ({by.word} {own.value:.2f}{beside}): quiet outputs prove little."


def _of_activations(c: Concluded, numbers: Numbers, beside: str) -> str:
    decision, where = c.decision, f"In the activations of '{c.regime}'"
    found, known = _with_leak(strongest([e for e in c.own if e.channel == "linear"])), ", ".join(numbers.scope.conditions)
    if decision.verdict == "exposed":
        why = {
            "explained_by_label": f"; {known} explains it: nothing was found beyond that",
            "beyond_label": f"; it goes beyond what {known} explains",
        }.get(c.basis or "", "")
        read = f"can be read by a linear reader{found}{beside}{why}"
        return f"{where}, '{c.attribute}' {read}. Whoever gets these activations gets '{c.attribute}'."
    if decision.verdict == "hidden" or decision.at_least == "hidden":
        place = _with_leak(strongest([e for e in c.own if e.channel in decision.mechanisms and e.state == "present"]))
        kinds = {"nonlinear": "a non-linear reader recovers it", "beyond": f"whoever holds {known} too can read it"}
        how = " and ".join(kinds.get(name, f"it was found through: {name}") for name in decision.mechanisms)
        if decision.verdict == "hidden" and _only_beyond(decision):
            return f"{where}, '{c.attribute}' is hidden: by themselves they tell nothing of it, but {how}{place}{_COLLIDER.format(known)}."
        if decision.verdict == "hidden":
            return f"{where}, '{c.attribute}' is hidden: a linear reader finds nothing, but {how}{place}."
        return f"{where}, '{c.attribute}' is at least hidden: {how}{place}. Whether a linear reader finds it too is not settled."
    if decision.verdict == "removed":
        sites = len(numbers.scope.verdict_sites)
        looked = "the one site given" if sites == 1 else f"any of the {sites} sites given, each read by itself"
        limits = [e.detection_limit for e in c.own if e.channel == "linear" and e.detection_limit is not None]
        limit = f" A linear leak of {significant(max(limits), 2):.3f} would have been found in 95 % of cases." if limits else ""
        limit += _as_sentence(_at_most(c))
        return f"{where}, no reader found '{c.attribute}' at {looked}, and each could have found it at its margin{beside}.{limit}"
    return f"The data cannot tell whether '{c.attribute}' is in the activations of '{c.regime}'{found}.{_as_sentence(_at_most(c))}"


def _only_beyond(decision: Decision) -> bool:
    """Whether nothing but what is conditioned on gives it away."""
    return decision.mechanisms == ("beyond",) and decision.encoding == "absent"


def _at_most(c: Concluded) -> str:
    """How much can be read at most, of linear and stronger readers as far as it is certified; empty where nothing is."""
    said: list[str] = []
    for channel, words in (("linear", "by a linear reader"), ("nonlinear", "more by a stronger one")):
        own = [e for e in c.own if e.channel == channel]
        bound = largest_bound(own)
        if bound is not None and all(e.state != "present" for e in own):
            said.append(f"at most {share_at_most(bound)}{'' if said else ' of it'} can be read {words}")
    return " and ".join(said).replace("can be read more", "more can be read")


def _as_sentence(words: str) -> str:
    return f" {words[:1].upper()}{words[1:]}." if words else ""


def share_at_most(bound: float) -> str:
    """A bound as a percentage, rounded up: what is said must never be less than what was certified.

    >>> share_at_most(0.06), share_at_most(0.0612), share_at_most(0.121)
    ('6 %', '6.2 %', '13 %')
    """
    steps = 10 if bound < 0.1 else 1  # a decimal where it is small
    return f"{min(math.ceil(round(100 * steps * bound, 9)) / steps, 100):g} %"


def _with_leak(best: Estimate | None) -> str:
    if best is None or best.value is None:
        return ""
    asked = ", as one yes-or-no question about its value" if best.measure.startswith("leak_in_two_parts") else ""
    return f"{asked}, with a leak of {_span(best)} at '{best.site}'"


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
