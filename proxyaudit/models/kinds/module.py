"""A user's own torch module."""

from typing import Literal

from pydantic import field_validator

from proxyaudit.models.kinds import ModelKind
from proxyaudit.recipe.models import TrainingSpec


class ModuleSpec(TrainingSpec):
    """A user's own torch module made by ``factory`` (``file.py:function``, relative to the recipe)."""

    kind: Literal["module"]
    factory: str
    sites: tuple[str, ...] = ("*",)
    predicts: Literal["units"] | None = None  # a numeric target in its own units, not in standard deviations from its mean

    @field_validator("factory")
    @classmethod
    def _file_and_function(cls, value: str) -> str:
        file, _, function = value.rpartition(":")
        if not file.endswith(".py") or not function.isidentifier():
            raise ValueError(f"write 'file.py:function', not '{value[:60]}'")
        return value

    @property
    def of_labels(self) -> bool:
        """A module may have an output for each label."""
        return True

    @property
    def in_units(self) -> bool:
        """Whether it predicts a number in the number's own units."""
        return self.predicts == "units"

    @property
    def described(self) -> str:
        """What messages call the model."""
        return f"the module of '{self.factory}'"

    @property
    def outside(self) -> str:
        """Where the recipe names code that makes the model."""
        return f"model.factory '{self.factory}'"


KIND = ModelKind(ModuleSpec, "proxyaudit.models.module:make_module", seconds=0.02, hashes="proxyaudit.models.module:factory_hashes")
