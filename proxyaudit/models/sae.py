"""Sparse autoencoders in the layout of SAELens: ``cfg.json`` beside ``sae_weights.safetensors`` (Bricken et al. 2023).

Read are the architectures ``standard``, ``topk`` (Gao et al. 2024, arXiv 2406.04093) and ``jumprelu`` (Rajamanoharan et al. 2024,
arXiv 2407.14435), whose inputs are not normalised, or by their own norm. Anything else is refused: an encoder that is read wrongly tells
nothing of the model.
"""

import json
import re
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from proxyaudit.data.tables import is_inside
from proxyaudit.digests import file_digest
from proxyaudit.errors import InputError, did_you_mean
from proxyaudit.files import read_file
from proxyaudit.limits import MOST_CONFIG
from proxyaudit.recipe.circuits import SaeSpec

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
ARCHITECTURES = ("standard", "topk", "jumprelu")
_NORMS = ("none", "layer_norm", "constant_norm_rescale")
_LENS = re.compile(r"(?:blocks\.\d+|ln_final|unembed)\..+|hook_\w+")  # whatever TransformerLens calls a place
_HOOK = re.compile(r"blocks\.(\d{1,3})\.(?:hook_(resid_pre|resid_post|attn_out|mlp_out)|(?:attn|mlp)\.hook_out)")  # those read here
_MODULE = re.compile(r"(?:[a-z_]\w*\.)*(?:layers?|h|blocks)\.(\d{1,3})(\.[\w.]+)?")  # as transformers calls a layer, or a part of one
_SCALED = "scaling_factor"  # of the outputs: versions before 6 wrote ones
_MEND = "take one of architecture standard, topk or jumprelu as SAELens saves it"


