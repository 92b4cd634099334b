"""The ``data`` section of a recipe: where the real data are, and what each column is for."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from proxyaudit.recipe.models import Positive, Share, Strict

__all__ = ["DataSpec"]


def _rising(edges: tuple[float, ...]) -> tuple[float, ...]:
    if any(low >= high for low, high in pairwise(edges)):
        raise ValueError("bands are cut at rising numbers, e.g. [30, 40, 50]")
    return edges


Edges = Annotated[tuple[Annotated[float, Field(strict=True)], ...], Field(min_length=1, max_length=20), AfterValidator(_rising)]


class DataSpec(Strict):
    """Where the real data are and what each column is for."""

    card: str | None = None
    path: str | None = None
    text: str | None = None
    target: str | None = None
    target_positive: str | None = None
    target_threshold: float | Literal["median"] | None = None
    protected: tuple[str, ...] | None = None
    bands: dict[str, Edges] | None = None
    proxies: tuple[str, ...] | None = None
    discover: Annotated[int, Field(ge=0, le=20, strict=True)] = 1
    exclude: tuple[str, ...] | None = None
    legitimate: tuple[str, ...] | None = None
    holdout: str | None = None
    group: str | None = None
    encode: Literal["standard", "none"] = "standard"
    audit_share: Share = 0.5
    max_rows: Positive | None = None

    @model_validator(mode="after")
    def _one_source(self) -> DataSpec:
        if self.card is None and self.path is None:
            raise ValueError("give 'card' or 'path' (both: the card's roles for the file at path)")
        if self.card is None and not self.protected:
            raise ValueError("'protected' is needed: name at least one protected column")
        if self.card is None and self.target is None:
            raise ValueError("'target' is needed: name the column that the model predicts")
        if self.text is not None and self.text in (self.target, self.group, *(self.protected or ()), *(self.proxies or ())):
            raise ValueError("'text' is the column that the model reads; it can have no other role")
        if self.text is not None and self.encode == "none":
            raise ValueError("'encode: none' is for tables of numbers; a text is turned into the model's own tokens")
        return self
