"""What would settle an inconclusive finding: the checks that block it, and for each what, if anything, would unblock it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from proxyaudit.estimates.numbers import Numbers
from proxyaudit.estimates.questions import names_of, word_of
from proxyaudit.estimates.sentences import Concluded
from proxyaudit.estimates.states import Decision
from proxyaudit.types import Estimate, Remedy, State, Surface

_FIXED: Final[Mapping[Remedy, str]] = {
    "names": "more names or templates",
    "merge": "rare levels merged into larger ones",
    "site": "the parts of the model that were not read ('sites: {profile: all}' reads each that can be read)",
    "seed": "another seed, since the control of shuffled labels failed here",
}
_ORDER: Final[tuple[Remedy, ...]] = ("rows", "models", "names", "merge", "site", "seed")
_READ_INSIDE: Final = "inside: a reading of the activations, which prompts do not give ('proxyaudit probe' does)"
_UNASKED: Final = "checks that this version does not make"
_MOST: Final = 600  # characters of advice in one finding


def would_settle(c: Concluded, numbers: Numbers) -> str | None:
    """What would settle an inconclusive finding, or complete one that lacks repetitions; a noun phrase for each check that blocks it."""
    failures = numbers.scope.failures.get(c.regime)
    if failures:
        return f"the failed repetitions, run again: {failures[0].rstrip('.')}"
    if c.decision.verdict != "inconclusive":
        return None
    prompts = numbers.scope.surface == "prompts"
    told = [_READ_INSIDE] if prompts else []
    by_advice: dict[str, list[str]] = {}
    for channel, own in blocking(c.decision, c.own, numbers.states(c.attribute, c.regime), numbers.scope.surface).items():
        by_advice.setdefault(_advice(own, numbers), []).append(word_of(channel))
    told += [f"{_joined(words)}: {advice}" for advice, words in by_advice.items()]
    return _some(told) or _UNASKED


def blocking(decision: Decision, own: Sequence[Estimate], states: Mapping[str, State], surface: Surface) -> dict[str, list[Estimate]]:
    """The unknown numbers of every check that an open verdict waits for, by check; ``own`` are the numbers of its attribute and regime."""
    if surface == "prompts":
        waits: Iterable[str] | None = names_of("use")
    elif decision.at_least != "hidden":
        waits = None
    else:
        # What is certainly inside is at least hidden: what is open is whether it shows or acts, of activations to a linear reader.
        waits = ("linear",) if surface == "activations" else names_of("use")
    # Where one number of a check is present, the check has found it, whatever its others say.
    open_ = [name for name, state in states.items() if state == "unknown"]
    waiting = [name for name in open_ if waits is None or name in waits]
    return {name: [e for e in own if e.channel == name and e.state == "unknown"] for name in waiting}


def settled_by_models(numbers: Numbers) -> list[str]:
    """Regimes in which more trained models could settle an open verdict of a protected attribute: they are all that it waits for."""
    found = []
    for regime in (name for name in numbers.scope.regimes if name not in numbers.scope.failures):
        for attribute in (name for name, role in numbers.scope.roles.items() if role == "protected"):
            decision, own = numbers.decision(attribute, regime), numbers.own(attribute, regime)
            waits = blocking(decision, own, numbers.states(attribute, regime), numbers.scope.surface)
            lacking = [e for of_check in waits.values() for e in of_check]
            if decision.verdict == "inconclusive" and all(waits.values()) and lacking and all(e.remedy == "models" for e in lacking):
                found.append(regime)
                break
    return found


def _advice(own: Sequence[Estimate], numbers: Numbers) -> str:
    """What would unblock a check, all of whose numbers must be settled; where one cannot be, why."""
    if not own:
        return "a measurement, which is missing"
    hopeless = [e for e in own if e.remedy == "nothing"]
    if hopeless:
        return f"nothing at hand would settle it ({_reasons(hopeless)})"
    kinds = {e.remedy for e in own}
    trained = max((e.seeds for e in own if e.seeds is not None), default=None)
    models = "more trained models" + (f" ({trained} were trained)" if trained is not None else "")
    computed: dict[Remedy, str] = {"rows": _rows(own, numbers), "models": models}
    said = [computed.get(kind) or _FIXED[kind] for kind in _ORDER if kind in kinds]
    barred = [e for e in own if e.remedy is None and e.reason]
    why = _reasons(barred) if barred else ""
    return ", but also: ".join(part for part in (" and ".join(said), why) if part) or "no reason is recorded"


def _rows(own: Sequence[Estimate], numbers: Numbers) -> str:
    scope, mine = numbers.scope, [e for e in own if e.remedy == "rows"]
    used = max((e.n for e in mine if e.n is not None), default=None)
    needed = max((e.rows_needed for e in mine if e.rows_needed is not None), default=None)
    people = f" of other people ('{scope.group}')" if scope.group else ""
    many = f"about {needed:,}" if needed is not None else "more"
    told = f"{many} audit rows{people}" + (f" ({used:,} were used)" if used is not None else "")
    return told + (f", for which data.max_rows ({scope.max_rows:,}) can be raised" if scope.max_rows is not None else "")


def _reasons(own: Sequence[Estimate]) -> str:
    """The first reason, and how many others there are."""
    reasons = sorted({e.reason.rstrip(".") for e in own if e.reason})
    more = len(reasons) - 1
    return (reasons[0] if reasons else "no reason is recorded") + (f", and {more} more reason{'s' if more > 1 else ''}" if more > 0 else "")


def _joined(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]


def _some(parts: Sequence[str]) -> str:
    """Parts in one line; those that would make it long are counted, and none is cut."""
    said = list(parts[:1])
    for part in parts[1:]:
        if len("; ".join([*said, part])) > _MOST:
            break
        said.append(part)
    more = len(parts) - len(said)
    return "; ".join(said) + (f"; and {more} more" if more else "")
