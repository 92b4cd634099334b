"""The nouns of an audit as frozen values, and their JSON form (``evidence.json``)."""

from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

SCHEMA_VERSION = "1.1"
SCHEMAS = ("1.0", SCHEMA_VERSION)  # that can be read; a later one may mean something else by the same word
PENULTIMATE = "penultimate"  # the site that every model has: what its head reads
FOUR_FIFTHS = 0.8  # of the rate of the most selected group: below it agencies see adverse impact (29 CFR 1607.4 D)

State = Literal["present", "absent", "unknown", "not_applicable"]
Verdict = Literal["exposed", "hidden", "removed", "inconclusive"]
Encoding = Literal["linear", "nonlinear_only", "absent", "unknown"]
Basis = Literal["beyond_label", "explained_by_label", "unknown"]
OriginWord = Literal["learned", "relayed", "unknown", "not_applicable"]
Surface = Literal["outputs", "activations", "prompts"]
ChangeWord = Literal["amplified", "unchanged", "reduced", "eliminated", "unknown", "not_applicable"]
TrainingWord = Literal["amplified", "left_alone", "suppressed", "not_present", "unknown"]
Role = Literal["protected", "intersection", "proxy"]
Task = Literal["classes", "number", "labels"]  # what models predict: one of several classes, a number, or several yes or no
ROLES: Final[tuple[Role, ...]] = get_args(Role)  # in the order in which attributes are told
AUDITED: Final[tuple[Role, ...]] = ("protected", "intersection")  # what an audit is about; intersections are made of protected attributes
Remedy = Literal["rows", "models", "names", "merge", "site", "seed", "nothing"]
"""What would settle an unknown number: more rows, more trained models, more names in prompts, rare classes merged, the sites that were not
read, another seed; ``nothing`` of what could be added."""

REFERENCES = ("untrained", "placebo", "reweighed", "inputs", "floor")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Estimate(_Frozen):
    """One measured number with everything needed to judge it. No bare float reaches a report."""

    id: str = Field(description="Identifier within the pack, e.g. 'E3'.")
    channel: str = Field(description="A channel of the audit (linear, expressed, used, ...) or a reported-only measure (task, ...).")
    attribute: str | None = Field(description="Protected attribute, intersection of some, or proxy; null for measures of the model alone.")
    regime: str = Field(description="Training regime or reference.")
    site: str | None = Field(default=None, description="Place in the model; null for outputs.")
    group: str | None = Field(default=None, description="Groups or output class that the number is about.")
    measure: str = Field(default="", description="What of the channel was measured: leak, gap, effect, ...")
    subject: str | None = Field(
        default=None, description="What it is about beside the attribute: a column, a part of the model, a template."
    )
    reference_for: str | None = Field(default=None, description="The regime that this number of a reference belongs to.")
    context: str | None = Field(default=None, description="What distinguishes this number from others of its channel, for people.")
    state: State | None = Field(default=None, description="Decision of the channel; null where the number decides nothing.")
    p_present: float | None = Field(default=None, description="Evidence for presence, before Holm's correction.")
    p_absent: float | None = Field(default=None, description="Evidence for absence.")
    beyond_null: bool | None = Field(
        default=None, description="Whether it exceeds its null (permutations, random subspaces, untrained models); null: decides nothing."
    )
    value: float | None = Field(default=None, description="The estimate, in `unit`.")
    low: float | None = Field(default=None, description="Lower end of the interval.")
    high: float | None = Field(default=None, description="Upper end of the interval.")
    raw: float | None = Field(default=None, description="The probe's own score before calibration; of a localised part, the prediction.")
    level: float = Field(default=0.95, gt=0, lt=1, description="Two-sided confidence level of [low, high].")
    unit: str = Field(default="", description="Unit of value, low, high and margin.")
    auroc: float | None = Field(default=None, description="Cross-fitted area under the ROC curve of the probe.")
    n: int | None = Field(default=None, description="Rows that the number rests on, rounded down to twenties.")
    seeds: int | None = Field(default=None, description="Independent repetitions.")
    seed_values: tuple[float, ...] = Field(default=(), description="The number in each repetition.")
    next_model: tuple[float, float] | None = Field(
        default=None,
        description="Prediction interval at `level` for one more model trained this way, on one more table where tables are made; "
        "null where fewer than three repetitions differ.",
    )
    margin: float | None = Field(default=None, ge=0, description="Margin that the decision was taken against.")
    bound: float | None = Field(
        default=None, description="Smallest leak that is certified absent at level .01, in every model; null where no test was inverted."
    )
    detection_limit: float | None = Field(default=None, description="Smallest leak found in 95 % of plants; null where not measured.")
    null_high: float | None = Field(default=None, description="95th percentile of the number under the null.")
    shown_by: str | None = Field(
        default=None,
        description="The stronger reader whose gain on unseen rows the value is, a lower bound; null where the planted test decided.",
    )
    rows_needed: int | None = Field(default=None, description="Rows that would settle it, where rows are what it lacks and can be told.")
    remedy: Remedy | None = Field(default=None, description="What would settle an unknown number; null where `reason` says all there is.")
    method: str = Field(default="", description="How the number was made.")
    reason: str | None = Field(default=None, description="Why the state is unknown or not_applicable, or the value missing.")


