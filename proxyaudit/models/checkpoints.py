"""Weights on disk: safetensors only, since unpickling runs code; the header is checked against the module before any tensor is read."""

import difflib
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from proxyaudit.data.shards import is_index, read_shards
from proxyaudit.errors import InputError
from proxyaudit.files import write_file
from proxyaudit.language.pretrained import WRAPPERS
from proxyaudit.models.base import TabularModule, TrainedModel, copy_module

_PICKLE_SUFFIXES = frozenset({".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz", ".h5", ".zip"})
_CONVERT = "convert it: safetensors.torch.save_file(model.state_dict(), path)"
_UNREADABLE = (SafetensorError, OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, MemoryError)
_LARGEST_HEADER = 100_000_000  # the limit of the safetensors format


def save_weights(model: TrainedModel, path: Path) -> None:
    """Write, whole or not at all, everything but what no training changes; tied tensors are written under each of their names."""
    fixed = _fixed(model.module)
    tensors = {name: value.detach().contiguous().clone() for name, value in _state(model.module, "the model").items() if name not in fixed}
    write_file(path, save(tensors), private=True)


def load_weights(model: TrainedModel, path: Path, *, what: str) -> TrainedModel:
    """Return a copy of ``model`` with the weights of a safetensors file or a list of shards, brought to the module's own dtype.

    A file in the own format of the model's kind is read as that.

    A name may be missing only if the module ties it to one that is there (``safetensors.torch.save_model`` writes tied tensors once), or
    if it counts the batches of a normalisation. What ``torch.compile`` and data-parallel training put before every name is taken off.
    Errors begin with ``what`` the file is, as ``"checkpoint 2 of regime 'vendor-b'"``. Raises ``InputError``: not safetensors, unreadable,
    missing or extra names, other shapes, NaN or infinite weights.
    """
    where = str(path)
    module = copy_module(model.module)
    told = {**model.details, "origin": "checkpoint", "checkpoint": path.name}
    if isinstance(module, TabularModule) and module.read_own(path, what=what, scale=model.scale):
        return replace(model, module=module.eval(), details=told)
    state, fixed = _state(module, what), _fixed(module)
    buffers = {name for name, _ in module.named_buffers()}
    with _opened(path, what) as file:
        stored = _by_own_name(list(file.keys()), state)
        names = list(stored)
        _check_names(names, state, what, where, fixed | (module.optional if isinstance(module, TabularModule) else frozenset()))
        for name in names:
            shape = tuple(file.get_slice(stored[name]).get_shape())
            if shape != tuple(state[name].shape):
                mend = "the factory and the checkpoint belong to different architectures or another number of columns"
                wanted = tuple(state[name].shape)
                raise InputError(f"{what}: tensor '{name}' has shape {shape}, the model wants {wanted}", where=where, mend=mend)
        loaded = {
            name: _cast(file.get_tensor(stored[name]), state[name], f"{what}: tensor '{name}'", where, name in buffers) for name in names
        }
    moved = next((name for name in sorted(fixed & set(loaded)) if not torch.equal(loaded[name], state[name])), None)
    if moved is not None:
        mend = "set model.tune: full if the checkpoint was fine-tuned, or name the model that it was trained on"
        raise InputError(f"{what}: tensor '{moved}' is not that of the frozen transformer", where=where, mend=mend)
    try:
        # A name that is left out is tied to one that is there: loading the one fills both.
        module.load_state_dict(loaded, strict=False)
    except Exception as error:
        raise InputError(f"{what} cannot be loaded: {_line(error)}", where=where, mend="check the factory") from error
    after = module.state_dict()
    for name, value in loaded.items():
        if not torch.equal(after[name], value):
            mend = "the model ties this tensor to another one, the checkpoint holds two different values"
            raise InputError(f"{what}: tensor '{name}' did not arrive in the model", where=where, mend=mend)
    module.eval()
    return replace(model, module=module, details=told)


def tensor_names(path: Path, *, what: str) -> tuple[str, ...]:
    """Names of the tensors in a safetensors file; errors as of :func:`load_weights` for what is no such file."""
    with _opened(path, what) as file:
        return tuple(file.keys())


class _Shards:
    """Several safetensors files as one."""

    def __init__(self, places: dict[str, Path], files: dict[Path, Any], what: str, where: Path) -> None:
        held = {name: path for path, file in files.items() for name in file.keys()}  # noqa: SIM118
        lost = next((name for name in sorted(places) if held.get(name) != places[name]), None)
        if lost is not None or held.keys() - places.keys():
            name = lost or min(held.keys() - places.keys())
            fault = f"{what}: the list of shards and its files differ in tensor '{name}'"
            raise InputError(fault, where=str(where), mend="save the model again")
        self._files = {name: files[path] for name, path in places.items()}

    def keys(self) -> list[str]:
        return sorted(self._files)

    def get_slice(self, name: str) -> Any:
        return self._files[name].get_slice(name)

    def get_tensor(self, name: str) -> Any:
        return self._files[name].get_tensor(name)


