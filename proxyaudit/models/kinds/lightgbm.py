"""Trees that LightGBM boosts (extra ``trees``)."""

from typing import Annotated, Literal

from pydantic import Field

from proxyaudit.models.kinds.trees import Leaves, TreeSpec, tree_kind
from proxyaudit.recipe.models import Positive


class LightGBMSpec(TreeSpec):
    """``LGBMClassifier`` on the encoded table; the keys are its own.

    ``feature_fraction_bynode`` is the share of the encoded columns that each split may choose from, below LightGBM's 1.0: with all columns
    nothing is drawn at random, and two repetitions on the same rows would be one.
    """

    library = "proxyaudit.models.libraries.lightgbm:grow"

    kind: Literal["lightgbm"]
    n_estimators: Positive = 100
    learning_rate: Annotated[float, Field(gt=0)] = 0.1
    num_leaves: Leaves = 31
    max_depth: Positive | None = None
    min_child_samples: Positive = 20
    reg_lambda: Annotated[float, Field(ge=0)] = 0.0
    feature_fraction_bynode: Annotated[float, Field(gt=0, le=1)] = 0.5

    @property
    def own_size(self) -> tuple[int, int]:
        """Iterations and leaves."""
        return self.n_estimators, self.num_leaves

    @property
    def deepest(self) -> int | None:
        """Most splits above a leaf."""
        return self.max_depth

    @property
    def step(self) -> float:
        """The learning rate."""
        return self.learning_rate


KIND = tree_kind(LightGBMSpec, 0.0012, ("lightgbm",))
"""An epoch is one iteration."""
