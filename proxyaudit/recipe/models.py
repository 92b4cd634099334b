"""The models of a recipe: what every kind shares and how the registered kind is asked for its own, and the models that write texts."""

from typing import Annotated, Any, ClassVar, Literal, Self, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from proxyaudit.errors import did_you_mean
from proxyaudit.registry import NOTHING_REGISTERED, load_plugin, plugin_names

Share = Annotated[float, Field(gt=0, lt=1)]
# Strict: YAML's "yes" would else count as one.
Positive = Annotated[int, Field(gt=0, lt=2**31, strict=True)]  # libraries hold it in 32 bits
# What no table needs is refused before anything is built: it would fill the machine's memory.
Width = Annotated[int, Field(gt=0, le=65_536, strict=True)]
Depth = Annotated[int, Field(gt=0, le=1000, strict=True)]
MOST_WEIGHTS = 250_000_000


def check_weights(count: int) -> None:
    """Raise ``ValueError`` where layers would have too many weights between them."""
    if count > MOST_WEIGHTS:
        raise ValueError(f"these layers would have {count:,} weights; at most {MOST_WEIGHTS:,} are trained on a table")


class Strict(BaseModel):
    """Base of every section of a recipe: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_number(cls, value: Any, info: ValidationInfo) -> Any:
        kinds = _kinds_in(cls.model_fields[str(info.field_name)].annotation)
        if not kinds.isdisjoint({int, float}) and bool not in kinds and _holds_truth(value):
            raise ValueError("a number is needed here, not a truth value (YAML reads yes, no, on and off as true and false)")
        return value


def _kinds_in(annotation: Any) -> set[type]:
    """Every plain type that an annotation allows somewhere inside; of words and truth values that it lists, theirs."""
    if isinstance(annotation, type) and not get_args(annotation):
        return {annotation}
    if get_origin(annotation) is Literal:
        return {type(word) for word in get_args(annotation)}
    return {kind for one in get_args(annotation) for kind in _kinds_in(one)}


def _holds_truth(value: Any) -> bool:
    """Whether a value, or one in a list of it, is a truth value; sections of their own are asked by themselves."""
    return isinstance(value, bool) or (isinstance(value, list | tuple) and any(map(_holds_truth, value)))


class Filled(Strict):
    """Base of what a reader decides by; a blank key is refused, since it would silently drop what it asks for."""

    @model_validator(mode="before")
    @classmethod
    def _nothing_blank(cls, value: Any) -> Any:
        blank = next((key for key, given in value.items() if given is None), None) if isinstance(value, dict) else None
        if blank is not None:
            raise ValueError(f"'{blank}' is blank: give it a value, or leave it out")
        return value


def refuse(fault: bool, why: str) -> None:
    """A fault of a section: pydantic makes its own error of the ``ValueError``."""
    if fault:
        raise ValueError(why)


class KindSpec(Strict):
    """The ``model`` section of a recipe: what every kind of model shares."""

    reads_text: ClassVar[bool] = False
    pretrained: ClassVar[bool] = False

    kind: str
    class_weight: Literal["none", "balanced"] = "none"

    @property
    def described(self) -> str:
        """What messages call the model."""
        return f"the model of kind '{self.kind}'"

    @property
    def outside(self) -> str:
        """Where the recipe names code that makes the model; empty where all of it is installed."""
        return ""

    @property
    def rounds(self) -> int:
        """Passes over the training rows that training takes at most."""
        return 1

    @property
    def text_width(self) -> int:
        """Tokens of a text that the model reads; 0 where it reads a table."""
        return 0

    @property
    def frozen(self) -> bool:
        """Whether all but a head on top stays as it was loaded, so that it does the same in every repetition."""
        return False

    @property
    def unquantisable(self) -> str:
        """Why its weights cannot be rounded to fewer digits; empty where they can."""
        return ""

    @property
    def of_labels(self) -> bool:
        """Whether it can say yes or no to several labels."""
        return False

    @property
    def in_units(self) -> bool:
        """Whether it predicts a number in the number's own units, and not in standard deviations from its mean."""
        return False

    @property
    def native(self) -> bool:
        """Whether it reads categories and missing values as such, and not as columns of numbers."""
        return False

    @property
    def input_encoding(self) -> str:
        """How categories and missing values reach it, where its kind knows several ways."""
        return ""

    @property
    def given(self) -> bool:
        """Whether the models come trained, each in a folder of its own, so that nothing is trained here."""
        return False

    def at(self, path: str) -> Self:
        """The same of another folder. Raises ``ValueError``: the kind reads no folders."""
        raise ValueError(f"models of kind '{self.kind}' are not read from a folder, which {path!r} would be")

    def passes(self, ways: int, seeds: int) -> int:
        """Passes over all rows that are costly beside training, of rows written in so many ways."""
        return 0


