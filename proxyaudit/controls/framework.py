"""Frameworks of policy controls: strict YAML with clauses in our own words, and as data the rules of what supports evidence for each."""

import datetime
from collections.abc import Iterable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from proxyaudit.errors import InputError, did_you_mean
from proxyaudit.names import looks
from proxyaudit.recipe.models import Filled, refuse
from proxyaudit.recipe.yaml import parse_own, read_yaml, validated
from proxyaudit.types import Role, State, Surface, TrainingWord, Verdict

SUFFIXES = (".yaml", ".yml")
_MEND = "correct this key (docs/controls.md shows a framework)"
# One of them may stand alone, without the brackets of a list.
_Listed = BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)
Text = Annotated[str, Field(min_length=1, max_length=600), AfterValidator(lambda text: _one_line(text))]
Texts = Annotated[tuple[Text, ...], Field(min_length=1), _Listed]
# Also part of an OSCAL token.
Ident = Annotated[str, Field(pattern=r"^[a-z][a-z0-9._-]{0,59}$")]
# ``real`` is also the activations that a probe compares the others with.
_Made = Literal["real", "synthetic", "release", "mixed", "checkpoints", "scrubbed", "quantised", "activations", "prompts"]
Kinds = Annotated[tuple[_Made, ...], Field(min_length=1), _Listed]
_Surfaces = Annotated[tuple[Surface, ...], Field(min_length=1), _Listed]
_Reads = Annotated[tuple[Literal["table", "text"], ...], Field(min_length=1), _Listed]
_States = Annotated[tuple[State, ...], Field(min_length=1), _Listed]
_Verdicts = Annotated[tuple[Verdict, ...], Field(min_length=1), _Listed]
_Words = Annotated[tuple[TrainingWord, ...], Field(min_length=1), _Listed]
_Roles = Annotated[tuple[Role, ...], Field(min_length=1), _Listed]


def _one_line(text: str) -> str:
    refuse(not text.isprintable() or not looks(text), "should be one line of text, all of which can be seen")
    return text


class FindingNeed(Filled):
    """What a finding must be like."""

    verdict: _Verdicts | None = None
    role: _Roles | None = None
    trained_on: Kinds | None = None
    training: _Words | None = None  # what training did to how prominent the attribute is inside

    @model_validator(mode="after")
    def _asks_something(self) -> "FindingNeed":
        refuse(not self.model_dump(exclude_none=True), "'finding' asks for nothing: every finding would do")
        return self


class EstimateNeed(Filled):
    """A number about the finding that must be there: of its attribute, or of the model alone, in its kind of training."""

    channel: Texts | None = None
    measure: Texts | None = None
    state: _States | None = None
    measured: bool = True  # whether it must have a value
    repeated: bool = False  # whether it must rest on more than one model
    bounded: bool = False  # whether it must certify how much can be there at most

    @model_validator(mode="after")
    def _asks_something(self) -> "EstimateNeed":
        asks = self.channel or self.measure or self.state or self.repeated or self.bounded
        refuse(not asks, "'estimate' asks for nothing: every number would do")
        return self


class CheckNeed(Filled):
    """A check of the instrument about the finding that must have passed."""

    kind: Texts
    channel: Texts | None = None


class Condition(Filled):
    """What must hold: every key that is given; of a list one entry suffices."""

    otherwise: Text  # what is said where it does not hold
    surface: _Surfaces | None = None  # what a consumer of the model gets
    reads: _Reads | None = None  # what the models read
    regimes: Kinds | None = None  # kinds of training, one of which the run holds
    document: Texts | None = None  # keys of plan or recipe, as 'plan.margins', one of which holds something
    not_tested: bool = False  # whether the run must list what it did not test
    sealed: bool = False  # whether the run must name a seal that it keeps to
    finding: FindingNeed | None = None
    estimate: EstimateNeed | None = None
    check: CheckNeed | None = None

    @model_validator(mode="after")
    def _asks_something(self) -> "Condition":
        if not (self.not_tested or self.sealed) and all(getattr(self, key) is None for key in _ASKED):
            raise ValueError(f"the condition asks for nothing: give one of {', '.join((*_ASKED, 'not_tested', 'sealed'))}")
        return self


_ASKED = ("surface", "reads", "regimes", "document", "finding", "estimate", "check")


class Support(Filled):
    """One thing that the evidence of a run can support, and what that takes."""

    evidence_for: Text  # goes on from "supports evidence for"
    needs: Annotated[tuple[Condition, ...], Field(min_length=1)]


