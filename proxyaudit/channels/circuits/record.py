"""What is exchanged inside a transformer, and what that did."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from proxyaudit.causal.circuits import Switched
from proxyaudit.causal.interchange import Effect
from proxyaudit.estimates.record import Shelf


@dataclass(frozen=True)
class PartName:
    """A part as evidence names it."""

    site: str
    kind: str  # residual, attention, mlp, head, units or unit
    subject: str  # its name within the site


@dataclass(frozen=True)
class Exchanged:
    """A part whose own pooled value was exchanged."""

    name: PartName
    effect: Effect
    random: Effect | None = None  # of as many other units of the same place, where it is units
    predicted: float | None = None  # what the gradient predicts, signed
    by: str | None = None  # why it was tried: ``gradient``, ``difference``, ``random`` or ``all``


@dataclass(frozen=True)
class SwitchedPart:
    """A part that was set to its mean."""

    name: PartName
    switched: Switched


@dataclass(frozen=True)
class Circuit:
    """The smallest set of parts that carries most of the effect, on rows that it was not found on."""

    names: tuple[PartName, ...]
    carried: Effect  # what is carried with all other parts held at the recipient's
    left: Effect  # what is carried where the parts of the circuit are held
    random: Effect  # what as many parts of the same kinds at random carry
    direct: Effect  # what is carried where every part is held: past all of them, from the embeddings on


@dataclass(frozen=True)
class CircuitsRecord:
    """What was exchanged for one attribute in one model, on ``rows`` recipients; or why nothing was."""

    rows: int = 0
    whole: Effect | None = None  # what exchanging everything does
    tried: tuple[Exchanged, ...] = ()
    random: tuple[Exchanged, ...] = ()
    edges: tuple[Exchanged, ...] = ()
    positions: tuple[Exchanged, ...] = ()  # the subject ends with the position
    switched: tuple[SwitchedPart, ...] = ()
    parts: int = 0  # that a circuit is made of
    circuit: Circuit | None = None
    no_circuit: str | None = None
    left: Mapping[str, int] = field(default_factory=dict)  # parts of each kind that were not tried
    left_largest: float = 0.0  # the most that the gradient predicts of any of them, per row
    no_gradient: str | None = None
    reason: str | None = None


CIRCUITS = Shelf("circuits", CircuitsRecord)