@dataclass(frozen=True)
class SparseAutoencoder:
    """Latents ``(..., m)`` of values ``(..., d)`` and what each of them writes."""

    at: str  # the place whose values it reads
    name: str  # of its folder
    architecture: str
    encoder_dm: Tensor
    encoder_bias_m: Tensor
    decoder_md: Tensor
    decoder_bias_d: Tensor
    threshold_m: Tensor | None = None  # of jumprelu
    k: int = 0  # latents that are kept, of topk
    by_decoder_norm: bool = False  # of topk: pre-activations are compared, and told, times the norm of what they write
    centred: bool = True  # whether the decoder's bias is taken off the input
    norm: str = "none"

    @property
    def latents(self) -> int:
        """Number of latents ``m``."""
        return int(self.encoder_dm.shape[1])

    def encode(self, value: Tensor) -> Tensor:
        """Latents ``(..., m)`` of values ``(..., d)``, in float32."""
        read = self._normed(value.float())[0]
        if self.centred:
            read = read - self.decoder_bias_d
        before = read @ self.encoder_dm + self.encoder_bias_m
        if self.architecture == "topk":
            before = before * self.decoder_md.norm(dim=1) if self.by_decoder_norm else before
            kept = torch.topk(before, self.k, dim=-1)
            return torch.zeros_like(before).scatter(-1, kept.indices, kept.values.clamp_min(0.0))
        latents = before.clamp_min(0.0)
        return latents if self.threshold_m is None else latents * (before > self.threshold_m)

    def written(self, value: Tensor, latents: Tensor, which: Tensor | None = None) -> Tensor:
        """What some latents add to the values that they were read from, ``(..., d)``; without ``which`` the whole reconstruction."""
        _, mean, scale = self._normed(value.float())
        directions = self.decoder_md if which is None else self.decoder_md[which]
        if self.by_decoder_norm:
            directions = directions / directions.norm(dim=1, keepdim=True)
        added = (latents if which is None else latents[..., which]) @ directions
        return added * scale if which is not None else (added + self.decoder_bias_d) * scale + mean

    def _normed(self, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The value as the encoder takes it, and the mean and the scale that bring it back."""
        if self.norm == "layer_norm":
            mean = value.mean(dim=-1, keepdim=True)
            scale = (value - mean).std(dim=-1, keepdim=True)
            return (value - mean) / (scale + 1e-5), mean, scale
        zero, one = torch.zeros_like(value[..., :1]), torch.ones_like(value[..., :1])
        if self.norm == "none":
            return value, zero, one
        scale = value.norm(dim=-1, keepdim=True).clamp_min(1e-12) / value.shape[-1] ** 0.5
        return value / scale, zero, scale


def moved(sae: SparseAutoencoder, device: torch.device) -> SparseAutoencoder:
    """The same on a device."""
    tensors: dict[str, Any] = {one.name: value.to(device) for one in fields(sae) if isinstance(value := getattr(sae, one.name), Tensor)}
    return replace(sae, **tensors)


def sae_folder(spec: SaeSpec, base: Path) -> Path:
    """The folder of an autoencoder. Raises ``InputError``: there is none, or its files are not those of SAELens."""
    where = f"sites.sae, path '{spec.path[:200]}'"
    given = Path(spec.path)
    tried = [given] if given.is_absolute() else [root / given for root in (base, Path.cwd()) if is_inside(root / given, root)]
    folder = next((path for path in tried if path.is_dir()), None)
    if folder is None:
        raise InputError("there is no such folder", where=where, mend="paths are relative to the recipe's folder, then to the current one")
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file() or not is_inside(folder / name, folder):
            raise InputError(f"the folder holds no {name}", where=where, mend="save the autoencoder with SAELens (save_model)")
    return folder


def sae_hashes(spec: SaeSpec, base: Path) -> dict[str, str]:
    """SHA-256 of the files of an autoencoder."""
    folder = sae_folder(spec, base)
    return {f"sae at {spec.site}, {name}": file_digest(folder / name) for name in (CONFIG, WEIGHTS)}


def load_sae(spec: SaeSpec, base: Path) -> SparseAutoencoder:
    """Read an autoencoder. Raises ``InputError``: it is not there, of another architecture, or its tensors do not fit together."""
    folder = sae_folder(spec, base)
    return _loaded(str(folder), spec.site, "".join(sae_hashes(spec, base).values()))


@lru_cache(maxsize=4)
def _loaded(folder: str, at: str, fingerprint: str) -> SparseAutoencoder:
    """Kept, since every task of a run starts from it; the fingerprint tells files of one name apart."""
    where = f"sites.sae, {Path(folder).name}"
    config = _config(Path(folder) / CONFIG, where)
    architecture = _architecture(config, where)
    tensors = _tensors(Path(folder) / WEIGHTS, where)
    wanted = ("W_enc", "b_enc", "W_dec", "b_dec", *(("threshold",) if architecture == "jumprelu" else ()))
    missing = [name for name in wanted if name not in tensors]
    if missing:
        raise InputError(f"{WEIGHTS} holds no {missing[0]}", where=where, mend=_MEND)
    # SAELens refuses them too: they are of another architecture than the configuration says.
    if odd := sorted(tensors.keys() - {*wanted, _SCALED}):
        what = f"{WEIGHTS} holds '{odd[0][:60]}', which autoencoders of architecture '{architecture}' do not have"
        raise InputError(what, where=where, mend=f"write the architecture that it was trained with into {CONFIG}")
    d, m = (int(size) for size in tensors["W_enc"].shape) if tensors["W_enc"].ndim == 2 else (0, 0)
    for key, size in (("d_in", d), ("d_sae", m)):
        if config.get(key, size) != size:
            what = f"{CONFIG} says {key}: {str(config[key])[:40]}, and W_enc has shape {tuple(tensors['W_enc'].shape)}"
            raise InputError(what, where=where, mend="take weights and configuration of one autoencoder")
    shapes = {"W_enc": (d, m), "b_enc": (m,), "W_dec": (m, d), "b_dec": (d,), "threshold": (m,)}
    for name in wanted:
        if tuple(tensors[name].shape) != shapes[name] or not min(d, m):
            raise InputError(f"{name} has shape {tuple(tensors[name].shape)}, not {shapes[name]}", where=where, mend=_MEND)
        if not bool(torch.isfinite(tensors[name]).all()):
            raise InputError(f"{name} holds NaN or infinite values", where=where, mend="save the autoencoder again")
    by_norm = _flag(config, "rescale_acts_by_decoder_norm", False, where) and architecture == "topk"
    if by_norm and bool((silent := tensors["W_dec"].norm(dim=1) == 0).any()):
        what = f"W_dec has {int(silent.sum())} rows of zeros, and latents are told by the norm of what they write"
        raise InputError(what, where=where, mend="leave latents that write nothing out of every tensor, and save it again")
    _check_hook(config, at, where)
    scaling = tensors.get(_SCALED)
    if scaling is not None and not bool(torch.allclose(scaling, torch.ones_like(scaling))):
        raise InputError(f"its outputs are scaled by a '{_SCALED}', which is not read", where=where, mend=_MEND)
    return SparseAutoencoder(
        at,
        Path(folder).name,
        architecture,
        tensors["W_enc"],
        tensors["b_enc"],
        tensors["W_dec"],
        tensors["b_dec"],
        threshold_m=tensors["threshold"] if architecture == "jumprelu" else None,
        k=_k(config, m, where) if architecture == "topk" else 0,
        by_decoder_norm=by_norm,
        centred=_flag(config, "apply_b_dec_to_input", True, where),
        norm=str(config.get("normalize_activations") or "none"),
    )


def _config(path: Path, where: str) -> dict[str, Any]:
    try:
        config = json.loads(read_file(path, MOST_CONFIG))
    except (OSError, ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise InputError(f"{CONFIG} is no configuration of SAELens", where=where, mend="save the autoencoder with SAELens (save_model)")
    return config


def _architecture(config: dict[str, Any], where: str) -> str:
    """The architecture, by today's layout or that before version 6. ``InputError``: it is none that is read."""
    activation = config.get("activation_fn", config.get("activation_fn_str", "relu"))
    found = str(config.get("architecture") or "standard")[:60]
    found = "topk" if activation == "topk" and found == "standard" else found
    if found not in ARCHITECTURES:
        mend = did_you_mean(found, ARCHITECTURES, _MEND, cutoff=0.8)
        raise InputError(f"autoencoders of architecture '{found}' are not read", where=where, mend=mend)
    if found != "topk" and activation != "relu":
        raise InputError(f"autoencoders with the activation '{str(activation)[:40]}' are not read", where=where, mend=_MEND)
    norm, shape = str(config.get("normalize_activations") or "none"), str(config.get("reshape_activations") or "none")
    if norm not in _NORMS:
        mend = "fold the scaling into the weights (fold_activation_norm_scaling_factor) and save it again"
        raise InputError(f"its inputs are normalised by '{norm[:40]}', which is not in the file", where=where, mend=mend)
    if shape != "none" or any("hook_z" in name for name in _said(config, "hook_name", "hook_point")):
        raise InputError("it reads single heads ('hook_z'), which is not read", where=where, mend="take one of a layer's output")
    if heads := _said(config, "hook_head_index", "hook_point_head_index"):
        raise InputError(f"it reads head {heads[0]} alone, which is not read", where=where, mend="take one of a layer's output")
    if any(isinstance(held, dict) and held.get("center_writing_weights") for held in _held(config, "model_from_pretrained_kwargs")):
        what = "it was trained on weights that TransformerLens centred (center_writing_weights), and this model's are as they are"
        raise InputError(what, where=where, mend="take one that was trained on the model as it is (from_pretrained_no_processing)")
    return found


def _flag(config: dict[str, Any], key: str, default: bool, where: str) -> bool:
    """A truth value of the configuration; anything else that is written there would count as one."""
    found = config.get(key, default)
    if not isinstance(found, bool):
        raise InputError(f"{CONFIG} says {key}: {str(found)[:40]!r}, which is no truth value", where=where, mend="write true or false")
    return found


def _held(config: dict[str, Any], *keys: str) -> list[Any]:
    """What a configuration says under keys, wherever a version of SAELens writes them; nothing where it says null."""
    places = [one for one in (config, config.get("metadata")) if isinstance(one, dict)]
    return [found for one in places for key in keys if (found := one.get(key)) is not None]


def _said(config: dict[str, Any], *keys: str) -> list[str]:
    return [str(found)[:80] for found in _held(config, *keys) if found != ""]


def _check_hook(config: dict[str, Any], at: str, where: str) -> None:
    """Refuse an autoencoder whose own configuration names another place; names that stand for no place here tell nothing."""
    for name in _said(config, "hook_name", "hook_point"):
        found = _place_of(name, at)
        if found == at:
            continue
        mend = "take the autoencoder of that place"
        if found:
            mend = f"write 'at: {found.replace('layer', 'layer.', 1)}', or {mend}"
        raise InputError(f"{CONFIG} names the place '{name}', which is not '{at}'", where=where, mend=mend)


def _place_of(name: str, at: str) -> str:
    """What a place that a configuration names is called here; empty where no place here is it, ``at`` where the name tells nothing."""
    if found := _HOOK.fullmatch(name):
        layer, kind = int(found[1]), found[2] or ("attn_out" if ".attn." in name else "mlp_out")
        before = f"layer{layer - 1}" if layer else "embeddings"
        place = {"resid_pre": before, "resid_post": f"layer{layer}", "attn_out": f"layer{layer}.attention", "mlp_out": f"layer{layer}.mlp"}
        return place[kind]
    if _LENS.fullmatch(name):
        return ""
    if found := _MODULE.fullmatch(name):
        whole = f"layer{int(found[1])}"
        # What parts are called differs from model to model: of them the layer alone is compared.
        return whole if found[2] is None else at if at.startswith(f"{whole}.") else ""
    return at


def _k(config: dict[str, Any], m: int, where: str) -> int:
    more = config.get("activation_fn_kwargs")
    k = config.get("k", more.get("k") if isinstance(more, dict) else None)
    if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= m:
        raise InputError(f"{CONFIG} does not say how many latents are kept (k)", where=where, mend=f"write a number from 1 to {m}")
    return k


def _tensors(path: Path, where: str) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        line = " ".join(str(error).split())[:120]
        raise InputError(f"{WEIGHTS} cannot be read ({line})", where=where, mend="copy it again") from None
    for name, tensor in found.items():
        if not tensor.is_floating_point():
            kind = "complex numbers" if tensor.is_complex() else f"{str(tensor.dtype).removeprefix('torch.')}, not fractions"
            raise InputError(f"{name[:60]} holds {kind}", where=where, mend="save the autoencoder in floating point")
    return {name: tensor.to(torch.float32) for name, tensor in found.items()}
