"""The ``language_model`` and ``ngram`` parts of a synthetic regime: which model writes the texts, and how."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["LanguageModelSpec", "NgramSpec"]

_Positive = Annotated[int, Field(gt=0, strict=True)]


class LanguageModelSpec(BaseModel):
    """A local causal model that writes labelled texts after seeing the real ones.

    ``fine_tune`` trains it on the real texts, each after its label; ``few_shot`` shows it ``examples`` real texts of the label before
    each batch of ``texts_per_prompt`` new ones and trains nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    path: str
    package: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$")] | None = None
    gguf_file: str | None = None
    hub: bool = False
    revision: str | None = None
    trust_remote_code: bool = False
    mode: Literal["fine_tune", "few_shot"] = "fine_tune"
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    batch_size: _Positive = 8
    max_tokens: Annotated[int, Field(ge=2, le=4096, strict=True)] = 96
    examples: Annotated[int, Field(ge=1, le=32, strict=True)] = 4
    texts_per_prompt: _Positive = 16
    temperature: Annotated[float, Field(gt=0, le=5)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95

    @model_validator(mode="after")
    def _one_place(self) -> LanguageModelSpec:
        if self.hub and self.package is not None:
            raise ValueError("'hub' (a name on a model hub) and 'package' (a folder in an installed package) exclude each other")
        if self.revision is not None and not self.hub:
            raise ValueError("'revision' belongs to 'hub: true'")
        return self


class NgramSpec(BaseModel):
    """An interpolated n-gram model of words that writes labelled texts; a context that too few texts share is not used."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    order: Annotated[int, Field(ge=1, le=8, strict=True)] = 4
    fewest_texts: Annotated[int, Field(ge=2, strict=True)] = 3
    max_words: Annotated[int, Field(ge=2, le=4096, strict=True)] = 150
