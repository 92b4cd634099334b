"""A pretrained transformer under a classification head of this package, or a folder's own classifier as it is."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from proxyaudit.models.kinds import ModelKind
from proxyaudit.recipe.models import Positive, PretrainedSpec, Strict, TrainingSpec, Width, refuse
from proxyaudit.recipe.patterns import check_span

POOLINGS = ("mean", "cls", "last")
MOST_SPANS = 4  # each is one binary digit of a token number's fraction
_ENCODING, _BACKWARD = 17.0, 3  # texts of 64 tokens through MiniLM; larger models take as much longer as they are larger
_Pattern = Annotated[str, Field(min_length=1, max_length=300)]
SpanName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]


class HeadSpec(Strict):
    """A pipeline of scikit-learn on the pooled embedding, in a skops file; ``trusted`` are types beside those that skops trusts."""

    path: Annotated[str, Field(min_length=1)]
    trusted: tuple[str, ...] = ()


def _plain_label(value: Any) -> Any:
    refuse(isinstance(value, bool), "YAML reads yes, no, on and off as truth values: put such a label in quotes")
    return str(value) if isinstance(value, int) else value


class HuggingFaceSpec(TrainingSpec, PretrainedSpec):
    """A pretrained transformer with a classification head; reads ``data.text``.

    ``head: new`` trains a head of this package. ``head: own`` takes the folder's own classifier with its pooler and head and trains
    nothing; ``labels`` names the class of each of its outputs, in their order, where the folder's ``id2label`` does not. A head with a
    ``path`` is a fitted pipeline of scikit-learn, which reads what ``pooling`` gives.

    What is tuned: the head alone on frozen features (``head``), low-rank adapters (``lora``) or everything (``full``). ``pooling`` is what
    the head reads of the last hidden states, ``site_pooling`` how token sites are read: over all tokens (``mean``), the first (``cls``),
    the ``last``, or those of a named span. ``spans`` gives names to patterns in the text; a text in which one is not found is pooled over
    all of its tokens. ``precision: bfloat16`` runs a frozen transformer in half the memory; pooled values, head and statistics are float32.
    """

    reads_text: ClassVar[bool] = True
    pretrained: ClassVar[bool] = True

    kind: Literal["huggingface"]
    head: Literal["new", "own"] | HeadSpec = "new"
    labels: Annotated[tuple[Annotated[str, BeforeValidator(_plain_label)], ...] | None, Field(min_length=2)] = None
    tune: Literal["head", "lora", "full"] = "head"
    spans: Annotated[dict[SpanName, _Pattern], Field(default_factory=dict, max_length=MOST_SPANS)]
    pooling: str = "mean"
    site_pooling: str = "mean"
    max_length: Annotated[int, Field(ge=2, le=8192, strict=True)] = 128
    head_hidden: Annotated[tuple[Width, ...], Field(max_length=1000)] = ()
    precision: Literal["float32", "bfloat16"] = "float32"
    lora_rank: Width = 8
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
    def _fits(self) -> Self:
        known = (*POOLINGS, *self.spans)
        for key in ("pooling", "site_pooling"):
            if getattr(self, key) not in known:
                raise ValueError(f"'{key}' is one of {', '.join(known)} (a span is named under 'spans')")
        if self.precision != "float32" and self.tune != "head":
            raise ValueError("'precision: bfloat16' is for a frozen transformer ('tune: head'): training in so few digits goes astray")
        return self

    @model_validator(mode="after")
    def _own_as_it_is(self) -> Self:
        refuse(self.labels is not None and not self.given, "'labels' names the outputs of a folder's own head: it belongs to 'head: own'")
        settings: dict[str, Any] = {"tune": "head", "head_hidden": (), "precision": "float32"}
        settings |= {"pooling": "mean"} if self.head == "own" else {}
        changed = [key for key, default in settings.items() if getattr(self, key) != default] if self.given else []
        if changed:
            pools = " and pools as the folder does" if self.head == "own" else ""
            said = "'head: own'" if self.head == "own" else "a head from a file"
            raise ValueError(f"{said} trains nothing{pools}: leave out {' and '.join(map(repr, changed))}")
        refuse(self.given and self.trust_remote_code, "'head: own' runs no code that comes with a model: leave out 'trust_remote_code'")
        own_gguf = self.head == "own" and self.gguf_file is not None
        refuse(own_gguf, "a GGUF file holds no classification head: leave out 'gguf_file', or 'head: own'")
        return self

    @property
    def outside(self) -> str:
        """Where code that comes with the model lies; empty where none is executed, or it is fetched first, however long that takes."""
        return f"model.path '{self.path}'" if self.trust_remote_code and not self.hub else ""

    @property
    def given(self) -> bool:
        """Whether the folder's own classifier, or one with a head from a file, is the model."""
        return self.head != "new"

    @property
    def of_labels(self) -> bool:
        """A folder's own head may say yes or no to each label."""
        return self.given

    @property
    def in_units(self) -> bool:
        """A folder's own head predicts a number in its own units."""
        return self.given

    def at(self, path: str) -> Self:
        """The same of another local folder, or with the head of another file."""
        if isinstance(self.head, HeadSpec) and path.lower().endswith(".skops"):
            return self.model_copy(update={"head": self.head.model_copy(update={"path": path})})
        return self.model_copy(update={"path": path, "package": None, "hub": False, "revision": None})

    @property
    def text_width(self) -> int:
        """Tokens of a text that the model reads."""
        return self.max_length

    @property
    def frozen(self) -> bool:
        """Whether the transformer is never trained and the same under every head."""
        return self.tune == "head" and not self.given

    @property
    def unquantisable(self) -> str:
        """Why its weights cannot be rounded to fewer digits: they must be float32."""
        return "" if self.precision == "float32" else "'quantise' starts from float32: leave 'model.precision' out, or the regime"

    def passes(self, ways: int, seeds: int) -> int:
        """Passes over all texts, in so many ways of writing them: one each where the transformer is frozen, one a model that is given."""
        if self.given:
            return ways * seeds
        return ways if self.frozen else ways * seeds * self.epochs * _BACKWARD


KIND = ModelKind(
    HuggingFaceSpec,
    "proxyaudit.models.own_classifier:make_classifier",
    seconds=0.05,
    hashes="proxyaudit.models.huggingface:model_hashes",
    pass_seconds=lambda spec: _ENCODING * spec.max_length / 64,
)
