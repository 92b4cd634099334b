"""Trees that CatBoost boosts (extra ``trees``)."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from proxyaudit.models.kinds.trees import TreeSpec, tree_kind
from proxyaudit.recipe.models import Positive


class CatBoostSpec(TreeSpec):
    """``CatBoostClassifier`` on the encoded table: trees that ask the same of all rows at a depth; the keys are its own.

    Rows and scores of splits are drawn at random, as CatBoost does by itself; ``rsm`` is the share of the encoded columns that each split
    may choose from.
    """

    library = "proxyaudit.models.libraries.catboost:grow"
    joint: ClassVar[bool] = True

    kind: Literal["catboost"]
    iterations: Positive = 100
    learning_rate: Annotated[float, Field(gt=0)] = 0.1
    depth: Annotated[int, Field(ge=1, le=12, strict=True)] = 5
    l2_leaf_reg: Annotated[float, Field(ge=0)] = 3.0
    rsm: Annotated[float, Field(gt=0, le=1)] = 0.5

    @property
    def own_size(self) -> tuple[int, int]:
        """Iterations and leaves."""
        return self.iterations, 2**self.depth

    @property
    def deepest(self) -> int | None:
        """Most splits above a leaf."""
        return self.depth

    @property
    def step(self) -> float:
        """The learning rate."""
        return self.learning_rate


KIND = tree_kind(CatBoostSpec, 0.0015, ("catboost",))
"""An epoch is one iteration."""