@contextmanager
def _opened(path: Path, what: str) -> Iterator[Any]:
    if is_index(path):
        try:
            places = read_shards(path)
        except InputError as error:
            raise InputError(f"{what}: {error.what}", where=error.where, mend=error.mend) from None
        with ExitStack() as stack:
            files = {shard: stack.enter_context(_opened(shard, what)) for shard in sorted(set(places.values()))}
            yield _Shards(places, files, what, path)
        return
    _refuse_pickle(path, what, str(path))
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            yield file
    except _UNREADABLE as error:
        what = f"{what} is not a readable safetensors file ({_line(error)})"
        raise InputError(what, where=str(path), mend="copy or save it again") from error


def _refuse_pickle(path: Path, what: str, where: str) -> None:
    if path.suffix.lower() in _PICKLE_SUFFIXES:
        what += f" is a '{path.suffix}' file; only safetensors is read, since other formats can run code"
        raise InputError(what, where=where, mend=_CONVERT)
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise InputError(f"{what} is not a file", where=where, mend="name one safetensors file")
        with path.open("rb") as stream:
            head = stream.read(16)
    except FileNotFoundError:
        raise InputError(f"{what}: no such file", where=where, mend="check the path") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{what} cannot be read ({_line(error)})", where=where, mend="check the path and its permissions") from None
    header = int.from_bytes(head[:8], "little")
    if len(head) > 8 and head[8:9] == b"{" and header <= min(size - 8, _LARGEST_HEADER):
        return  # a safetensors header of 640 bytes also begins like a pickle (80 02)
    if head[:4] == b"PK\x03\x04" or (head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")):
        raise InputError(f"{what} holds a pickle (a torch.save file), which can run code and is not read", where=where, mend=_CONVERT)
    if header > size - 8 or len(head) < 9:
        raise InputError(f"{what} is not a safetensors file, or is cut off", where=where, mend=f"copy it again, or {_CONVERT}")


def _state(module: nn.Module, what: str) -> dict[str, Tensor]:
    state = module.state_dict()
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise InputError(f"{what}: the module keeps state '{name}' that is not a tensor", mend="drop get_extra_state from the module")
    return dict(state)


def _fixed(module: nn.Module) -> frozenset[str]:
    return module.fixed if isinstance(module, TabularModule) else frozenset()


def _by_own_name(names: list[str], state: dict[str, Tensor]) -> dict[str, str]:
    """The file's name of each tensor by that of the module, without what a wrapper put before all of them."""
    plain = {re.sub(WRAPPERS, "", name): name for name in names}
    wrapped = all(re.match(WRAPPERS, name) and name not in state for name in names) and len(plain) == len(names)
    return plain if wrapped else {name: name for name in names}


def _check_names(names: list[str], state: dict[str, Tensor], what: str, where: str, unneeded: frozenset[str]) -> None:
    tied = {_memory(state[name]) for name in names if name in state and state[name].numel()}
    spare = {name for name in state if name in unneeded or name.endswith("num_batches_tracked")}
    missing = [name for name in state if name not in set(names) and name not in spare and _memory(state[name]) not in tied]
    extra = [name for name in names if name not in state]
    if missing:
        near = difflib.get_close_matches(missing[0], extra or names, n=1, cutoff=0.4)
        hint = f"nearest name in the file: '{near[0]}'" if near else f"the file holds {', '.join(names[:4]) or 'no tensor'}"
        if any(name.startswith("backbone.") for name in missing) and (Path(where).parent / "config.json").exists():
            hint = f"a classifier of transformers is named by its folder: {{name: ..., path: {Path(where).parent.name}}} with 'head: own'"
        raise InputError(f"{what} lacks {_count(missing)}", where=where, mend=hint)
    if extra:
        near = difflib.get_close_matches(extra[0], list(state), n=1, cutoff=0.4)
        hint = f"nearest name in the model: '{near[0]}'" if near else "the factory makes another architecture"
        raise InputError(f"{what} holds {_count(extra)} that the model does not have", where=where, mend=hint)


def _count(names: list[str]) -> str:
    return f"tensor '{names[0]}'" + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _memory(value: Tensor) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    # Empty tensors all have address 0; they are told apart from nothing and so never count as tied.
    return (value.data_ptr() or id(value), tuple(value.shape), value.stride())


def _cast(value: Tensor, own: Tensor, called: str, where: str, is_buffer: bool) -> Tensor:
    if value.is_floating_point() != own.is_floating_point() or value.is_complex() != own.is_complex():
        kinds = f"{str(value.dtype).removeprefix('torch.')}, the model wants {str(own.dtype).removeprefix('torch.')}"
        raise InputError(f"{called} is {kinds}", where=where, mend="save the checkpoint from this architecture")
    cast = value.to(own.dtype)
    broken = ~torch.isfinite(cast)
    if is_buffer:
        broken &= cast != own  # a mask of -inf that the module itself has is no defect
    if bool(broken.any()):
        raise InputError(f"{called} holds NaN or infinite weights", where=where, mend="the training that made it diverged; use another")
    return cast


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
