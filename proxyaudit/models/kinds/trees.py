"""What the kinds of trees share: how many there are, of how many leaves, and what one of them says."""

from typing import Annotated, ClassVar

from pydantic import Field

from proxyaudit.recipe.models import KindSpec, Positive

Leaves = Annotated[int, Field(ge=2, le=4096, strict=True)]
_NO_DIGITS = "'quantise' rounds the weights of networks, and trees have none: leave the regime out"


class TreeSpec(KindSpec):
    """An ensemble of trees; every model of an audit has room for the same number of them and of leaves.

    ``room`` is that number where the recipe names model files: trees (of each class, where each has its own) and leaves of the largest. It
    is written by the audit, into the recipe of the run.
    """

    library: ClassVar[str]  # ``module:function`` that grows the trees; the same module reads the library's files
    votes: ClassVar[bool] = False  # a forest: what trees say adds up to the probability, not to the logit
    joint: ClassVar[bool] = False  # each tree speaks of every class

    room: tuple[Positive, Positive] | None = None

    @property
    def package(self) -> str:
        """The package that grows the trees."""
        return self.library.partition(":")[0].rpartition(".")[2]

    @property
    def own_size(self) -> tuple[int, int]:
        """Numbers of trees (of each class) and of leaves that training here gives at most."""
        raise NotImplementedError

    @property
    def deepest(self) -> int | None:
        """Most splits above a leaf; ``None`` without bound."""
        raise NotImplementedError

    @property
    def step(self) -> float:
        """How large a tree's first step is; of boosted trees the learning rate."""
        return 1.0

    @property
    def size(self) -> tuple[int, int]:
        """Numbers of trees (of each class) and of leaves that a model has room for."""
        return self.own_size if self.room is None else self.room

    @property
    def rounds(self) -> int:
        """Passes over the training rows: one for each iteration."""
        return self.own_size[0]

    @property
    def unquantisable(self) -> str:
        """Why its weights cannot be rounded to fewer digits."""
        return _NO_DIGITS

    def settings(self) -> dict[str, object]:
        """The keys that are the library's own."""
        return self.model_dump(exclude={"kind", "class_weight", "room", "trusted"})


FACTORY, TRAINER, UNTRAINED = (
    "proxyaudit.models.trees:make_trees",
    "proxyaudit.models.growing:train_trees",
    "proxyaudit.models.growing:random_ensemble",
)
