"""Random forests."""

from typing import Annotated, Literal

from pydantic import Field

from proxyaudit.models.kinds import ModelKind
from proxyaudit.models.kinds.gradient_boosting import NO_DIGITS, Leaves
from proxyaudit.recipe.models import KindSpec, Positive


class RandomForestSpec(KindSpec):
    """scikit-learn's ``RandomForestClassifier`` on the encoded table; the keys are its own.

    Trees have a bounded number of leaves, so that every model of an audit has the same shape; raise ``max_leaf_nodes`` for deeper ones.
    """

    kind: Literal["random_forest"]
    n_estimators: Positive = 100
    max_leaf_nodes: Leaves = 64
    max_depth: Positive | None = None
    min_samples_leaf: Positive = 5
    max_features: Literal["sqrt"] | Annotated[float, Field(gt=0, le=1)] = "sqrt"

    @property
    def rounds(self) -> int:
        """Passes over the training rows: one for each tree."""
        return self.n_estimators

    @property
    def unquantisable(self) -> str:
        """Why its weights cannot be rounded to fewer digits."""
        return NO_DIGITS


KIND = ModelKind(
    RandomForestSpec,
    "proxyaudit.models.trees:make_forest",
    seconds=0.0011,
    trainer="proxyaudit.models.growing:train_trees",
    untrained="proxyaudit.models.growing:random_ensemble",
)
"""An epoch is one tree."""
