"""What a folder calls the outputs of its own head, and which of them stands for which class of a table."""

import re
from collections.abc import Sequence
from typing import Any

from proxyaudit.errors import InputError

_UNNAMED = re.compile(r"LABEL_(\d+)")  # what transformers calls outputs that nobody named
_YAML_WORDS = ("yes", "no", "true", "false", "on", "off", "null", "y", "n")


def head_order(outputs: Sequence[str], classes: Sequence[str], labels: Sequence[str] | None, *, where: str) -> tuple[int, ...]:
    """For each class of the table the output of the head that stands for it.

    Args:
        outputs: What the folder calls them (``id2label``); ``LABEL_0`` and so on where nobody named them.
        classes: Classes of the target.
        labels: The recipe's own names of the outputs, which go before the folder's.
        where: What messages name.

    Raises:
        InputError: another number, other names, or a recipe that says the opposite of the folder.
    """
    called = f"{', '.join(map(repr, outputs[:6]))}{', ...' if len(outputs) > 6 else ''}"
    if len(outputs) != len(classes):
        what = f"the folder's head has {len(outputs)} outputs ({called}) and the target {len(classes)} classes ({', '.join(classes[:6])})"
        raise InputError(what, where=where, mend="take the target that the model was trained for, or join classes of the table")
    said = f"model.labels names the class of each output in order, e.g. [{', '.join(map(_quoted, classes))}] if output 0 is {classes[0]!r}"
    own = places(outputs, classes)
    if labels is not None:
        given = places(labels, classes)
        if given is None:
            what = f"model.labels ({', '.join(labels[:6])}) are not the classes of the target ({', '.join(classes[:6])})"
            raise InputError(what, where="model.labels", mend=said)
        if own is not None and own != given:
            what = f"model.labels gives another order than the folder, whose outputs are {called}"
            raise InputError(what, where="model.labels", mend="leave it out, or mend id2label in config.json")
        return given
    numbered = [_UNNAMED.fullmatch(name) for name in outputs]
    if own is None and all(numbered):
        own = places([match[1] for match in numbered if match], classes)
        if own is None:
            raise InputError(f"the folder does not say what its outputs stand for ({called})", where=where, mend=said)
    if own is None:
        what = f"the folder's outputs are {called}, the classes of the target {', '.join(classes[:6])}"
        raise InputError(what, where=where, mend=said)
    return own


def places(names: Sequence[str], classes: Sequence[str]) -> tuple[int, ...] | None:
    """Place of each class among names that differ in case and blanks at most; ``None`` where they are not the same."""
    plain = [" ".join(name.split()).casefold() for name in names]
    wanted = [" ".join(name.split()).casefold() for name in classes]
    return tuple(plain.index(name) for name in wanted) if sorted(plain) == sorted(wanted) and len(set(plain)) == len(plain) else None


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z]\w*", name) and name.lower() not in _YAML_WORDS else f'"{name}"'


def outputs_of(config: Any, place: str) -> tuple[str, ...]:
    """What a folder calls its outputs, in their order. ``InputError``: it names others than it has, or contradicts itself."""
    named = {int(number): str(name) for number, name in (config.id2label or {}).items()}
    if sorted(named) != list(range(config.num_labels)):
        what = f"config.json names the outputs {', '.join(map(str, sorted(named)[:6]))} (id2label), and they are numbered from 0"
        raise InputError(what, where=place, mend="number them 0, 1, ... in the order of the head's outputs")
    outputs = tuple(named[number] for number in range(config.num_labels))
    other = {str(name): int(number) for name, number in (config.label2id or {}).items()}
    if set(other) == set(outputs) and any(other[name] != number for number, name in named.items()):
        what = "config.json gives its outputs one order in id2label and another one in label2id"
        raise InputError(what, where=place, mend="mend the one that is wrong")
    return outputs