class Control(_Frozen):
    """A check of the instrument itself: negative, positive, eraser, random_subspace, completeness, ..."""

    id: str
    kind: str
    channel: str
    attribute: str | None
    regime: str
    site: str | None
    passed: bool | None = Field(description="null: the control could not be run; `detail` says why.")
    detail: str
    figures: dict[str, float | None] = Field(default_factory=dict, description="The figures that `passed` follows from, by name.")


class Origin(_Frozen):
    """Whether training put the feature there (learned) or the model merely relays its inputs."""

    encoding: OriginWord
    use: OriginWord


class Change(_Frozen):
    """How a regime differs from training on real data."""

    encoding: ChangeWord
    use: ChangeWord


class TriedCure(_Frozen):
    """A way to alter the training rows that was tried: models were trained on them and read again."""

    name: str
    estimates: tuple[str, ...] = Field(description="Ids of its numbers: what is left of gap and leak, and what it costs.")
    auroc_cost: float | None = Field(description="AUROC on the task before minus after; null where the target is a number.")


class Training(_Frozen):
    """What training did to how prominent the feature is inside the model, against the untrained network."""

    word: TrainingWord
    singled_out: bool | None = Field(
        default=None, description="Whether it gained more than 95 % of placebos that inputs and label know as well; false: with the task."
    )
    gain: str | None = Field(default=None, description="Id of the estimate of the log ratio to the untrained network.")
    kept_of_real: str | None = Field(
        default=None, description="Id of the estimate of what is kept of what real training added; else of the ratio to real training."
    )


class Finding(_Frozen):
    """The answer for one attribute and one regime."""

    attribute: str
    role: Role
    regime: str
    verdict: Verdict
    at_least: Literal["hidden"] | None = None
    encoding: Encoding
    use: tuple[str, ...]
    recoverable: tuple[str, ...]
    mechanisms: tuple[str, ...] = ()
    basis: Basis | None = None
    origin: Origin
    change: Change
    training: Training | None = Field(default=None, description="Null in packs made before it was measured.")
    retention: str | None = Field(default=None, description="Id of the estimate of the ratio to real training.")
    cures: tuple[TriedCure, ...] = Field(default=(), description="What altering the training rows did, in the order in which it was tried.")
    sentence: str
    decided_by: tuple[str, ...] = Field(default=(), description="Ids of the estimates that decided.")
    would_settle: str | None = Field(default=None, description="What would settle an unknown.")
    control_refs: tuple[str, ...] = ()
    controls_supported: tuple[str, ...] | None = Field(
        default=None,
        description="What the finding supports evidence for: clauses (framework.clause) of the frameworks that came with the code, "
        "without what rests on a seal. Null in packs made before they were told.",
    )


HOLDS_REAL = "what synthetic rows would do: release {} holds the real rows"
LOOSE = "columns of release {} no longer go together"
"""What notes say of releases that a model cannot learn from as their maker meant; the first screen of a report tells it, too."""


class NotTested(_Frozen):
    """Something a reader might expect and that this audit did not look at."""

    what: str
    why: str


class RunInfo(_Frozen):
    """Identity of the run. Times and host facts live in environment.json."""

    id: str
    name: str
    status: Literal["complete", "partial"]
    plan_digest: str
    versions: dict[str, str]
    seed: int
    input_encoding: Literal["native", "one_hot"] | None = None  # of trees: how categories and missing values reached them

    @model_serializer(mode="wrap")
    def _what_there_is(self, written: SerializerFunctionWrapHandler):  # type: ignore[no-untyped-def]
        """Without what only runs of trees say, so that other runs are written as they were; a return type would hide the schema."""
        found: dict[str, Any] = written(self)
        return {key: value for key, value in found.items() if key != "input_encoding" or value is not None}


class Evidence(_Frozen):
    """The whole of evidence.json."""

    schema_version: Annotated[str, Field(pattern=r"^\d+\.\d+$")] = SCHEMA_VERSION
    run: RunInfo
    findings: tuple[Finding, ...]
    estimates: tuple[Estimate, ...]
    controls: tuple[Control, ...]
    not_tested: tuple[NotTested, ...]
