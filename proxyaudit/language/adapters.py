"""Low-rank adapters in folders of their own (as peft writes them): found with their base, loaded over it, and merged into it.

The base is the folder that the recipe names, or the one that the adapter names where that lies in the recipe's own folder or the current
one: an adapter that somebody else made must not send a loader anywhere. Of its settings only those are taken that say where low-rank
matrices lie and how they are scaled; others can import modules by name or rewrite the base.
"""

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from safetensors import safe_open

from proxyaudit.data.tables import is_inside
from proxyaudit.errors import InputError
from proxyaudit.files import read_file
from proxyaudit.later import Later

if TYPE_CHECKING:
    from torch import nn

torch = Later("torch")  # slow to load, and needless where an adapter is only found

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
MERGE: Final = "or merge it into its base (merge_and_unload), and save that"
_TASKS: Final[Mapping[Any, str]] = {
    "CAUSAL_LM": "AutoModelForCausalLM",
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "FEATURE_EXTRACTION": "AutoModel",
    None: "AutoModel",
}
_TAKEN: Final = (
    *("task_type", "r", "target_modules", "exclude_modules", "lora_alpha", "fan_in_fan_out", "bias", "use_rslora", "use_dora", "lora_bias"),
    *("modules_to_save", "layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern"),
)
_ABOUT: Final = ("peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode", "lora_dropout")
_PREFIX: Final = "base_model.model."


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter."""
    return (folder / CONFIG).exists()


def find_base(folder: Path, named: str | None, roots: Sequence[Path]) -> Path:
    """Folder of an adapter's base; ``named`` is the recipe's word for it. Raises ``InputError``: none is there, or it lies elsewhere."""
    where = str(folder)
    if any(path.name.endswith(".safetensors") and path.name != WEIGHTS for path in folder.iterdir()):
        what = "this folder holds an adapter beside a model of its own"
        raise InputError(what, where=where, mend=f"give each a folder of its own, {MERGE}")
    if not (folder / WEIGHTS).is_file():
        mend = "only safetensors are read, since other formats can run code; save it again with peft"
        raise InputError("this folder holds an adapter without safetensors weights", where=where, mend=mend)
    said = named if named is not None else read_config(folder).get("base_model_name_or_path")
    if not isinstance(said, str) or not said or "\0" in said:
        raise InputError(
            "this folder holds an adapter that names no base model", where=where, mend=f"name it: model: {{base: DIR}}, {MERGE}"
        )
    tried = [Path(said)] if Path(said).is_absolute() else [root / said for root in roots]
    found = [path for path in tried if path.is_dir() and (named is not None or any(is_inside(path, root) for root in roots))]
    if not found:
        fault = "there is no such folder" if named is not None else "is no folder here"
        what = f"this folder holds an adapter, whose base model '{Path(said).name[:80]}' {fault}"
        raise InputError(what, where=where, mend=f"name the base in the recipe: model: {{base: DIR}}, {MERGE}")
    if is_adapter(found[0]) or not (found[0] / "config.json").is_file():
        raise InputError("the base of the adapter is no model's folder", where=str(found[0]), mend="name the folder that holds config.json")
    return found[0]


def read_config(folder: Path) -> dict[str, Any]:
    """The adapter's settings; ``InputError`` if they are no JSON, or of another method than low-rank matrices."""
    where = str(folder / CONFIG)
    try:
        found = json.loads(read_file(folder / CONFIG))
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InputError("the adapter's settings cannot be read", where=where, mend=f"save it again with peft, {MERGE}")
    if str(found.get("peft_type", "")).upper() != "LORA":
        what = f"the adapter is of kind '{str(found.get('peft_type'))[:40]}', and only LORA is read"
        raise InputError(what, where=where, mend=f"take one of that kind, {MERGE}")
    return found


def load_adapted(auto: str, folder: Path, load: "Callable[..., nn.Module]") -> "nn.Module":
    """A base with the adapter of ``folder`` merged in, as the class ``auto``.

    ``load`` loads the base: it takes a class, options and the names of tensors that the adapter brings. Raises ``InputError``: the adapter
    is for another task, does not fit the base, or asks for what is not read. To be called where errors of loading become one line.
    """
    where, said = str(folder), read_config(folder)
    task = said.get("task_type")
    if task not in _TASKS or auto not in (_TASKS[task], "AutoModel"):
        what = f"the adapter was trained for the task '{str(task)[:40]}', which is not what is asked of it here"
        raise InputError(what, where=where, mend=f"leave out 'head: own', {MERGE}")
    config = _settings(said, where)
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    whole = [name.removeprefix(_PREFIX) for name in shapes if ".lora_" not in name]
    heads = tuple(sorted({name.split(".")[0] + "." for name in whole}))
    options = {}
    if task == "SEQ_CLS" and whole:
        last = [name for name in shapes if ".lora_" not in name and name.endswith("weight")][-1]
        options["num_labels"] = shapes[last][0]
    model = load(_TASKS[task], options, heads)
    unread = tuple(model.unread)  # type: ignore[arg-type]
    merged = _merged(model, config, folder)
    for name, value in merged.state_dict().items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise InputError(f"tensor '{name}' holds NaN or infinite weights with the adapter", where=where, mend="use another adapter")
    merged.config.architectures = [type(merged).__name__]
    if auto != _TASKS[task]:
        prefix = f"{merged.base_model_prefix}."
        unread += tuple(name for name in merged.state_dict() if not name.startswith(prefix))
        merged = getattr(merged, merged.base_model_prefix)
    merged.unread = unread
    return merged  # type: ignore[no-any-return]


def _settings(said: Mapping[str, Any], where: str) -> Any:
    import peft

    usual = peft.LoraConfig().to_dict()
    odd = next((key for key, value in said.items() if key not in (*_TAKEN, *_ABOUT) and value != usual.get(key) and value), None)
    start = said.get("init_lora_weights", True)
    if odd is None and start not in (True, False, "gaussian"):
        odd = "init_lora_weights"
    if unsaid := next((key for key in ("r", "lora_alpha") if key in said and said[key] is None), None):
        raise InputError(f"the adapter does not say its '{unsaid}'", where=where, mend=f"save it again with peft, {MERGE}")
    if odd is not None and not (odd == "init_lora_weights" and start in (True, False, "gaussian")):
        what = f"the adapter sets '{odd[:40]}', which is not read in this version"
        raise InputError(what, where=where, mend=f"take an adapter without it, {MERGE}")
    return peft.LoraConfig(**{key: said[key] for key in _TAKEN if said.get(key) is not None}, lora_dropout=0.0)


def _merged(model: "nn.Module", config: Any, folder: Path) -> Any:
    import peft
    from safetensors.torch import load_file

    with warnings.catch_warnings():
        # GPT-2's layers hold their weights turned: peft sees that, does what is right and says so.
        warnings.simplefilter("ignore")
        wrapped: Any = peft.get_peft_model(model, config)
        told = peft.set_peft_model_state_dict(wrapped, load_file(folder / WEIGHTS))
        lost = [name for name in told.missing_keys if ".lora_" in name or ".modules_to_save." in name]
        if lost or told.unexpected_keys:
            name = str((list(told.unexpected_keys) or lost)[0])
            fault = "holds" if told.unexpected_keys else "lacks"
            what = f"the adapter {fault} tensor '{name[:100]}', so that it does not belong to this base"
            raise InputError(what, where=str(folder), mend="name the base that it was trained on")
        return wrapped.merge_and_unload()
