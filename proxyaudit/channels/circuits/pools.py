"""The parts of a transformer that may be tried, each with what the gradient predicts of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from proxyaudit.arrays import Floats, Ints
from proxyaudit.causal import localisation as causal
from proxyaudit.causal.circuits import ranked_groups
from proxyaudit.channels.circuits.record import PartName
from proxyaudit.models.text_parts import Part, PartPlace, TextParts
from proxyaudit.names import in_short


@dataclass(frozen=True)
class Pool:
    """Parts of one kind, all layers together."""

    kind: str
    names: tuple[PartName, ...]
    parts: tuple[Part, ...]
    screened: causal.Screened


@dataclass(frozen=True)
class Screens:
    """What screening rests on: values of the rows that are searched on, and gradients of some of them."""

    parts: TextParts
    gradients: Mapping[str, Floats] | None
    rows_m: Ints  # rows of the gradients
    searched: Ints
    groups_n: Ints
    labels_n: Ints

    def of(self, place: str, units: Sequence[causal.Units]) -> causal.Screened:
        """Screen some parts of a place."""
        own = None if self.gradients is None else self.gradients[place]
        inside, at = self.searched, np.searchsorted(self.searched, self.rows_m)
        return causal.screen(self.parts.values(place)[inside], own, at, self.groups_n[inside], self.labels_n[inside], units)


_WORDS = {"residual": "layer output", "attention": "attention output", "mlp": "MLP output"}


def kind_pools(parts: TextParts, screens: Screens) -> list[Pool]:
    """Everything that is tried part by part: a pool of each kind."""
    found: dict[str, list[tuple[PartName, Part, causal.Screened]]] = {}
    for place in parts.places.values():
        if place.kind == "heads":
            found.setdefault("head", []).extend(_heads(place, screens))
        elif place.kind == "units":
            found.setdefault("units", []).extend(_groups(place, screens))
            found.setdefault("unit", []).extend(_units(place, screens))
        else:
            subject = "input of the first layer" if place.layer < 0 else _WORDS[place.kind]
            name = PartName(place.site, place.kind, subject)
            found.setdefault(place.kind, []).append((name, Part(place.name), screens.of(place.name, [None])))
    order = ("residual", "attention", "head", "mlp", "units", "unit")
    return [_pool(kind, found[kind]) for kind in order if kind in found]


def circuit_pool(parts: TextParts, screens: Screens) -> Pool:
    """What circuits are made of: heads (attention outputs where they cannot be told apart) and groups of MLP units, no unit in two."""
    found: list[tuple[PartName, Part, causal.Screened]] = []
    with_heads = {place.layer for place in parts.places.values() if place.kind == "heads"}
    with_units = {place.layer for place in parts.places.values() if place.kind == "units"}
    for place in parts.places.values():
        if place.kind == "heads":
            found += _heads(place, screens)
        elif place.kind == "units":
            found += _groups(place, screens)
        elif (place.kind == "attention" and place.layer not in with_heads) or (place.kind == "mlp" and place.layer not in with_units):
            found.append((PartName(place.site, place.kind, _WORDS[place.kind]), Part(place.name), screens.of(place.name, [None])))
    return _pool("circuit", found)


def _pool(kind: str, found: Sequence[tuple[PartName, Part, causal.Screened]]) -> Pool:
    screened = [one for _, _, one in found]
    joined = [np.concatenate([getattr(one, key) for one in screened]) for key in ("signed", "per_row", "apart", "moves")]
    return Pool(kind, tuple(name for name, _, _ in found), tuple(part for _, part, _ in found), causal.Screened(*joined))


def _heads(place: PartPlace, screens: Screens) -> list[tuple[PartName, Part, causal.Screened]]:
    size = place.width // place.heads
    units = [tuple(range(head * size, (head + 1) * size)) for head in range(place.heads)]
    named = [PartName(place.site, "head", f"head {head}") for head in range(place.heads)]
    return _each(place, named, units, screens)


def _units(place: PartPlace, screens: Screens) -> list[tuple[PartName, Part, causal.Screened]]:
    named = [PartName(place.site, "unit", f"MLP unit {unit}") for unit in range(place.width)]
    return _each(place, named, [(unit,) for unit in range(place.width)], screens)


def _groups(place: PartPlace, screens: Screens) -> list[tuple[PartName, Part, causal.Screened]]:
    """Units by what the gradient predicts of each (where there is none: by how far the groups differ), in groups of rising size."""
    single = screens.of(place.name, [(unit,) for unit in range(place.width)])
    groups = ranked_groups(single.apart if screens.gradients is None else single.per_row)
    named = [PartName(place.site, "units", _group_name(group, rank, len(groups))) for rank, group in enumerate(groups)]
    return _each(place, named, [tuple(group) for group in groups], screens)


def _group_name(group: Sequence[int], rank: int, groups: int) -> str:
    if rank == groups - 1 and rank:
        return f"the other {len(group)} MLP units"
    return f"MLP units {in_short([str(unit) for unit in group], 4)}"


def _each(
    place: PartPlace, names: Sequence[PartName], units: Sequence[tuple[int, ...]], screens: Screens
) -> list[tuple[PartName, Part, causal.Screened]]:
    screened = screens.of(place.name, units)
    return [(name, Part(place.name, own), screened.of(slice(at, at + 1))) for at, (name, own) in enumerate(zip(names, units, strict=True))]
