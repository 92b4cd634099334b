"""The threshold of a recipe: who would be selected."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from proxyaudit.errors import InputError, did_you_mean
from proxyaudit.recipe.models import Strict


class Selection(Strict):
    """Who counts as selected: whose predicted probability of the outcome is at least the threshold."""

    threshold: Annotated[float, Field(gt=0, lt=1, strict=True)]
    outcome: str | None = None  # class of the target; by default the positive one of two

    def column(self, classes: Sequence[str]) -> int:
        """Place of the outcome among the classes of the target; ``InputError`` where it is none, or several are left to choose from."""
        if self.outcome is not None and self.outcome in classes:
            return list(classes).index(self.outcome)
        where, mend = "recipe: selection.outcome", f"one of {', '.join(classes)}"
        if self.outcome is not None:
            raise InputError(f"'{self.outcome}' is no class of the target", where=where, mend=did_you_mean(self.outcome, classes, mend))
        if len(classes) != 2:
            raise InputError(f"the target has {len(classes)} classes, and no outcome is named that selects", where=where, mend=mend)
        return 1
