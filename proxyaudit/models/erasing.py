"""Affine maps at sites: an eraser made part of a model, so that the site itself is clean wherever it is read.

A map is a pair of buffers of the root module, ``erase/<site>/weight`` and ``erase/<site>/bias`` (dots of the site become slashes), hence
in every checkpoint, and a hook at the site's tap that was there before any other. Float64, since the rounding of a float32 map would
itself be a linear trace of what was erased. At token sites every token is mapped, which maps their mean.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from proxyaudit.arrays import Floats
from proxyaudit.errors import InputError
from proxyaudit.models.base import TrainedModel, copy_module, inference
from proxyaudit.models.hooks import SiteHook
from proxyaudit.models.places import Candidates, Tap, nearest_sites

_MAPS = "_proxyaudit_maps"
_PROBE_ROWS = 2


class SiteMap:
    """What is done to one site; copied along with its module, whose buffers it reads."""

    def __init__(self, root: nn.Module) -> None:
        self.root, self.active = root, True

    def __call__(self, site: str, value: Tensor) -> Tensor:
        """Map rows or tokens: ``value @ weight.T + bias``, in float64."""
        if not self.active:
            return value
        weight, bias = (self.root.get_buffer(name) for name in buffer_names(site))
        return (value.to(torch.float64) @ weight.T + bias).to(value.dtype)


def buffer_names(site: str) -> tuple[str, str]:
    """Names of a site's weight and bias in the state dict."""
    place = site.replace(".", "/")
    return f"erase/{place}/weight", f"erase/{place}/bias"


def site_maps(module: nn.Module) -> dict[str, SiteMap]:
    """The maps of a module by site."""
    return dict(module.__dict__.get(_MAPS, {}))


def resolve_site(name: str, taps: Mapping[str, Tap], aliases: Mapping[str, str], *, where: str) -> str:
    """Return the site that a plain name or an alias means. Raises ``InputError``: there is none, or it does not act."""
    site = aliases.get(name, name)
    if site not in taps:
        raise InputError(f"unknown site '{name[:80]}'", where=where, mend=nearest_sites(name, taps, aliases))
    if taps[site].aside:
        acting = ", ".join(name for name, tap in taps.items() if not tap.aside)
        raise InputError(
            f"nothing in the model follows from site '{site}', so erasing there would do nothing", where=where, mend=f"name {acting}"
        )
    return site


def install_maps(module: nn.Module, candidates: Candidates, sites: Sequence[str], *, n_inputs: int) -> None:
    """Put maps that change nothing yet at sites of a freshly built module, in place. Raises ``InputError``: an unknown site."""
    for site in dict.fromkeys(resolve_site(name, candidates.taps, candidates.aliases, where="regimes: erase") for name in sites):
        _install(module, site, candidates.taps[site], n_inputs)


def with_map(model: TrainedModel, site: str, weight_dd: Floats, bias_d: Floats, *, n_inputs: int) -> TrainedModel:
    """A copy whose site is mapped by ``value @ weight.T + bias``, after any map already there. Raises ``InputError``: an unknown site."""
    resolve_site(site, model.taps, {}, where="site")
    module = copy_module(model.module)
    if site not in site_maps(module):
        _install(module, site, model.taps[site], n_inputs)
    old_weight, old_bias = (module.get_buffer(name) for name in buffer_names(site))
    weight, bias = torch.tensor(weight_dd, dtype=torch.float64), torch.tensor(bias_d, dtype=torch.float64)
    if weight.shape != old_weight.shape or bias.shape != old_bias.shape:
        raise ValueError(f"a map of {tuple(weight.shape)} does not fit site '{site}' of {len(old_bias)} units")
    old_bias.copy_(weight @ old_bias + bias)
    old_weight.copy_(weight @ old_weight)
    return replace(model, module=module)


@contextmanager
def without_map(module: nn.Module, site: str) -> Iterator[None]:
    """Leave a site's map out inside: for running the rest of a model from a value that was mapped already."""
    found = site_maps(module).get(site)
    if found is None:
        yield
        return
    found.active = False
    try:
        yield
    finally:
        found.active = True


def token_sites(model: TrainedModel, sites: Sequence[str], *, n_inputs: int) -> tuple[str, ...]:
    """Those of the sites that are sequences of tokens, of which an audit reads the mean."""
    return tuple(site for site in sites if _value(model.module, site, model.taps[site], n_inputs).ndim == 3)


def _install(module: nn.Module, site: str, tap: Tap, n_inputs: int) -> None:
    width = _value(module, site, tap, n_inputs).shape[-1]
    weight, bias = buffer_names(site)
    module.register_buffer(weight, torch.eye(width, dtype=torch.float64))
    module.register_buffer(bias, torch.zeros(width, dtype=torch.float64))
    found = module.__dict__.setdefault(_MAPS, {})[site] = SiteMap(module)
    SiteHook(site, tap, found).attach(module)


def _value(module: nn.Module, site: str, tap: Tap, n_inputs: int) -> Tensor:
    """What a site gives for a table of zeros."""
    seen: list[Tensor] = []
    with inference(module), SiteHook(site, tap, lambda _, value: seen.append(value)).attach(module):
        module(torch.zeros(_PROBE_ROWS, n_inputs))
    return seen[0]
