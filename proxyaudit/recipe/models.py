"""The ``model`` section of a recipe: which architecture, and how every regime's model is trained."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from proxyaudit.recipe.patterns import check_span

Share = Annotated[float, Field(gt=0, lt=1)]
# Strict: YAML's "yes" would else count as one.
Positive = Annotated[int, Field(gt=0, strict=True)]


class Strict(BaseModel):
    """Base of every section of a recipe: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TrainingSpec(Strict):
    """How every regime's model is trained."""

    epochs: Positive = 20
    batch_size: Positive = 256
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    patience: Positive | None = 3
    validation_share: Share = 0.1
    class_weight: Literal["none", "balanced"] = "none"


class MlpSpec(TrainingSpec):
    """Plain multilayer perceptron with ReLU."""

    kind: Literal["mlp"]
    hidden: tuple[Positive, ...] = Field(default=(128, 64, 32), min_length=1)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


class ResnetSpec(TrainingSpec):
    """Tabular ResNet (Gorishniy et al. 2021, rtdl_revisiting_models)."""

    kind: Literal["resnet"]
    blocks: Positive = 2
    width: Positive = 128
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1


class FtTransformerSpec(TrainingSpec):
    """FT-Transformer (Gorishniy et al. 2021, rtdl_revisiting_models)."""

    kind: Literal["ft_transformer"]
    blocks: Positive = 2
    width: Positive = 32
    heads: Positive = 4
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1

    @model_validator(mode="after")
    def _heads_divide(self) -> FtTransformerSpec:
        if self.width % self.heads:
            raise ValueError("'width' must be a multiple of 'heads'")
        return self


class ModuleSpec(TrainingSpec):
    """A user's own torch module made by ``factory`` (``file.py:function``, relative to the recipe)."""

    kind: Literal["module"]
    factory: str
    sites: tuple[str, ...] = ("*",)

    @field_validator("factory")
    @classmethod
    def _file_and_function(cls, value: str) -> str:
        file, _, function = value.rpartition(":")
        if not file.endswith(".py") or not function.isidentifier():
            raise ValueError(f"write 'file.py:function', not '{value[:60]}'")
        return value


POOLINGS = ("mean", "cls", "last")
MOST_SPANS = 4  # each is one binary digit of a token number's fraction
SpanName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]


class HuggingFaceSpec(TrainingSpec):
    """A pretrained transformer from a local folder with a classification head of this package's own; reads ``data.text``.

    ``package`` names an installed Python package that ``path`` lies in. What is tuned: the head alone on frozen features (``head``),
    low-rank adapters (``lora``) or everything (``full``). ``pooling`` is what the head reads of the last hidden states, ``site_pooling``
    how token sites are read: over all tokens (``mean``), the first (``cls``), the ``last``, or those of a named span. ``spans`` gives names
    to patterns in the text; a text in which one is not found is pooled over all of its tokens. ``precision: bfloat16`` runs a frozen
    transformer in half the memory; pooled values, head and statistics are float32 all the same.
    """

    kind: Literal["huggingface"]
    path: str
    package: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$")] | None = None
    hub: bool = False
    revision: str | None = None
    trust_remote_code: bool = False
    gguf_file: str | None = None
    tune: Literal["head", "lora", "full"] = "head"
    spans: Annotated[dict[SpanName, Annotated[str, Field(min_length=1, max_length=300)]], Field(max_length=MOST_SPANS)] = {}
    pooling: str = "mean"
    site_pooling: str = "mean"
    max_length: Annotated[int, Field(ge=2, le=8192, strict=True)] = 128
    head_hidden: tuple[Positive, ...] = ()
    precision: Literal["float32", "bfloat16"] = "float32"
    lora_rank: Positive = 8
    lora_alpha: Positive = 16

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_tune(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        value = dict(value)
        if value.get("tune") == "frozen":
            value["tune"] = "head"  # the same thing: of a frozen model the head is what is trained
        rates = {"head": (1e-3, 30, 128), "lora": (1e-3, 3, 32), "full": (5e-5, 3, 32)}
        rate, epochs, batch = rates.get(str(value.get("tune", "head")), rates["head"])
        return {"learning_rate": rate, "epochs": epochs, "batch_size": batch} | value

    @field_validator("spans")
    @classmethod
    def _patterns(cls, value: dict[str, str]) -> dict[str, str]:
        for name, pattern in value.items():
            if name in POOLINGS:
                raise ValueError(f"'{name}' is a way of pooling and cannot name a span")
            check_span(name, pattern)
        return value

    @model_validator(mode="after")
    def _known_pooling(self) -> HuggingFaceSpec:
        known = (*POOLINGS, *self.spans)
        for key in ("pooling", "site_pooling"):
            if getattr(self, key) not in known:
                raise ValueError(f"'{key}' is one of {', '.join(known)} (a span is named under 'spans')")
        return self

    @model_validator(mode="after")
    def _one_place(self) -> HuggingFaceSpec:
        if self.hub and self.package is not None:
            raise ValueError("'hub' (a name on a model hub) and 'package' (a folder in an installed package) exclude each other")
        if self.revision is not None and not self.hub:
            raise ValueError("'revision' belongs to 'hub: true'")
        if self.precision != "float32" and self.tune != "head":
            raise ValueError("'precision: bfloat16' is for a frozen transformer ('tune: head'): training in so few digits goes astray")
        return self


ModelSpec = Annotated[MlpSpec | ResnetSpec | FtTransformerSpec | ModuleSpec | HuggingFaceSpec, Field(discriminator="kind")]
