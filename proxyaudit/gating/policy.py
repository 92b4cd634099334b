"""The policy of a gate: strict YAML, every mistake one line that says where and how to mend it."""

import contextlib
import hashlib
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from proxyaudit.digests import file_digest
from proxyaudit.errors import InputError
from proxyaudit.evidence.canonical import canonical_json
from proxyaudit.limits import MOST_POLICY, at_most, how_to_raise
from proxyaudit.names import doubt
from proxyaudit.recipe.models import Filled, refuse
from proxyaudit.recipe.yaml import read_yaml, validated

Verdict = Literal["removed", "hidden", "exposed"]
Treatment = Literal["undecided", "fail", "allow"]
# One of them may stand alone, without the brackets of a list.
_Listed = BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)
# As a plan lists them: of a file, of rows by a key of the auditor's, of a model on a hub its name and commit.
_Digest = Annotated[str, Field(pattern=r"^((keyed:)?[0-9a-f]{64}|[^\s@]+@[^\s@]+)$")]
Digests = Annotated[tuple[_Digest, ...], Field(min_length=1), _Listed]
Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], AfterValidator(lambda names: _of_one_script(names)), _Listed]
_Judged = Annotated[Names, AfterValidator(lambda names: _some(names))]
Verdicts = Annotated[tuple[Verdict, ...], _Listed]
Sealed = Literal[True, False, "plan"]
Done = Annotated[tuple[Literal["amplified", "left_alone", "suppressed"], ...], _Listed]
_Margin = Annotated[float, Field(gt=0, lt=1, strict=True)]


class PolicyMargins(Filled):
    """The laxest margins that a run may have been decided at."""

    leak: _Margin | None = None
    nonlinear: _Margin | None = None
    gap: _Margin | None = None
    effect: _Margin | None = None
    relearned: _Margin | None = None


class PolicyBounds(Filled):
    """The largest leak that may be left uncertified, by check."""

    linear: _Margin | None = None
    nonlinear: _Margin | None = None
    elsewhere: _Margin | None = None
    beyond: _Margin | None = None


_Share = Annotated[float, Field(gt=0, le=1, strict=True)]
_Plan = Annotated[str, Field(pattern=r"^[0-9a-f]{12}([0-9a-f]{52})?$")]  # a digest, or its head, the run id


class PolicySelection(Filled):
    """Rates at the run's declared threshold, by Fairlearn's names: the least that ratios may be, and the most that differences may."""

    AT_MOST: ClassVar = ("demographic_parity_difference", "equal_opportunity_difference", "equalized_odds_difference")
    _ABOUT: ClassVar = ("threshold", "outcome")

    impact_ratio: _Share | None = None  # of every group to the most selected one
    demographic_parity_ratio: _Share | None = None
    equal_opportunity_ratio: _Share | None = None
    equalized_odds_ratio: _Share | None = None
    selection_rate: _Share | None = None  # of every group
    demographic_parity_difference: _Share | None = None
    equal_opportunity_difference: _Share | None = None
    equalized_odds_difference: _Share | None = None
    threshold: _Margin | None = None  # that the run must have counted at, if given
    outcome: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _limits_something(self) -> "PolicySelection":
        refuse(not self.limits(), "the selection limits nothing: give e.g. 'impact_ratio: 0.8'")
        return self

    def limits(self) -> dict[str, float]:
        """What is asked, by measure."""
        found: dict[str, float] = self.model_dump(exclude_none=True, exclude=set(self._ABOUT))
        return found


class Rule(Filled):
    """What differs from the policy for some attributes or regimes; of several rules that fit, the last holds."""

    attributes: _Judged | None = None
    regimes: _Judged | None = None
    allow: Verdicts | None = None
    inconclusive: Treatment | None = None
    bound: PolicyBounds | None = None
    training: Done | None = None
    selection: PolicySelection | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "Rule":
        if all(one is None for one in (self.allow, self.inconclusive, self.bound, self.training, self.selection)):
            raise ValueError("the rule changes nothing: give 'allow', 'inconclusive', 'bound', 'training' or 'selection'")
        return self


class Baseline(Filled):
    """A run that must not be got worse than."""

    run: Annotated[str, Field(min_length=1)]
    plan: _Plan | None = None  # that it must have: what lies in its folder may change after the policy was fixed
    regimes: dict[str, str] = Field(default_factory=dict)
    worse: Literal["fail", "allow"] = "fail"
    cannot_tell: Treatment = "undecided"
    allow: Names = ()

    @model_validator(mode="before")
    @classmethod
    def _from_path(cls, value: Any) -> Any:
        return {"run": value} if isinstance(value, str) else value


def _of_one_script(names: Names) -> Names:
    why = next((f"'{name[:60]}' {why}" for name in names if (why := doubt(name)) is not None), None)
    refuse(why is not None, f"{why}: write the name in letters of one script, all of which can be seen")
    return names