class Clause(Filled):
    """A clause: what it asks, in our own words; what supports evidence for it, and what no audit of ours covers."""

    id: Ident
    clause: Text
    asks: Text
    supports: Annotated[tuple[Support, ...], Field(min_length=1)]
    not_covered: Text

    @model_validator(mode="after")
    def _told_apart(self) -> "Clause":
        words = [one.evidence_for for one in self.supports]
        refuse(len(set(words)) < len(words), f"two supports of '{self.id}' are for the same")
        return self


class Framework(Filled):
    """A law, standard or guidance, as it was known on a day."""

    name: Ident
    title: Text
    version: Annotated[int, Field(ge=1, strict=True)]  # of this file
    as_of: datetime.date
    source: Text
    kind: Literal["law", "opinion", "guidance", "standard", "draft", "discussion", "internal"]
    wording: Literal["primary", "secondary"]  # whether the clauses were written from the primary text
    note: Text | None = None
    applies: tuple[Condition, ...] = ()  # to which runs at all; about the run alone
    clauses: Annotated[tuple[Clause, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _consistent(self) -> "Framework":
        ids = [clause.id for clause in self.clauses]
        twice = next((one for one in ids if ids.count(one) > 1), None)
        if twice is not None:
            raise ValueError(f"two clauses have the id '{twice}'")
        if any(one.finding or one.estimate or one.check for one in self.applies):
            raise ValueError("'applies' is about the run as a whole: 'finding', 'estimate' and 'check' belong to the needs of a clause")
        return self


def parse_framework(document: Any, *, where: str) -> Framework:
    """Validate a framework given as plain data; ``InputError`` for the first mistake found, in one line."""
    if not isinstance(document, dict):
        raise InputError("the framework is not a mapping of keys to values", where=where, mend="docs/controls.md shows one")
    return validated(Framework, document, where=where, mend=_MEND)


@cache
def shipped_frameworks() -> tuple[Framework, ...]:
    """The frameworks that come with the package, by name."""
    folder = resources.files("proxyaudit.controls").joinpath("frameworks")
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(SUFFIXES)), key=lambda entry: entry.name)
    read = [parse_own(entry.read_text(encoding="utf-8")) for entry in files]
    return tuple(parse_framework(document, where=entry.name) for document, entry in zip(read, files, strict=True))


def comes_along(framework: Framework) -> bool:
    """Whether it is one of the package: no other has its name."""
    return any(framework.name == one.name for one in shipped_frameworks())


def _of_ones_own(framework: Framework, where: str) -> Framework:
    """A reader's own framework; ``InputError`` if it passes for one that comes along."""
    taken = next((one for one in shipped_frameworks() if _alike(one, framework)), None)
    if taken is not None:
        what, mend = f"it has the name or title of '{taken.name}', which comes along", "give it a name and a title of its own"
        raise InputError(what, where=f"{where}: name", mend=mend)
    return framework


def _alike(one: Framework, other: Framework) -> bool:
    return one.name == other.name or looks(one.title).casefold() == looks(other.title).casefold()


def find_frameworks(given: Iterable[str]) -> list[Framework]:
    """:func:`find_framework` of each; ``InputError`` where two have one name."""
    found: dict[str, Framework] = {}
    for one in dict.fromkeys(given):
        framework = find_framework(one)
        if framework.name in found:
            raise InputError(f"two frameworks have the name '{framework.name}'", where="--framework", mend="rename one, or give it once")
        found[framework.name] = framework
    return list(found.values())


def find_framework(given: str) -> Framework:
    """The framework of a name, or of a reviewer's own file; ``InputError`` if there is none, or it is not valid."""
    path = Path(given)
    if path.suffix.lower() in SUFFIXES or len(path.parts) > 1:
        try:
            document = read_yaml(path)
        except InputError as error:
            if error.what == "no such file":
                raise InputError(error.what, where=error.where, mend="name a framework (YAML), or one that comes along") from None
            raise
        return _of_ones_own(parse_framework(document, where=given), given)
    known = {framework.name: framework for framework in shipped_frameworks()}
    if given not in known:
        mend = did_you_mean(given, list(known), f"one of {', '.join(known)}, or a file (YAML)")
        raise InputError(f"unknown framework '{given[:60]}'", where="--framework", mend=mend)
    return known[given]
