"""The registry of planted models: what each carries, where, and what its head reads."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from proxyaudit.arrays import Floats
from proxyaudit.planted import models as parts
from proxyaudit.planted.construction import Rng
from proxyaudit.planted.models import INPUTS, ROWS, WIDTH, Basis, Draft, PlantedModel, States, Truth, Weights
from proxyaudit.seeding import stream

CHAIN = ("block1", "penultimate")
_SILENT: States = {"linear": "absent", "nonlinear": "absent", "beyond": "absent", "expressed": "absent", "used": "absent"}
_UNUSED: States = {"linear": "present", "beyond": "present", "elsewhere": "present", "expressed": "absent", "used": "absent"}
_SHOWN: States = {"linear": "present", "beyond": "present", "elsewhere": "present", "expressed": "present", "used": "present"}
_FLIPPED = 0.1
# Gains of what models read that ignore the group: where outputs scatter more, no test settles an effect of .02 on 4,000 rows.
_QUIET = (0.4, 0.6)
_DORMANT_SPREAD, _DORMANT_GAIN = 0.05, 5.0


@dataclass(frozen=True)
class Builder:
    """What a builder is given."""

    kind: str
    draft: Draft
    rngs: list[Rng]

    def strength(self, low: float, high: float) -> float:
        """A gain or a shift of this model, drawn with its rows."""
        return float(self.draft.rng.uniform(low, high))

    def chain(
        self,
        gains: dict[str, float],
        truth: Truth,
        detail: str,
        *,
        keep: tuple[str, ...] = (),
        drop: tuple[str, ...] = (),
        profile: tuple[str, ...] = CHAIN,
        product: bool = False,
        unread: Floats | float = 0.0,
    ) -> PlantedModel:
        """Two blocks and a head that reads the roles in ``gains``; the second block passes on those and ``keep``, and takes out ``drop``.

        With ``product`` the first block replaces the columns ``left`` and ``right`` by their product's sign and size; ``unread`` moves the
        labels' log-odds, not the model's.
        """
        read = sum((gain * self.draft.features[role] for role, gain in gains.items()), np.zeros(self.draft.n))
        table, place = self.draft.table(read + unread)
        kept = (*gains, *keep)
        checkpoints = []
        for rng in self.rngs:
            second = Basis.random(WIDTH, rng)
            head = sum(gain * rng.uniform(0.9, 1.1) * second.read[index] for index, gain in enumerate(gains.values()))
            weights = two_blocks(place, kept, drop, second, rng, product=product)
            checkpoints.append(
                {**weights, "head.weight": parts.single(np.reshape(head, (1, WIDTH))), "head.bias": parts.single(np.zeros(1))}
            )
        return PlantedModel(self.kind, table, "make_linear_head", tuple(checkpoints), ("penultimate",), profile, truth, detail)


def two_blocks(
    place: dict[str, int], kept: tuple[str, ...], drop: tuple[str, ...], second: Basis, rng: Rng, *, product: bool = False
) -> Weights:
    """Weights of both blocks: the first passes everything on, the second the kept coordinates and mixtures of the rest."""
    order = sorted(place, key=lambda role: place[role])
    first = Basis.random(INPUTS, rng)
    if product:
        hidden, plus, minus = _sign_and_size(place["left"], place["right"])
        weights = parts.block_weights(hidden, first.write @ plus, first.write @ minus, "block1")
        order = ["product" if role == "left" else "size" if role == "right" else role for role in order]
    else:
        weights = parts.pass_on(first.write, rng, "block1")
    return {**weights, **parts.pass_on(second.write @ parts.selection(order, kept, drop, WIDTH, rng) @ first.read, rng, "block2")}


def _sign_and_size(left: int, right: int) -> tuple[Floats, Floats, Floats]:
    """Hidden directions and readouts ``(p, p)`` of ``|x + y| - |x - y|`` and ``|x + y| + |x - y|`` in place of ``x`` and ``y``."""
    hidden, plus, minus = np.eye(INPUTS), np.eye(INPUTS), -np.eye(INPUTS)
    for row, sign in ((left, 1.0), (right, -1.0)):
        hidden[row] = 0
        hidden[row, [left, right]] = (1, sign)
    for readout in (plus, minus):
        readout[left] = readout[right] = 0
        readout[left, [left, right]] = (1, -1)
        readout[right, [left, right]] = (1, 1)
    return hidden, plus, minus


def _add_carrier_and_signal(b: Builder, low: float, high: float) -> None:
    """A column that carries the group by a shift in this range, and one that moves the labels and ignores the group."""
    b.draft.add("carrier", b.draft.shifted(b.strength(low, high)))
    b.draft.add("signal", b.draft.rng.normal(size=b.draft.n))


def _unread(b: Builder) -> PlantedModel:
    """The last representation carries the group, and the head does not read it."""
    _add_carrier_and_signal(b, 0.7, 1.1)
    gains: dict[str, float] = {}
    unread: Floats | float = 0.0
    detail = "One direction of the last representation carries the group; the head does not read it."
    if b.kind == "unfair_labels":
        detail = "The labels favour one group; the model carries the group and does not read it. Among people of one label it seems to."
        unread = b.strength(0.5, 3) / 2 * b.draft.side_n
    elif b.kind == "dormant":
        b.draft.add("dormant", _DORMANT_SPREAD * b.draft.rng.normal(size=b.draft.n))
        detail = "The group lies where the head does not read; it would answer strongly along another one, which hardly varies."
        gains = {"dormant": _DORMANT_GAIN}
    truth = Truth("hidden", "linear", ("none",), _UNUSED)
    return b.chain({"signal": b.strength(*_QUIET), **gains}, truth, detail, keep=("carrier",), unread=unread)


def _xor(b: Builder) -> PlantedModel:
    _add_product(b.draft)
    b.draft.add("signal", b.draft.rng.normal(size=b.draft.n))
    states: States = {"linear": "absent", "nonlinear": "present", "beyond": "present", "expressed": "absent", "used": "absent"}
    truth = Truth("hidden", "nonlinear_only", ("none",), states)
    detail = "The sign of a product of two directions of the last representation is the group; the head reads neither."
    return b.chain({"signal": b.strength(*_QUIET)}, truth, detail, keep=("left", "right"))


def _add_product(draft: Draft) -> None:
    """Columns ``left`` and ``right``, the sign of whose product is the group."""
    sign = draft.side_n * np.where(draft.rng.random(draft.n) < _FLIPPED / 2, -1, 1)
    left = draft.rng.choice([-1.0, 1.0], draft.n)
    for role, side in (("left", left), ("right", left * sign)):
        draft.add(role, side * np.abs(1 + 0.1 * draft.rng.normal(size=draft.n)))


def _elsewhere(b: Builder) -> PlantedModel:
    _add_carrier_and_signal(b, 0.7, 1.1)
    truth = Truth("hidden", "absent", ("none",), {**_SILENT, "elsewhere": "present"})
    detail = "The first block passes the group on, the second takes it out."
    return b.chain({"signal": b.strength(*_QUIET)}, truth, detail, drop=("carrier",))


def _relearnable(b: Builder) -> PlantedModel:
    _add_product(b.draft)
    b.draft.add("signal", b.draft.rng.normal(size=b.draft.n))
    truth = Truth("hidden", "absent", ("none",), {**_SILENT, "relearned": "present"})
    detail = "The first block turns the sign of a product of two columns, which is the group, into one direction; the second takes it out."
    return b.chain({"signal": b.strength(*_QUIET)}, truth, detail, drop=("product", "size"), profile=("penultimate",), product=True)


def _nothing(b: Builder) -> PlantedModel:
    b.draft.add("signal", b.draft.rng.normal(size=b.draft.n))
    truth = Truth("removed", "absent", ("none",), {**_SILENT, "elsewhere": "absent", "relearned": "absent"})
    return b.chain({"signal": b.strength(*_QUIET)}, truth, "No column knows the group.")


def _used(b: Builder) -> PlantedModel:
    _add_carrier_and_signal(b, 0.9, 1.4)
    truth = Truth("exposed", "linear", ("expressed", "used"), _SHOWN)
    gains = {"carrier": b.strength(1, 1.6), "signal": b.strength(0.8, 1.2)}
    return b.chain(gains, truth, "The head reads the direction that carries the group.")


def _proxy_only(b: Builder) -> PlantedModel:
    draft = b.draft
    draft.add("zip", draft.shifted(b.strength(1.5, 1.8)), name="zip")
    draft.add("occupation", draft.shifted(0.5), name="occupation")
    draft.add("hobby", draft.shifted(1.2), name="hobby")
    draft.add("skill", draft.rng.normal(size=draft.n), name="skill")
    truth = Truth("exposed", "linear", ("expressed", "used"), _SHOWN, proxy="zip")
    gains = {"zip": b.strength(0.8, 1.2), "occupation": 0.3, "skill": b.strength(0.8, 1.2)}
    detail = "The column zip carries the group and drives the outputs; hobby carries it unread, skill drives them and knows nothing."
    return b.chain(gains, truth, detail, drop=("hobby",))


def _cancelling(b: Builder) -> PlantedModel:
    draft = b.draft
    carrier = draft.add("carrier", draft.shifted(b.strength(1.2, 1.6)))
    gate = draft.add("gate", draft.rng.permutation(np.where(np.arange(draft.n) % 2, 1.0, -1.0)))
    signal = draft.add("signal", draft.rng.normal(size=draft.n))
    gains, scale = (b.strength(2.5, 4), b.strength(0.5, 1)), 1 / 3
    table, place = draft.table(gains[0] * gate * np.clip(scale * carrier, -1, 1) + gains[1] * signal)
    checkpoints = []
    for rng in b.rngs:
        second = Basis.random(WIDTH, rng)
        weights = two_blocks(place, ("carrier", "gate", "signal"), (), second, rng)
        own = (gains[0] * rng.uniform(0.9, 1.1), gains[1] * rng.uniform(0.9, 1.1))
        checkpoints.append({**weights, **parts.gated_weights(scale * second.read[0], second.read[1], second.read[2], own, reach=2.0)})
    states = {"linear": "present", "beyond": "present", "elsewhere": "present", "expressed": "absent", "used": "present"}
    truth = Truth("exposed", "linear", ("used",), states)
    detail = "The group raises the outputs of one half of the rows and lowers those of the other half by as much."
    return PlantedModel(b.kind, table, "make_gated_head", tuple(checkpoints), ("block2",), ("block1", "block2"), truth, detail)


def _redundant(b: Builder) -> PlantedModel:
    """Each branch and the way past both hold a copy; the head follows the majority of the three."""
    draft, cancelling = b.draft, b.kind == "redundant_cancelling"
    side = draft.side_n * np.where(draft.rng.random(draft.n) < _FLIPPED, -1, 1)
    carrier = draft.add("carrier", side + 0.1 * draft.rng.normal(size=draft.n))
    signal = draft.add("signal", draft.rng.normal(size=draft.n))
    gate = np.ones(draft.n)
    if cancelling:
        gate = draft.add("gate", draft.rng.permutation(np.where(np.arange(draft.n) % 2, 1.0, -1.0)))
    gains = (b.strength(1, 1.6), b.strength(1, 1.6))
    table, place = draft.table(gains[0] * gate * np.clip(6 * carrier, -1, 1) + gains[1] * signal)
    order = sorted(place, key=lambda role: place[role])
    checkpoints = []
    for rng in b.rngs:
        own = (gains[0] * rng.uniform(0.9, 1.1), gains[1] * rng.uniform(0.9, 1.1))
        checkpoints.append(_branches(order, own, rng, cancelling=cancelling))
    states = {"linear": "present", "expressed": "absent" if cancelling else "present", "used": "present"}
    truth = Truth("exposed", "linear", ("used",) if cancelling else ("expressed", "used"), states, alone=False)
    halves = ", upwards for one half of the rows and downwards for the other" if cancelling else ""
    detail = f"Two branches and a way past both carry the group, and the head follows the majority{halves}."
    sites = ("branch1", "branch2")
    return PlantedModel(b.kind, table, "make_branches", tuple(checkpoints), sites, sites, truth, detail)


def _branches(order: list[str], gains: tuple[float, float], rng: Rng, *, cancelling: bool) -> Weights:
    weights: Weights = {}
    reads: list[Floats] = []
    second = ("carrier", "gate") if cancelling else ("carrier",)
    for name, keep, drop in (("branch1", ("carrier", "signal"), ("gate",)), ("branch2", second, ("signal",))):
        basis = Basis.random(WIDTH, rng)
        weights |= parts.pass_on(basis.write @ parts.selection(order, keep, drop, WIDTH, rng), rng, name)
        reads.append(basis.read)
    past = np.zeros(len(order))
    past[order.index("carrier")] = 1
    one, none = np.ones(1), np.zeros(WIDTH)
    # Twice the sum is +-2 where one copy of three is swapped, which the clip does not tell from +-6.
    value = 2 * np.concatenate([reads[0][0], reads[1][0], one])
    gate = np.concatenate([none, reads[1][1], 0 * one]) if cancelling else None
    signal = np.concatenate([reads[0][1], none, 0 * one])
    return {**weights, "past_both": parts.single(past), **parts.gated_weights(value, gate, signal, gains, reach=6.0)}


MODELS: dict[str, Callable[[Builder], PlantedModel]] = {
    "head_null": _unread,
    "unfair_labels": _unread,
    "xor": _xor,
    "used": _used,
    "redundant": _redundant,
    "redundant_cancelling": _redundant,
    "cancelling": _cancelling,
    "dormant": _unread,
    "elsewhere": _elsewhere,
    "relearnable": _relearnable,
    "proxy_only": _proxy_only,
    "nothing": _nothing,
}


# Models that provably do not act on the attribute.
UNUSED = ("head_null", "unfair_labels", "xor", "dormant", "elsewhere", "relearnable", "nothing")


def make_planted_model(kind: str, *, seed: int, n: int = ROWS, checkpoints: int = 2) -> PlantedModel:
    """Make a planted model of a kind in ``MODELS`` (else ``ValueError``), with so many checkpoints; three quarters of rows are audited."""
    if kind not in MODELS:
        raise ValueError(f"unknown planted model {kind!r}; known: {', '.join(MODELS)}")
    if n < 40 or checkpoints < 1:
        raise ValueError("a planted model needs n >= 40 rows and at least one checkpoint")
    draft = Draft.draw(n, stream(seed, "planted model", kind, "rows"))
    rngs = [stream(seed, "planted model", kind, "weights", index) for index in range(checkpoints)]
    return MODELS[kind](Builder(kind, draft, rngs))
