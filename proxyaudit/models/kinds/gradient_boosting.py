"""Gradient-boosted trees."""

from typing import Annotated, Literal

from pydantic import Field

from proxyaudit.models.kinds import ModelKind
from proxyaudit.recipe.models import KindSpec, Positive

Leaves = Annotated[int, Field(ge=2, le=4096, strict=True)]
NO_DIGITS = "'quantise' rounds the weights of networks, and trees have none: leave the regime out"


class GradientBoostingSpec(KindSpec):
    """scikit-learn's ``HistGradientBoostingClassifier`` on the encoded table, without early stopping; the keys are its own.

    ``max_features`` is the share of the encoded columns that each split may choose from. It is below scikit-learn's 1.0: with all columns
    nothing is drawn at random, and two repetitions on the same rows would be one.
    """

    kind: Literal["gradient_boosting"]
    max_iter: Positive = 100
    learning_rate: Annotated[float, Field(gt=0)] = 0.1
    max_leaf_nodes: Leaves = 31
    max_depth: Positive | None = None
    min_samples_leaf: Positive = 20
    l2_regularization: Annotated[float, Field(ge=0)] = 0.0
    max_features: Annotated[float, Field(gt=0, le=1)] = 0.5

    @property
    def rounds(self) -> int:
        """Passes over the training rows: one for each iteration."""
        return self.max_iter

    @property
    def unquantisable(self) -> str:
        """Why its weights cannot be rounded to fewer digits."""
        return NO_DIGITS


KIND = ModelKind(
    GradientBoostingSpec,
    "proxyaudit.models.trees:make_boosting",
    seconds=0.0012,
    trainer="proxyaudit.models.growing:train_trees",
    untrained="proxyaudit.models.growing:random_ensemble",
)
"""An epoch is one iteration."""