class TrainingSpec(KindSpec):
    """How the networks of every regime are trained; the base of every kind that is a network."""

    epochs: Positive = 20
    batch_size: Positive = 256
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    patience: Positive | None = 3
    validation_share: Share = 0.1

    @property
    def rounds(self) -> int:
        """Passes over the training rows that training takes at most."""
        return self.epochs


class PretrainedSpec(Strict):
    """Where a pretrained model lies: a local folder, one in an installed ``package``, or a name on a hub."""

    path: str
    package: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$")] | None = None
    hub: bool = False
    revision: str | None = None
    trust_remote_code: bool = False
    gguf_file: str | None = None
    base: str | None = None  # folder of the model that an adapter in the folder at path belongs to

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        refuse(self.base is not None and (self.hub or self.gguf_file is not None), "'base' belongs to the folder of an adapter")
        if self.hub and self.package is not None:
            raise ValueError("'hub' (a name on a model hub) and 'package' (a folder in an installed package) exclude each other")
        refuse(self.revision is not None and not self.hub, "'revision' belongs to 'hub: true'")
        return self


class LanguageModelSpec(PretrainedSpec):
    """A local causal model that writes labelled texts after seeing the real ones.

    ``fine_tune`` trains it on the real texts, each after its label; ``few_shot`` shows it ``examples`` real texts of the label before
    each batch of ``texts_per_prompt`` new ones and trains nothing. The ``learning_rate`` rises over a tenth of the steps and falls to
    zero; ``max_tokens`` is the most of a text, real or new.
    """

    mode: Literal["fine_tune", "few_shot"] = "fine_tune"
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    batch_size: Positive = 8
    max_tokens: Annotated[int, Field(ge=2, le=4096, strict=True)] = 96
    examples: Annotated[int, Field(ge=1, le=32, strict=True)] = 4
    texts_per_prompt: Positive = 16
    temperature: Annotated[float, Field(gt=0, le=5)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95


class NgramSpec(Strict):
    """An interpolated n-gram model of words that writes labelled texts; a context that too few texts share is not used."""

    order: Annotated[int, Field(ge=1, le=8, strict=True)] = 4
    fewest_texts: Annotated[int, Field(ge=2, strict=True)] = 3
    max_words: Annotated[int, Field(ge=2, le=4096, strict=True)] = 150


def _of_kind(value: Any) -> Any:
    """The spec of the kind that is asked for, by the plugin that is registered under its name."""
    if not isinstance(value, dict):
        return value
    known = plugin_names("models")
    if "kind" not in value:
        return KindSpec.model_validate({})  # whose complaint names the key
    kind = str(value["kind"])[:60]
    if kind not in known:
        mend = did_you_mean(kind, known, f"one of {', '.join(known)}" if known else NOTHING_REGISTERED, cutoff=0.6)
        raise PydanticCustomError("unknown_kind", "unknown kind '{given}'", {"given": kind, "mend": mend})
    return load_plugin("models", kind, where="model.kind").spec.model_validate(value)


ModelSpec = Annotated[SerializeAsAny[KindSpec], BeforeValidator(_of_kind)]
