"""The plan of an audit of models: what is fixed before anything is measured."""

from dataclasses import dataclass, field, fields
from typing import Any, Final

UNEVEN: Final = 1.2
"""What a plan promises beside the machine that its constants are of: others were found to take up to 2.2 times as long."""

FEWEST_PERMUTATIONS: Final = 999


def permutations_needed(cells: int) -> int:
    """Enough permutations that Holm over the cells can be passed (R >= 40 x cells)."""
    return max(FEWEST_PERMUTATIONS, 40 * cells)


@dataclass(frozen=True)
class Plan:
    """What is fixed before anything is measured, as ``plan.json`` holds it.

    The digest covers all of it but ``digest``, ``run_id``, ``code`` and ``estimated_minutes``, and the recipe and the code beside it.
    """

    name: str
    seed: int
    seeds: int | dict[str, int]
    regimes: list[dict[str, Any]]
    references: list[str]
    sites: dict[str, list[str]]
    attributes: list[dict[str, Any]]
    proxies: dict[str, Any]
    localisation: dict[str, Any]
    columns: list[str]
    rows: dict[str, Any]
    audit_rows: str
    holdout: bool
    target: dict[str, Any]
    margins: dict[str, float]
    level: float
    cells: int
    permutations: int
    tasks: int
    notes: list[dict[str, Any]]
    hashes: dict[str, str]
    versions: dict[str, str]
    schema_version: str
    language_models: list[dict[str, Any]] = field(default_factory=list)
    no_absence: list[str] = field(default_factory=list)
    repetitions: dict[str, Any] = field(default_factory=dict)  # where they are more than one number: what is done at each look
    input_encoding: str = ""  # of trees: how categories and missing values reach them
    digest: str = ""
    code: str = ""
    estimated_minutes: float = field(default=0.0, compare=False)

    @property
    def run_id(self) -> str:
        """Name of the run's folder."""
        return self.digest[:12]

    def content(self) -> dict[str, Any]:
        """What the digest is made of."""
        beside, where_any = {"digest", "code", "estimated_minutes"}, {"language_models", "no_absence", "repetitions", "input_encoding"}
        found = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in beside}
        return {key: value for key, value in found.items() if value or key not in where_any}

    def as_dict(self) -> dict[str, Any]:
        """The whole plan as ``plan.json`` holds it."""
        first = {"digest": self.digest, "run_id": self.run_id, "code": self.code}
        return {**first, **self.content(), "estimated_minutes": self.estimated_minutes}
