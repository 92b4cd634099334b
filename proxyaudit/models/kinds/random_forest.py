"""Random forests."""

from typing import Annotated, Literal

from pydantic import Field

from proxyaudit.models.kinds.gradient_boosting import TrustedType
from proxyaudit.models.kinds.trees import Leaves, TreeSpec, tree_kind
from proxyaudit.recipe.models import Positive


class RandomForestSpec(TreeSpec):
    """scikit-learn's ``RandomForestClassifier`` on the encoded table; the keys are its own.

    Trees have a bounded number of leaves, so that every model of an audit has the same shape; raise ``max_leaf_nodes`` for deeper ones.
    ``trusted`` are types that a skops file may hold.
    """

    library, votes, joint = "proxyaudit.models.libraries.sklearn:grow", True, True

    kind: Literal["random_forest"]
    encoding: Literal["one_hot"] = "one_hot"  # the library's forests know no categories
    n_estimators: Positive = 100
    max_leaf_nodes: Leaves = 64
    max_depth: Positive | None = None
    min_samples_leaf: Positive = 5
    max_features: Literal["sqrt"] | Annotated[float, Field(gt=0, le=1)] = "sqrt"
    trusted: tuple[TrustedType, ...] = ()

    @property
    def own_size(self) -> tuple[int, int]:
        """Trees and leaves."""
        return self.n_estimators, self.max_leaf_nodes

    @property
    def deepest(self) -> int | None:
        """Most splits above a leaf."""
        return self.max_depth


KIND = tree_kind(RandomForestSpec, 0.0011)
"""An epoch is one tree."""
