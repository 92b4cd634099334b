"""The smallest amounts that matter."""

from typing import Annotated, Final, Self

from pydantic import Field

from proxyaudit.recipe.models import Strict

# Of predictions in standard deviations: what the margins of probabilities are of a label that half of all people have.
OF_NUMBERS: Final = {"gap": 0.10, "effect": 0.04}


class Margins(Strict):
    """Smallest amounts that matter; what lies below them may be called absent."""

    leak: Annotated[float, Field(gt=0, lt=1)] = 0.02
    nonlinear: Annotated[float, Field(gt=0, lt=1)] = 0.10
    gap: Annotated[float, Field(gt=0, lt=1)] = 0.05
    effect: Annotated[float, Field(gt=0, lt=1)] = 0.02
    relearned: Annotated[float, Field(gt=0, lt=1)] = 0.05

    def of_numbers(self) -> Self:
        """The same for a target that is a number: what the recipe does not say of gaps and effects, in standard deviations."""
        return self.model_copy(update={name: wide for name, wide in OF_NUMBERS.items() if name not in self.model_fields_set})
