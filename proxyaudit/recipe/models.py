"""The ``model`` section of a recipe: what every kind of model shares, and how the registered kind is asked for its own."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny
from pydantic_core import PydanticCustomError

from proxyaudit.errors import did_you_mean
from proxyaudit.registry import load_plugin, plugin_names

Share = Annotated[float, Field(gt=0, lt=1)]
# Strict: YAML's "yes" would else count as one.
Positive = Annotated[int, Field(gt=0, strict=True)]


class Strict(BaseModel):
    """Base of every section of a recipe: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TrainingSpec(Strict):
    """How every regime's model is trained; the base of every kind of model."""

    reads_text: ClassVar[bool] = False
    pretrained: ClassVar[bool] = False

    kind: str
    epochs: Positive = 20
    batch_size: Positive = 256
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    patience: Positive | None = 3
    validation_share: Share = 0.1
    class_weight: Literal["none", "balanced"] = "none"

    @property
    def described(self) -> str:
        """What messages call the model."""
        return f"the model of kind '{self.kind}'"

    @property
    def text_width(self) -> int:
        """Tokens of a text that the model reads; 0 where it reads a table."""
        return 0

    @property
    def frozen(self) -> bool:
        """Whether all but a head on top stays as it was loaded, so that it does the same in every repetition."""
        return False

    @property
    def quantisable(self) -> bool:
        """Whether its weights are float32."""
        return True

    def passes(self, ways: int, seeds: int) -> int:
        """Passes over all rows that are costly beside training, of rows written in so many ways."""
        return 0


def _of_kind(value: Any) -> Any:
    """The spec of the kind that is asked for, by the plugin that is registered under its name."""
    if not isinstance(value, dict):
        return value
    known = plugin_names("models")
    if "kind" not in value:
        return TrainingSpec.model_validate({})  # whose complaint names the key
    kind = str(value["kind"])[:60]
    if kind not in known:
        mend = did_you_mean(kind, known, f"one of {', '.join(known)}", cutoff=0.6)
        raise PydanticCustomError("unknown_kind", "unknown kind '{given}'", {"given": kind, "mend": mend})
    return load_plugin("models", kind, where="model.kind").spec.model_validate(value)


ModelSpec = Annotated[SerializeAsAny[TrainingSpec], BeforeValidator(_of_kind)]
