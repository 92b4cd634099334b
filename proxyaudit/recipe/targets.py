"""What a recipe may ask where the target is no choice of one class."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import PlainSerializer, PlainValidator

from proxyaudit.errors import InputError
from proxyaudit.types import Task

_MOST: Final = 10


def _one_or_several(given: Any) -> tuple[str, ...] | str:
    several = list(given) if isinstance(given, list | tuple) else [given]
    if any(not isinstance(name, str) for name in several):
        raise ValueError("name a column as text (in quotes where it is a number), or several labels: [rude, late]")
    if isinstance(given, list | tuple) and not 2 <= len(set(several)) == len(several) <= _MOST:
        raise ValueError(f"a list names two to {_MOST} labels, each once: [rude, late]; a single target is written without brackets")
    return given if isinstance(given, str) else tuple(several)


def _plain(target: Any) -> Any:
    return list(target) if isinstance(target, tuple) else target


# Several columns of yes and no are labels.
Target = Annotated[tuple[str, ...] | str, PlainValidator(_one_or_several), PlainSerializer(_plain, return_type=Any)]


def columns_of(target: tuple[str, ...] | str | None) -> tuple[str, ...]:
    """The target's column, or those of several labels."""
    return (target,) if isinstance(target, str) else target or ()


def check_asked(task: Task, asked: Mapping[str, bool], kind: str, *, of_labels: bool) -> None:
    """Refuse what only classes have, and kinds of models that predict one target at a time (``InputError``).

    Args:
        task: What models are to predict.
        asked: For each key of a recipe that needs classes, whether it is given.
        kind: That of the model.
        of_labels: Whether it can say yes or no to several labels.
    """
    said = "is a number, so it has no classes" if task == "number" else "is several labels, so it is no choice of one class"
    mend = "cut the target (data.target_threshold)" if task == "number" else "audit one label at a time (data: {target: LABEL})"
    for key in (key for key, is_asked in asked.items() if is_asked):
        raise InputError(f"the target {said}", where=key, mend=f"leave out '{key}', or {mend}")
    if task == "labels" and not of_labels:
        what = f"models of kind '{kind}' predict one target at a time"
        raise InputError(what, where="data.target", mend=f"{mend}; kinds 'module' and 'huggingface' with 'head: own' take several")
