"""Parts of a transformer that can be exchanged between texts: residual streams, attention outputs, heads, MLP outputs and MLP units.

Texts differ in length, so a part's value is told, and set, at three positions: the first token, the last one, and the mean of those in
between. Setting a pooled value shifts every token of the position by the same vector. What a part writes at one of the tokens in between,
relative to the others, stays as it was.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from proxyaudit.arrays import Bools, Floats, Ints, Singles
from proxyaudit.errors import InputError
from proxyaudit.models.base import TrainedModel, as_tensor, gradients, inference, predictions
from proxyaudit.models.hooks import Handle, SiteHook
from proxyaudit.models.places import Tap, nearest_sites
from proxyaudit.models.sae import SparseAutoencoder, load_sae
from proxyaudit.models.text import TextClassifier, placed
from proxyaudit.recipe.circuits import SaeSpec

POSITIONS = ("first token", "tokens in between", "last token")
ALL = (0, 1, 2)
_READ_ROWS, _GRADIENT_ROWS = 4096, 16
_PROBE = np.array([[3, 4, 5, 6, 7], [4, 3, 5, -1, -1]], dtype=np.float32)  # two texts, as token numbers
_MOST_KEPT = 2**27  # numbers that layers are given, of the rows that are run again and again: 512 MiB

Kind = Literal["residual", "attention", "heads", "mlp", "units"]


@dataclass(frozen=True)
class PartPlace:
    """A value inside a transformer, ``(rows, tokens, width)``, whose units are parts or belong to parts."""

    name: str
    layer: int  # -1: before the first layer
    kind: Kind
    tap: Tap
    width: int = 0
    heads: int = 0  # that share the units equally, of kind ``heads``

    @property
    def site(self) -> str:
        """Where it lies, as sites are called."""
        return "embeddings" if self.layer < 0 else f"layer{self.layer}"


@dataclass(frozen=True)
class Part:
    """Some units of a place, or all of them, at some positions."""

    place: str
    units: tuple[int, ...] | None = None
    positions: tuple[int, ...] = ALL


@dataclass(frozen=True)
class Setting:
    """A part whose pooled value is set to that of other rows ``(m,)``, or to one constant ``(3, width)``."""

    part: Part
    given: Ints | Floats


def find_places(module: TextClassifier, x: Singles) -> tuple[PartPlace, ...]:
    """Find the places of a classifier of texts in forward order; a few rows of ``x`` are run, and places of another shape left out."""
    wanted = [PartPlace("embeddings", -1, "residual", Tap(f"backbone.{module.layers[0].name}", "input"))] if module.layers else []
    for number, layer in enumerate(module.layers):
        name = f"layer{number}"
        if layer.attention is not None:
            if layer.heads > 1:
                tap = Tap(f"backbone.{layer.attention}", "input")
                wanted.append(PartPlace(f"{name}.heads", number, "heads", tap, heads=layer.heads))
            wanted.append(PartPlace(f"{name}.attention", number, "attention", Tap(f"backbone.{layer.attention}", "output")))
        if layer.mlp is not None:
            wanted.append(PartPlace(f"{name}.units", number, "units", Tap(f"backbone.{layer.mlp}", "input")))
            wanted.append(PartPlace(f"{name}.mlp", number, "mlp", Tap(f"backbone.{layer.mlp}", "output")))
        wanted.append(PartPlace(name, number, "residual", Tap(f"backbone.{layer.name}", "output", in_tuple=layer.is_tuple)))
    table = as_tensor(x[:3])
    seen: dict[str, list[tuple[int, ...]]] = {place.name: [] for place in wanted}
    with inference(module), tapped_places(module, wanted, lambda name, value: seen[name].append(tuple(value.shape))):
        tokens = module.tokens(table).shape
        module(table)
    found = []
    for place in wanted:
        shapes = seen[place.name]
        if len(shapes) == 1 and len(shapes[0]) == 3 and shapes[0][:2] == tuple(tokens):
            found.append(replace(place, width=shapes[0][2]))
    return tuple(found)


def find_saes(module: TextClassifier, asked: Sequence[SaeSpec], base: Path) -> tuple[SparseAutoencoder, ...]:
    """The autoencoders of a recipe. Raises ``InputError``: one cannot be read, its place is none, or holds values of another width."""
    places = {place.name: place for place in find_places(module, _PROBE) if place.kind in ("residual", "attention", "mlp")}
    found = []
    for spec in asked:
        place, where = places.get(spec.site), f"sites.sae, at '{spec.at}'"
        if place is None:
            raise InputError("the model has no such place", where=where, mend=nearest_sites(spec.site, places, ()))
        found.append(load_sae(spec, base))
        width = int(found[-1].encoder_dm.shape[0])
        if width != place.width:
            mend = "take an autoencoder that was trained on this model at this place"
            raise InputError(f"the autoencoder reads values of width {width}, the model has {place.width} there", where=where, mend=mend)
    return tuple(found)


@contextmanager
def tapped_places(module: TextClassifier, places: Sequence[PartPlace], handle: Handle) -> Iterator[None]:
    """Let ``handle(name, value)`` see, and replace if it returns a tensor, the value at places in every pass inside."""
    with ExitStack() as stack:
        for place in places:
            stack.enter_context(SiteHook(place.name, place.tap, handle).attach(module))
        yield


def position_masks(x: NDArray[np.floating]) -> Bools:
    """Which tokens of each row stand at each position, ``(n, 3, tokens)``; a text of one token has no last one."""
    lengths = (np.asarray(x) >= 0).sum(axis=1)
    at = np.arange(max(int(lengths.max(initial=1)), 1))[None, :]
    last = (at == lengths[:, None] - 1) & (lengths[:, None] > 1)
    between = (at > 0) & (at < lengths[:, None] - 1)
    return np.stack([np.broadcast_to(at == 0, last.shape), between, last], axis=1)


class TextParts:
    """Pooled values of all places on some texts, and what becomes of the outputs when some of them are set."""

    def __init__(self, model: TrainedModel, x: Singles, places: Sequence[PartPlace]) -> None:
        assert isinstance(model.module, TextClassifier)
        self._model, self._module, self._x = model, model.module, np.asarray(x, dtype=np.float32)
        self.places: Mapping[str, PartPlace] = {place.name: place for place in places}
        self._present = np.asarray(position_masks(self._x).any(axis=2))
        self._values = {place.name: np.zeros((len(x), 3, place.width), dtype=np.float32) for place in places}
        self.outputs_nc = np.zeros((0, 0))
        self._read()
        self._skipped = _Skipped(self._module, self.places)

    def _read(self) -> None:
        found: list[tuple[Ints, Floats]] = []
        with placed(self._module), inference(self._module):
            for rows in self._module.batches(self._x, _READ_ROWS):
                table = self._x[rows]
                masks = self._masks(table)

                def keep(name: str, value: Tensor, rows: Ints = rows, masks: Tensor = masks) -> None:
                    self._values[name][rows] = _pooled(value, masks).cpu().numpy()

                with tapped_places(self._module, list(self.places.values()), keep):
                    found.append((rows, self._probabilities(table)))
        self.outputs_nc = np.zeros((len(self._x), found[0][1].shape[1] if found else 1))
        for rows, outputs in found:
            self.outputs_nc[rows] = outputs

    def remember(self, rows: Ints) -> None:
        """Keep what each layer is given of some rows, so that the layers before a part need not be run again."""
        self._skipped.remember(self._x, np.unique(rows), lambda table: self._probabilities(table))

    def values(self, place: str) -> Singles:
        """Pooled values of a place on every row, ``(n, 3, width)``."""
        return self._values[place]

    def gradients(self, rows: Ints, output: int) -> dict[str, Floats]:
        """Gradients of one output's probability by a shift of each position, ``(m, 3, width)`` by place.

        Raises ``NoGradientError``: the model has none.
        """
        places = list(self.places.values())
        found = {place.name: np.zeros((len(rows), 3, place.width)) for place in places}
        with placed(self._module), inference(self._module), torch.enable_grad():
            for batch in self._module.batches(self._x[rows], _GRADIENT_ROWS):
                table, shifts = self._x[rows[batch]], dict[str, Tensor]()
                masks = self._masks(table)

                def moved(name: str, value: Tensor, shifts: dict[str, Tensor] = shifts) -> Tensor:
                    shifts[name] = torch.zeros_like(value, requires_grad=True)
                    return value + shifts[name]

                with tapped_places(self._module, places, moved):
                    logits = self._model.logits(self._module(as_tensor(table)), len(table))
                    p = predictions(logits, self._model.task)[:, output]
                    by_token = gradients(p.sum(), [shifts[place.name] for place in places], of_site=False)
                for place, gradient in zip(places, by_token, strict=True):
                    found[place.name][batch] = (masks @ gradient.float()).cpu().numpy()
        return found

    def outputs(self, rows: Ints, settings: Sequence[Setting], output: int) -> Floats:
        """The followed probability ``(m,)`` of rows ``(m,)`` when parts are set, whatever an earlier one brings about."""
        found = np.empty(len(rows))
        by_place: dict[str, list[Setting]] = {}
        for setting in settings:
            by_place.setdefault(setting.part.place, []).append(setting)
        places = [self.places[name] for name in by_place]
        first = min((place.layer for place in places), default=0)
        with placed(self._module), inference(self._module):
            for batch in self._module.batches(self._x[rows], _READ_ROWS):
                table = self._x[rows[batch]]
                masks = self._masks(table)

                def put(name: str, value: Tensor, batch: Ints = batch, masks: Tensor = masks) -> Tensor:
                    return self._set(value, masks, rows[batch], [(one, batch) for one in by_place[name]])

                with self._skipped.before(first, rows[batch], table), tapped_places(self._module, places, put):
                    found[batch] = self._probabilities(table)[:, output]
        return found

    def _set(self, value: Tensor, masks: Tensor, rows: Ints, settings: Sequence[tuple[Setting, Ints]]) -> Tensor:
        now = _pooled(value, masks)
        shift = torch.zeros_like(now)
        for setting, batch in settings:
            part, given = setting.part, setting.given
            if given.ndim == 1:
                others = given[batch]
                wanted = torch.from_numpy(self._values[part.place][others]).to(now)
                both = torch.from_numpy(self._present[rows] & self._present[others]).to(now)
            else:
                wanted = torch.as_tensor(given).to(now).expand_as(now)
                both = torch.from_numpy(self._present[rows]).to(now)
            at = torch.zeros(3).index_fill(0, torch.tensor(part.positions), 1.0).to(now)
            change = (wanted - now) * (both * at)[:, :, None]
            if part.units is None:
                shift = change
            else:
                columns = torch.tensor(part.units, dtype=torch.int64, device=now.device)
                shift[..., columns] = change[..., columns]
        return value + (masks.transpose(1, 2) @ shift).to(value.dtype)

    def _masks(self, table: Singles) -> Tensor:
        """Positions of a batch's tokens as numbers, ``(m, 3, tokens)``, on the model's device."""
        return torch.from_numpy(position_masks(table)).to(self._module.head.weight.device, torch.float32)

    def _probabilities(self, table: Singles) -> Floats:
        return self._model.outputs(self._model.logits(self._module(as_tensor(table)), len(table)).cpu())


class _Skipped:
    """Runs a transformer from a layer on, with what the layer was given when it was first run; only where that changes no output."""

    def __init__(self, module: TextClassifier, places: Mapping[str, PartPlace]) -> None:
        self._module, self._slots, self._given = module, dict[int, int](), dict[int, Tensor]()
        self._last = len(module.layers) - 1
        self._able = {place.layer for place in places.values() if place.kind == "residual"} >= {*range(-1, self._last)}

    def remember(self, x: Singles, rows: Ints, run: Callable[[Singles], Floats]) -> None:
        """Keep what layers are given of rows; nothing where it is too much, or where the outputs would be others."""
        width = int((x[rows] >= 0).sum(axis=1).max(initial=1))
        layers = range(1, self._last + 1)
        outputs, kept = dict[int, Floats](), dict[int, list[Tensor]]()
        if not self._able or not len(rows) or not layers:
            return
        with placed(self._module), inference(self._module):
            order = [rows[batch] for batch in self._module.batches(x[rows], _READ_ROWS)]
            for batch in order:

                def keep(name: str, value: Tensor) -> None:
                    padded = torch.zeros(len(value), width, value.shape[2], dtype=value.dtype)
                    padded[:, : value.shape[1]] = value.cpu()
                    kept.setdefault(int(name), []).append(padded)

                taps = [PartPlace(str(at), at, "residual", Tap(self._name(at), "input")) for at in layers]
                with tapped_places(self._module, taps, keep):
                    outputs |= {int(row): one for row, one in zip(batch, run(x[batch]), strict=True)}
                if sum(part.numel() for parts in kept.values() for part in parts) > _MOST_KEPT:
                    return
            self._given = {at: torch.cat(parts) for at, parts in kept.items()}
            self._slots = {int(row): slot for slot, row in enumerate(np.concatenate(order))}
            if not self._same(x, order[-1], outputs, run):
                self._slots = {}

    def _same(self, x: Singles, rows: Ints, outputs: Mapping[int, Floats], run: Callable[[Singles], Floats]) -> bool:
        """Whether the outputs stay as they are from whichever layer the transformer is run."""
        wanted = [outputs[int(row)] for row in rows]
        for at in self._given:
            try:
                with self.before(at, rows, x[rows]):
                    again = run(x[rows])
            except Exception:  # a layer may hand on more than its value (T5: positions): whatever it raises, it must be run
                return False
            if not np.allclose(again, wanted, atol=1e-6):
                return False
        return True

    def _name(self, at: int) -> str:
        return f"backbone.{self._module.layers[at].name}"

    @contextmanager
    def before(self, layer: int, rows: Ints, table: Singles) -> Iterator[None]:
        """Inside, nothing before a layer is run, where what it is given of all rows is known."""
        if layer < 1 or layer not in self._given or any(int(row) not in self._slots for row in rows):
            yield
            return
        slots = torch.tensor([self._slots[int(row)] for row in rows], dtype=torch.int64)
        tokens = int((table >= 0).sum(axis=1).max(initial=1))
        given = self._given[layer][slots, :tokens]
        with ExitStack() as stack:
            for at in range(layer):
                stack.enter_context(_passing(self._module.get_submodule(self._name(at)), self._module.layers[at].is_tuple))
            hook = SiteHook("given", Tap(self._name(layer), "input"), lambda _, value: given.to(value))
            stack.enter_context(hook.attach(self._module))
            yield


@contextmanager
def _passing(layer: nn.Module, is_tuple: bool) -> Iterator[None]:
    """Inside, a layer hands on what it is given."""

    def forward(*args: Any, **kwargs: Any) -> Any:
        value = args[0] if args else kwargs["hidden_states"]
        return (value,) if is_tuple else value

    layer.forward = forward
    try:
        yield
    finally:
        del layer.forward


def _pooled(value: Tensor, masks: Tensor) -> Tensor:
    """Mean of the tokens of each position ``(m, 3, width)``; zero where there are none."""
    return (masks @ value.float()) / masks.sum(dim=2).clamp_min(1.0)[:, :, None]
