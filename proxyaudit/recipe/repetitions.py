"""How often a kind of training is repeated: so many times, or models crossed with synthetic tables, and more where they could settle it."""

from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from proxyaudit.arrays import Places
from proxyaudit.recipe.models import Strict, refuse

_Count = Annotated[int, Field(ge=1, le=100, strict=True)]


class SeedsSpec(Strict):
    """Tables of each synthesizer, models trained on each table, and up to how many models there may be of one kind of training."""

    tables: _Count = 3
    models: _Count = 3
    up_to: Annotated[int, Field(ge=1, le=1000, strict=True)] | None = None

    @model_validator(mode="after")
    def _room(self) -> Self:
        least = self.tables * self.models
        refuse(least > 1000, f"{self.tables} tables with {self.models} models each are {least} models, more than 1000")
        short = self.up_to is not None and self.up_to < least
        refuse(short, f"'up_to' is {self.up_to}, and {self.tables} tables with {self.models} models each are {least} models already")
        return self


def _written(value: Any) -> str:
    return "~mapping" if isinstance(value, SeedsSpec | dict) else "~number"


def _number(value: Any) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool)
    given = f" (given: {str(value)[:60]!r})" if isinstance(value, str | int | float) else ""
    refuse(not whole, f"'seeds' should be a valid integer, or {{tables: 3, models: 3}} with 'up_to' where more may be trained{given}")
    return value


Seeds = Annotated[
    Annotated[int, Field(ge=1, le=100), BeforeValidator(_number), Tag("~number")] | Annotated[SeedsSpec, Tag("~mapping")],
    Discriminator(_written),
]
"""``seeds`` of a recipe. Where a mistake lies is told without the tags."""


@dataclass(frozen=True)
class Design:
    """Repetitions of one kind of training: how many at each look at the results, and the table and model of each."""

    looks: tuple[int, ...]  # rising; the first is what is done at first, the last what is done at most
    places: Places = ()  # of as many as there are at most; empty where every repetition has a table and a model of its own

    @property
    def crossed(self) -> bool:
        """Whether models were trained on each of several tables."""
        return len({table for table, _ in self.places}) > 1

    def describe(self) -> dict[str, Any]:
        """Tables and models at first, and how many repetitions there are at each look, as a plan holds them."""
        first = self.places[: self.looks[0]]
        counts = [len({place[axis] for place in first}) for axis in (0, 1)] if first else [self.looks[0], 1]
        return {"tables": counts[0], "models": counts[1], "looks": list(self.looks)}

    def place(self, repetition: int) -> tuple[int, int]:
        """Table and model of a repetition; each its own where nothing is crossed."""
        return self.places[repetition] if self.places else (repetition, repetition)

    def key(self, repetition: int) -> tuple[int, ...]:
        """What the randomness of a repetition is drawn by: its number, or table and model where these are crossed."""
        place = self.place(repetition)
        return place if self.crossed else place[1:]

    def is_first_of_table(self, repetition: int) -> bool:
        """Whether no earlier repetition has its table."""
        table = self.place(repetition)[0]
        return all(self.place(earlier)[0] != table for earlier in range(repetition))


def design_of(seeds: int | SeedsSpec, *, makes_tables: bool) -> Design:
    """The repetitions of a kind of training; ``makes_tables``: its rows are synthesized here, so that tables can be repeated."""
    if isinstance(seeds, int):
        return Design((seeds,))
    most = seeds.up_to if seeds.up_to is not None else (seeds.tables if makes_tables else 1) * seeds.models
    if not makes_tables:
        return Design(_looks(seeds.models, most), tuple((0, model) for model in range(most)))
    tables = _looks(seeds.tables, most // seeds.models)
    looks = tuple(count * seeds.models for count in tables)
    if seeds.models == 1:
        return Design(looks)
    return Design(looks, _crossed(tables, seeds.models))


def _looks(first: int, most: int) -> tuple[int, ...]:
    """Twice as many at each look as at the one before, until there are as many as there may be."""
    found = [first]
    while found[-1] < most:
        found.append(min(2 * found[-1], most))
    return tuple(found)


def _crossed(tables: tuple[int, ...], models: int) -> Places:
    """Every model on every table, look by look; the first repetitions have tables and models of their own, as far as these go round."""
    found: list[tuple[int, int]] = []
    for start, end in zip((0, *tables), tables, strict=False):
        found += [(table, (table + shift) % models) for shift in range(models) for table in range(start, end)]
    return tuple(found)
