"""Gradient-boosted trees."""

from typing import Annotated, Literal

from pydantic import Field

from proxyaudit.models.kinds.trees import Leaves, TreeSpec, tree_kind
from proxyaudit.recipe.models import Positive

# What skops does not trust by itself and models of trees need: plain data of scikit-learn, and of models of categories the check of their
# columns, which is never called. No other type is ever loaded.
TrustedType = Literal[
    "sklearn.tree._tree.Tree",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "functools.partial",
    "sklearn.utils.validation.check_array",
]


class GradientBoostingSpec(TreeSpec):
    """scikit-learn's ``HistGradientBoostingClassifier`` on the encoded table, without early stopping; the keys are its own.

    ``max_features`` is the share of the encoded columns that each split may choose from. It is below scikit-learn's 1.0: with all columns
    nothing is drawn at random, and two repetitions on the same rows would be one. ``trusted`` are types that a skops file may hold.
    """

    library = "proxyaudit.models.libraries.sklearn:grow"

    kind: Literal["gradient_boosting"]
    max_iter: Positive = 100
    learning_rate: Annotated[float, Field(gt=0)] = 0.1
    max_leaf_nodes: Leaves = 31
    max_depth: Positive | None = None
    min_samples_leaf: Positive = 20
    l2_regularization: Annotated[float, Field(ge=0)] = 0.0
    max_features: Annotated[float, Field(gt=0, le=1)] = 0.5
    trusted: tuple[TrustedType, ...] = ()

    @property
    def own_size(self) -> tuple[int, int]:
        """Iterations and leaves."""
        return self.max_iter, self.max_leaf_nodes

    @property
    def deepest(self) -> int | None:
        """Most splits above a leaf."""
        return self.max_depth

    @property
    def step(self) -> float:
        """The learning rate."""
        return self.learning_rate


KIND = tree_kind(GradientBoostingSpec, 0.0012)
"""An epoch is one iteration."""
