"""Trees that XGBoost boosts (extra ``trees``)."""

from typing import Annotated, Literal

from pydantic import Field

from proxyaudit.models.kinds.trees import Leaves, TreeSpec, tree_kind
from proxyaudit.recipe.models import Positive


class XGBoostSpec(TreeSpec):
    """``XGBClassifier`` on the encoded table, grown leaf by leaf on histograms; the keys are its own.

    ``colsample_bynode`` is the share of the encoded columns that each split may choose from, below XGBoost's 1.0: with all columns nothing
    is drawn at random, and two repetitions on the same rows would be one.
    """

    library = "proxyaudit.models.libraries.xgboost:grow"

    kind: Literal["xgboost"]
    n_estimators: Positive = 100
    learning_rate: Annotated[float, Field(gt=0)] = 0.1
    max_leaves: Leaves = 31
    max_depth: Positive | None = None
    min_child_weight: Annotated[float, Field(ge=0)] = 1.0
    reg_lambda: Annotated[float, Field(ge=0)] = 1.0
    subsample: Annotated[float, Field(gt=0, le=1)] = 1.0
    colsample_bynode: Annotated[float, Field(gt=0, le=1)] = 0.5

    @property
    def own_size(self) -> tuple[int, int]:
        """Iterations and leaves."""
        return self.n_estimators, self.max_leaves

    @property
    def deepest(self) -> int | None:
        """Most splits above a leaf."""
        return self.max_depth

    @property
    def step(self) -> float:
        """The learning rate."""
        return self.learning_rate


KIND = tree_kind(XGBoostSpec, 0.0012, ("xgboost", "xgboost-cpu"))
"""An epoch is one iteration."""
