"""What the kinds of trees share: how many there are, of how many leaves, and what one of them says."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from proxyaudit.limits import MOST_LEAVES, at_most, how_to_raise
from proxyaudit.models.kinds import ModelKind
from proxyaudit.models.places import Candidates, Tap, columns_of
from proxyaudit.recipe.models import KindSpec, Positive
from proxyaudit.types import PENULTIMATE

MARGINS, FIRST_HALF, LEAVES = "margins", "margins.first_half", "leaves"
SKETCH = 128  # units of the site ``leaves``, or as many as there are leaves
Leaves = Annotated[int, Field(ge=2, le=4096, strict=True)]
_WORDS = 4  # for 256 codes: no table of an audit has more levels of a column, see MAX_ENCODED_LEVELS
_NO_DIGITS = "'quantise' rounds the weights of networks, and trees have none: leave the regime out"


class TreeSpec(KindSpec):
    """An ensemble of trees; every model of an audit has room for the same number of them and of leaves.

    ``room`` is that number where the recipe names model files: trees (of each class, where each has its own) and leaves of the largest. It
    is written by the audit, into the recipe of the run; so are ``codes``, the numbers of the columns that hold codes of categories.
    ``encoding`` is ``native`` where trees themselves split by categories and send missing values their way, ``one_hot`` where they read
    what networks read: a column for each level, and medians for what is missing.
    """

    library: ClassVar[str]  # ``module:function`` that grows the trees; the same module reads the library's files
    votes: ClassVar[bool] = False  # a forest: what trees say adds up to the probability, not to the logit
    joint: ClassVar[bool] = False  # each tree speaks of every class

    encoding: Literal["native", "one_hot"] = "native"
    room: tuple[Positive, Positive] | None = None
    codes: tuple[Annotated[int, Field(ge=0, strict=True)], ...] = ()

    @property
    def native(self) -> bool:
        """Whether categories and missing values are handed over as such."""
        return self.encoding == "native"

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        trees, leaves = self.own_size
        if trees * leaves > at_most(MOST_LEAVES):
            most = f"at most {at_most(MOST_LEAVES):,} leaves are grown ({how_to_raise()})"
            raise ValueError(f"{trees:,} trees of up to {leaves:,} leaves are too many: {most}")
        return self

    @property
    def input_encoding(self) -> str:
        """How categories and missing values reach the trees."""
        return self.encoding

    @property
    def words(self) -> int:
        """Words of 64 bits that a set of categories takes; none where no column holds categories."""
        return _WORDS if self.codes else 0

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
        return self.model_dump(exclude={"kind", "class_weight", "encoding", "room", "codes", "trusted"})


def can_erase(spec: KindSpec) -> bool:
    """Whether erasing inside a kind of model is worth a trial: the margins of trees are what their output is made of, and nothing more."""
    return not isinstance(spec, TreeSpec)


def summed(spec: TreeSpec, n_classes: int) -> tuple[int, bool]:
    """How many sums the trees add up to, and whether these are votes: of a number there are none, what the trees say adds up to it."""
    votes = spec.votes and n_classes > 1
    return n_classes - 1 if votes else columns_of(n_classes), votes


def shape_of(spec: TreeSpec, n_classes: int) -> tuple[int, int, int]:
    """Numbers of trees, of nodes of each, and of outputs that a model has room for."""
    columns, (trees, leaves) = summed(spec, n_classes)[0], spec.size
    outputs = columns if spec.joint else 1
    return trees * columns // outputs, 2 * leaves - 1, outputs


def places(spec: TreeSpec, n_classes: int) -> Candidates:
    """Leaves, beside the path to the output, the margins of the first half of the iterations or trees, and all margins."""
    (trees, nodes, outputs), half = shape_of(spec, n_classes), max(spec.size[0] // 2, 1) * summed(spec, n_classes)[0]
    first = Tap("head", "input", span=(0, half))
    taps = {LEAVES: Tap("trees.sketch", "output", aside=True), FIRST_HALF: first, MARGINS: Tap("head", "input", "method")}
    widths = {LEAVES: min(SKETCH, trees * nodes), FIRST_HALF: half, MARGINS: trees * outputs}
    return Candidates(taps, {PENULTIMATE: MARGINS}, widths=widths)  # the margins are what the output is made of


def pass_seconds(spec: TreeSpec) -> float:
    """Seconds that 1,000 rows take on their way through the trees, when millions are sent."""
    return 2e-4 * spec.size[0]


def tree_kind(spec: type[TreeSpec], seconds: float, packages: tuple[str, ...] = ()) -> ModelKind:
    """A kind of trees: all are made, trained and audited alike; ``seconds`` are those of an iteration on 1,000 rows."""
    return ModelKind(
        spec,
        "proxyaudit.models.trees:make_trees",
        seconds=seconds,
        trainer="proxyaudit.models.growing:train_trees",
        untrained="proxyaudit.models.growing:random_ensemble",
        pass_seconds=pass_seconds,
        places=places,
        packages=packages,
    )