def _some(names: tuple[str, ...]) -> tuple[str, ...]:
    refuse(not names, "the list is empty, and nothing would be judged: name some, 'all', or leave the key out")
    return names


class Expect(Filled):
    """The very run that the policy is about: digests as its plan and report list them; of a file as ``sha256sum`` prints it.

    Tables of people's rows have a keyed digest in the plan; the plain one may stand in its place where the auditor's secret is at hand.
    """

    plan: _Plan | None = None
    data: Digests | None = None  # of every table, card and release that the run read
    model: Digests | None = None  # of every checkpoint, factory, file of a transformer, or file of activations


class Policy(Filled):
    """What a release must meet; the last of the rules that fit holds for a pair."""

    attributes: _Judged | None = None  # or "all" for proxies too; every protected one and intersection if not given
    regimes: _Judged | None = None  # or "all"; every one with a verdict but "real" if not given ("real" where it is the only one)
    allow: Verdicts = ("removed",)
    inconclusive: Treatment = "undecided"  # what an undecided verdict means (undecided: exit code 3)
    # What must be certified, at level .01; it settles inconclusive verdicts that only these leave open.
    bound: PolicyBounds = PolicyBounds()
    training: Done | None = None  # what training may have done; what is not present at all is always allowed; not asked if not given
    selection: PolicySelection | None = None  # what rates at the declared threshold must be; not asked if not given
    margins: PolicyMargins = PolicyMargins()  # the laxest accepted; those of a recipe that names none, if not given
    baseline: Baseline | None = None
    expect: Expect = Expect()  # nothing in particular, if not given
    # The plan was fixed before the run, by a seal that it keeps to; true: so was this very policy.
    sealed: Sealed = False
    rules: tuple[Rule, ...] = ()

    def for_pair(self, attribute: str, regime: str) -> "Demand":
        """What is demanded of an attribute in a regime."""
        allow, inconclusive, bound, training, selection = self.allow, self.inconclusive, self.bound, self.training, self.selection
        for rule in self.rules:
            named = rule.attributes is None or attribute in rule.attributes or rule.attributes == ("all",)
            if named and (rule.regimes is None or regime in rule.regimes or rule.regimes == ("all",)):
                allow = rule.allow if rule.allow is not None else allow
                inconclusive = rule.inconclusive if rule.inconclusive is not None else inconclusive
                bound = rule.bound if rule.bound is not None else bound
                training = rule.training if rule.training is not None else training
                selection = rule.selection if rule.selection is not None else selection
        return Demand(allow, inconclusive, bound.model_dump(exclude_none=True), training, selection)


class Demand(NamedTuple):
    """What a policy demands of one attribute in one regime."""

    allow: tuple[Verdict, ...]
    inconclusive: Treatment  # what an undecided verdict means
    bounds: dict[str, float]  # by check
    training: tuple[str, ...] | None  # what training may have done; None where it is not asked
    selection: PolicySelection | None  # what rates must be; None where they are not asked


def load_policy(path: Path) -> Policy:
    """Read and check a policy file; ``InputError`` if it cannot be read, is no YAML, or is no valid policy."""
    # What cannot be looked at cannot be read either, which is told below.
    with contextlib.suppress(OSError):
        if path.stat().st_size > at_most(MOST_POLICY):
            what, mend = f"the file is larger than {at_most(MOST_POLICY) // 1024} KiB", f"a policy is a short YAML file; {how_to_raise()}"
            raise InputError(what, where=str(path), mend=mend)
    try:
        document = read_yaml(path)
    except InputError as error:
        if error.what == "no such file":
            raise InputError(error.what, where=error.where, mend="name the policy (YAML), or leave --policy out for the default") from None
        raise
    return parse_policy(document, where=str(path))


def parse_policy(document: Any, *, where: str = "policy") -> Policy:
    """Validate a policy given as plain data; ``InputError`` for the first mistake found, in one line."""
    if not isinstance(document, dict):
        what = "the policy is empty" if document is None else "the policy is not a mapping of keys to values"
        raise InputError(what, where=where, mend="write e.g. 'allow: [removed]', or leave --policy out for the default")
    return validated(Policy, document, where=where, mend="correct this key ('proxyaudit gate --help' shows a policy)")


def policy_digest(path: Path | None, policy: Policy) -> str:
    """SHA-256 of a policy's file, as ``sha256sum`` prints it; of the default policy that of its canonical JSON."""
    return file_digest(path) if path is not None else hashlib.sha256(canonical_json(asked(policy))).hexdigest()


def asked(policy: Policy) -> dict[str, object]:
    """A policy as it was understood, as JSON."""
    found: dict[str, object] = policy.model_dump(mode="json", exclude_none=True)
    return found
